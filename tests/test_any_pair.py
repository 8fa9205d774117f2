"""Places of one DINOv3 that no conversion of ours wrote: each is equal to each, and to nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.api import convert, verify
from dinoport.errors import SettingError
from dinoport.formats.opening import open_checkpoint
from dinoport.proofs.verdict import Word
from tests import formula
from tests.families.cases import tensors
from tests.models import V3

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
            config["model_args"] |= {"img_size": [224, 224], "in_chans": 3, "num_classes": 0}
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


def state_of() -> State:
    return formula.state_dict(V3.tensors())


def compared(one: str, other: str, first: State, second: State, folder: Path, level: str = "exact") -> Any:
    asked = {"num_heads": 2} if one in NAMES_TELL_NO_HEADS else {}
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
    assert "1 mismatched keys (rope_embed.periods)" in verdict.failures


def test_a_target_of_several_models_is_refused(tmp_path: Path) -> None:
    other = {f"b.{name}": each + 1 if each.dim() == 2 else each for name, each in tensors(state_of()).items()}
    place = saved(tmp_path / "two.pth", state_of(), "a.", **other)
    with pytest.raises(SettingError) as caught:
        verify(bare(state_of(), tmp_path), place, level="exact")
    assert str(caught.value) == (
        f"{place} holds several models, and nothing says which one is meant\n"
        "  expected: a file of one model, as FOLDER\n"
        "  found: state_dict.a., state_dict.b.\n"
        f"  try: dinoport convert {place} FILE --to original --prefix state_dict.a., and verify against what it wrote"
    )
