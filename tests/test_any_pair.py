"""Places of one model that no conversion of ours wrote: each is equal to each, and to nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.api import convert, plan, verify
from dinoport.errors import DinoportError, SettingError
from dinoport.formats.opening import open_checkpoint
from dinoport.proofs.verdict import Word
from tests import formula
from tests.error_text import error_text
from tests.families.cases import tensors
from tests.models import CONVNEXT, V2_SWIGLU, V3

torch = pytest.importorskip("torch")

State = dict[str, np.ndarray[Any, Any]]


def saved(path: Path, state: State, lead: str = "", **beside: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {**{lead + name: each for name, each in tensors(state).items()}, **beside}}, path)
    return path


def bare(state: State, folder: Path) -> Path:
    return saved(folder / "model.pth", state)


def beside_a_head(state: State, folder: Path) -> Path:
    """As Lightning saves a module with a layer of the user's own."""
    layer = {"net.head.weight": torch.ones(3, 64), "net.head.bias": torch.ones(3)}
    return saved(folder / "last.ckpt", state, "net.backbone.", **layer)


def two_copies(state: State, folder: Path) -> Path:
    """The student's are other values: the teacher is the model."""
    student = {f"student_net.{name}": each + 0.5 for name, each in tensors(state).items() if each.dim() == 2}
    rest = {f"student_net.{name}": each for name, each in tensors(state).items() if each.dim() != 2}
    return saved(folder / "run.ckpt", state, "teacher_net.", **student, **rest)


def of_strangers(to: str) -> Callable[[State, Path], Path]:
    """A folder as the library itself would save it: without our report, our field, and a processor."""

    def made(state: State, folder: Path) -> Path:
        convert(bare(state, folder), folder / to, to=to, level="none")
        for name in ("dinoport.json", "README.md", "preprocessor_config.json"):
            (folder / to / name).unlink(missing_ok=True)
        config = json.loads((folder / to / "config.json").read_text())
        del config["dinoport"]
        if to == "timm":
            size = config["model_args"].get("img_size")
            config["model_args"] |= {"in_chans": 3, "num_classes": 0} | ({"img_size": [size, size]} if size else {})
            config["pretrained_cfg"]["custom_load"] = False
        (folder / to / "config.json").write_text(json.dumps(config))
        return folder / to

    return made


def under_names_of(to: str) -> Callable[[State, Path], Path]:
    """Its names in a file."""

    def made(state: State, folder: Path) -> Path:
        with open_checkpoint(of_strangers(to)(state, folder)) as checkpoint:
            return saved(folder / f"{to}.pth", {name: each.read() for name, each in checkpoint.tensors.items()})

    return made


PLACES: dict[str, Callable[[State, Path], Path]] = {
    "bare": bare,
    "a head": beside_a_head,
    "two copies": two_copies,
    "transformers": of_strangers("transformers"),
    "timm": of_strangers("timm"),
    "transformers' names": under_names_of("transformers"),
    "timm's names": under_names_of("timm"),
}
NAMES_TELL_NO_HEADS = ("transformers' names", "timm's names")


NETWORKS: dict[str, Any] = {
    "gate and no biases": replace(V3, feed_forward="swiglu", proj_bias=False, ffn_bias=False, local_cls_norm=True),
    "position table": V2_SWIGLU,
    "position table and registers": replace(V2_SWIGLU, registers=4),
    "convolutions": CONVNEXT,
    "convolutions without scale": replace(CONVNEXT, layer_scale=False),
}
"""What the DINOv3 of the other tests is not: each has something that some place keeps otherwise, or not at all."""

OTHERS = ("bare", "transformers", "timm", "transformers' names", "timm's names")


def state_of(network: Any = V3) -> State:
    return formula.state_dict(network.tensors())


def compared(one: str, other: str, first: State, second: State, folder: Path, level: str = "exact") -> Any:
    asked = {"num_heads": 2} if one in NAMES_TELL_NO_HEADS and "rope_embed.periods" in first else {}
    return verify(PLACES[one](first, folder / "a"), PLACES[other](second, folder / "b"), level=level, **asked).verdict


@pytest.mark.parametrize(("one", "other"), [*permutations(PLACES, 2)])
def test_each_place_is_equal_to_each(one: str, other: str, tmp_path: Path) -> None:
    """A mask token that the source has no place for is named, as is the bias that a mask switches off."""
    verdict = compared(one, other, state_of(), state_of(), tmp_path)
    assert verdict.word is Word.TRANSPORTED
    names = ["mask_token"] if one.startswith("timm") and not other.startswith("timm") else []
    kept = ("bare", "a head", "two copies")
    names += ["blocks.{0…1}.attn.qkv.bias (part 2 of 3)"] if one not in kept and other in kept else []
    told = f"for {', '.join(names)}, which the source has no place for, and no output depends on: not compared"
    assert [each for each in verdict.exceptions if "no place" in each] == ([told] if names else [])


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("one", "other"), [*permutations(OTHERS, 2)])
def test_each_place_is_equal_to_each_in_every_network(one: str, other: str, network: str, tmp_path: Path) -> None:
    """Some keep the zeros or ones that others leave out, the sum of two tensors, or no mask token."""
    state = state_of(NETWORKS[network])
    verdict = compared(one, other, state, state, tmp_path)
    assert verdict.word is Word.TRANSPORTED, verdict
    left = ("mask_token", "local_cls_norm", "attn.qkv.bias (part 2 of 3)")
    told = [each for each in verdict.exceptions if "computed anew" not in each]
    assert all("no output depends on: not compared" in each and any(map(each.__contains__, left)) for each in told)


MISTAKES: dict[str, tuple[str, Callable[[State], State]]] = {
    "gate and value": ("gate and no biases", lambda state: exchanged(state, "blocks.0.mlp.w1.", "blocks.0.mlp.w2.")),
    "a bias that is not zero": (
        "gate and no biases",
        lambda state: {
            **state,
            **{f"blocks.{i}.mlp.w{n}.bias": np.full(64 if n == 3 else 128, i * (n == 2), np.float32)
               for i in (0, 1) for n in (1, 2, 3)},
        },
    ),
    "halves of a gate": ("position table", lambda state: halved(state, "blocks.0.mlp.w12.weight")),
    "halves of a gate's bias": ("position table", lambda state: halved(state, "blocks.1.mlp.w12.bias")),
    "a row of registers": (
        "position table and registers",
        lambda state: {**state, "register_tokens": np.roll(state["register_tokens"], 1, axis=1)},
    ),
    "the CLS token": ("position table and registers", lambda state: {**state, "cls_token": state["cls_token"] + 1}),
    "a kernel on its side": (
        "convolutions",
        lambda state: {**state, "stages.1.0.dwconv.weight": state["stages.1.0.dwconv.weight"].swapaxes(2, 3)},
    ),
    "scales of two blocks": ("convolutions", lambda state: exchanged(state, "stages.1.0.gamma", "stages.1.1.gamma")),
    "norms of two stages": (
        "convolutions",
        lambda state: exchanged(state, "downsample_layers.0.1.", "downsample_layers.1.0."),
    ),
    "a scale that is not one": (
        "convolutions without scale",
        lambda state: {
            **state,
            **{f"stages.{stage}.{block}.gamma": np.full(CONVNEXT.widths[stage], 1 + (stage == 3) / 4, np.float32)
               for stage, depth in enumerate(CONVNEXT.depths) for block in range(depth)},
        },
    ),
}  # fmt: skip


def exchanged(state: State, one: str, other: str) -> State:
    """Let the tensors whose names begin so change places."""
    pairs = {name: name.replace(one, other) for name in state if name.startswith(one)}
    return {**state, **{a: state[b] for a, b in pairs.items()}, **{b: state[a] for a, b in pairs.items()}}


def halved(state: State, name: str) -> State:
    return {**state, name: np.concatenate([*reversed(np.split(state[name], 2))])}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize(("one", "other"), [("bare", "transformers"), ("timm", "bare"), ("transformers", "timm"),
                                            ("timm's names", "transformers' names")])  # fmt: skip
def test_a_mistake_is_found_in_every_network(one: str, other: str, mistake: str, tmp_path: Path) -> None:
    network, mistaken = MISTAKES[mistake]
    state = state_of(NETWORKS[network])
    for first, second, folder in ((state, mistaken(state), "there"), (mistaken(state), state, "back")):
        verdict = compared(one, other, first, second, tmp_path / folder)
        assert verdict.word is Word.NOT_EQUAL, verdict


@pytest.mark.parametrize(("one", "other"), [("timm", "transformers"), ("timm", "bare"), ("bare", "timm's names")])
def test_sums_of_two_tensors_are_run_as_they_are_kept(one: str, other: str, tmp_path: Path) -> None:
    """In float64 the sum that one side has rounded to float32 would be off by more than is allowed."""
    pytest.importorskip("transformers")
    state = state_of(NETWORKS["position table and registers"])
    verdict = compared(one, other, state, state, tmp_path, level="full")
    assert verdict.word in (Word.EQUAL, Word.EQUAL_EXCEPT), verdict


@pytest.mark.parametrize("said", [{"num_heads": 4}, {"layer_norm_eps": 1e-3}])
def test_a_file_that_says_otherwise_what_no_tensor_shows_is_not_equal(said: dict[str, Any], tmp_path: Path) -> None:
    """Both would be run by the source's word, and be equal."""
    state, paths = state_of(V2_SWIGLU), []
    for place, own in (("one", {"num_heads": 2}), ("other", {"num_heads": 2} | said)):
        paths.append(tmp_path / f"{place}.ckpt")
        whole = {"state_dict": {f"net.{name}": each for name, each in tensors(state).items()}, "hyper_parameters": own}
        torch.save({**whole, "pytorch-lightning_version": "2.5"}, paths[-1])
    [(name, value)] = said.items()
    words = {"num_heads": ("heads", "2", "num_heads in hyper_parameters of Lightning"),
             "layer_norm_eps": ("eps", "1e-06", "as in all DINOv2 models")}[name]  # fmt: skip
    for level in ("exact", "full"):
        verdict = verify(*paths, level=level).verdict
        told = f"other.ckpt says {words[0]} = {value} ({name} in hyper_parameters of Lightning), the source has"
        assert verdict.failures[0] == f"{told} {words[1]} ({words[2]})"
        assert any(each.startswith("outputs differ by") for each in verdict.failures) == (level == "full")
    assert verify(paths[0], paths[0], level="full").verdict.word is Word.EQUAL
    assert verify(paths[1], bare(state, tmp_path), level="full").verdict.word is Word.EQUAL


def test_a_file_that_would_be_refused_as_a_source_is_not_equal(tmp_path: Path) -> None:
    """It is no less another model than one that only says other heads."""
    said = {"num_heads": 4, "qk_norm": True}
    state, other = state_of(V2_SWIGLU), tmp_path / "other.ckpt"
    whole = {f"net.{name}": each for name, each in tensors(state).items()}
    torch.save({"state_dict": whole, "hyper_parameters": said, "pytorch-lightning_version": "2.5"}, other)
    verdict = verify(bare(state, tmp_path), other, level="exact", num_heads=2).verdict
    assert verdict.word is Word.NOT_EQUAL
    assert verdict.failures[0].startswith("other.ckpt, read as a source, is refused: ")
    with pytest.raises(DinoportError, match="qk_norm") as refused:
        plan(other)
    assert verdict.failures[0].endswith(refused.value.what)


def test_what_a_file_says_beside_another_model_s_sizes_is_not_followed_and_told(tmp_path: Path) -> None:
    state, other = state_of(V2_SWIGLU), tmp_path / "other.ckpt"
    whole = {f"net.{name}": each for name, each in tensors(state).items()}
    said = {"num_heads": 4, "embed_dim": 256}
    torch.save({"state_dict": whole, "hyper_parameters": said, "pytorch-lightning_version": "2.5"}, other)
    remarks = verify(bare(state, tmp_path), other, level="exact", num_heads=2).remarks
    told = "is followed, where the file has 4 (num_heads in hyper_parameters of Lightning)"
    assert any(each.startswith("other.ckpt: ") and told in each for each in remarks)


def test_a_file_that_does_not_say_what_it_is_run_with_is_named(tmp_path: Path) -> None:
    """A base of 100.1 would be as equal to it."""
    places = PLACES["bare"](state_of(), tmp_path / "a"), PLACES["timm's names"](state_of(), tmp_path / "b")
    told = "timm.pth does not say its heads, rope base, eps: it was run with the source's"
    assert told in verify(*places, level="full").remarks
    assert not any("does not say" in each for each in verify(*places, level="exact").remarks)


def test_a_class_that_resamples_otherwise_is_equal_but_for_other_sizes(tmp_path: Path) -> None:
    """Timm resamples with antialias, and of two classes that compute the same a stranger's folder names the other."""
    pytest.importorskip("transformers")
    state = state_of(V2_SWIGLU)
    places = PLACES["timm"](state, tmp_path / "a"), PLACES["transformers"](state, tmp_path / "b")
    verdict = verify(*places, all_sizes=True).verdict
    assert str(verdict).startswith("equal at 56×56 pixels, except")
    assert sum("position tables are resampled by another rule" in each for each in verdict.exceptions) == 2


@pytest.mark.parametrize("name", ["blocks.1.attn.qkv.weight", "storage_tokens", "blocks.0.ls2.gamma", "norm.bias"])
@pytest.mark.parametrize(("one", "other"), [("bare", "a head"), ("timm", "bare"), ("transformers", "timm's names"),
                                            ("bare", "transformers"), ("bare", "timm")])  # fmt: skip
def test_one_other_value_is_not_equal(one: str, other: str, name: str, tmp_path: Path) -> None:
    state = state_of()
    state[name] = state[name].copy()
    state[name].reshape(-1)[-1] += 0.25
    verdict = compared(one, other, state_of(), state, tmp_path)
    assert verdict.word is Word.NOT_EQUAL
    assert any(failure.startswith(f"{name} differs") for failure in verdict.failures)


def test_a_mask_token_counts_where_both_hold_it(tmp_path: Path) -> None:
    state = state_of()
    state["mask_token"] = state["mask_token"] + 1
    assert compared("bare", "a head", state_of(), state, tmp_path).failures == ("mask_token differs at element 0",)
    [told] = compared("timm", "bare", state_of(), state, tmp_path).exceptions
    assert told.startswith("for mask_token, blocks")


def test_a_live_bias_of_keys_is_not_one_that_a_mask_switches_off(tmp_path: Path) -> None:
    state = {name: each for name, each in state_of().items() if not name.endswith("bias_mask")}
    assert compared("transformers", "bare", state_of(), state, tmp_path).word is Word.NOT_EQUAL
    for names in NAMES_TELL_NO_HEADS:
        verdict = compared("bare", names, state, state_of(), tmp_path / names)
        file = names.partition("'")[0] + ".pth"
        assert verdict.failures == (f"the source computes with a key bias, {file} without",)


@pytest.mark.parametrize("one", ["transformers", "timm's names"])
def test_rounded_periods_are_the_same_from_both_sides(one: str, tmp_path: Path) -> None:
    state = state_of()
    periods = tensors({"periods": state["rope_embed.periods"]})["periods"]
    state["rope_embed.periods"] = periods.bfloat16().float().numpy()
    told = (
        "rope periods (stored as bfloat16 rounds them, computed in float32 here; how far outputs move was not measured)"
    )
    for first, second, before, after in ((one, "bare", state_of(), state), ("bare", one, state, state_of())):
        verdict = compared(first, second, before, after, tmp_path / first)
        assert verdict.word is Word.TRANSPORTED
        assert told in verdict.exceptions
    state["rope_embed.periods"] = state["rope_embed.periods"] * np.float32(1.01)
    assert compared(one, "bare", state_of(), state, tmp_path / "other").word is Word.NOT_EQUAL


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_layer_scale_of_ones_is_none_and_no_other_is(factor: float, tmp_path: Path) -> None:
    state = state_of()
    scales = {name: np.full_like(each, factor) for name, each in state.items() if name.endswith(".gamma")}
    without = {name: each for name, each in state.items() if name not in scales}
    for first, second in (({**state, **scales}, without), (without, {**state, **scales})):
        verdict = compared("bare", "a head", first, second, tmp_path / str(len(first)), level="full")
        assert (verdict.word is Word.NOT_EQUAL) == (factor != 1)


def test_another_number_of_heads_is_not_equal_and_no_traceback(tmp_path: Path) -> None:
    """One side tells it by its periods, the other by its config."""
    folder = PLACES["timm"](state_of(), tmp_path / "a")
    config = json.loads((folder / "config.json").read_text())
    config["model_args"]["num_heads"] = 4
    (folder / "config.json").write_text(json.dumps(config))
    verdict = verify(folder, bare(state_of(), tmp_path / "b"), level="full").verdict
    assert verdict.word is Word.NOT_EQUAL
    told = "model.pth says heads = 2 (8 periods in rope_embed.periods), the source has 4 (num_heads in config.json)"
    assert verdict.failures[0] == told


def test_a_target_of_several_models_is_refused(tmp_path: Path) -> None:
    other = {f"b.{name}": each + 1 if each.dim() == 2 else each for name, each in tensors(state_of()).items()}
    place = saved(tmp_path / "two.pth", state_of(), "a.", **other)
    assert error_text(SettingError, lambda: verify(bare(state_of(), tmp_path), place, level="exact")) == (
        f"{place} holds several models, and nothing says which one is meant\n"
        "  expected: a file of one model, as FOLDER\n"
        "  found: state_dict.a., state_dict.b.\n"
        f"  try: `dinoport.convert({str(place)!r}, FILE, to='original', prefix='state_dict.a.')`, "
        "and verify against what it wrote"
    )
