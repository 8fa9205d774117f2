"""The number of heads against the weights: confirmed, contradicted, chosen or not told, on the way there and back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport import api
from dinoport.codebases.builder import Belief, Builder, SaidInTraining, heads_setting
from dinoport.codebases.heads import head_reader
from dinoport.errors import SettingError
from dinoport.formats.torch.writer import write_torch_file
from dinoport.model import AGREE, CLAIM, Origin, Stated, Wishes
from dinoport.networks.heads.reading import HeadReading
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request
from tests import formula, models
from tests.networks.attention import reference, trained
from tests.writing.stub_tensors import tensor

WIDTH = 192
DEPTH = 3

ARCHITECTURES = {
    "dino": ViT(width=WIDTH, depth=DEPTH, heads=3, mlp_hidden=WIDTH, patch_size=16, image_size=32),
    "dinov2": models.dinov2(width=WIDTH, depth=DEPTH, heads=3, mlp_hidden=WIDTH, patch_size=14, image_size=28),
    "dinov3": RotaryViT(width=WIDTH, depth=DEPTH, heads=3, mlp_hidden=WIDTH, patch_size=16, registers=4),
}


def state_of(model: Any, heads: int | None) -> dict[str, formula.Array]:
    """A state dict whose attention looks trained with so many heads; untrained with None."""
    state = formula.state_dict(model.tensors())
    for index, (values, outputs) in enumerate(trained(model.width, heads, model.depth) if heads else ()):
        state[f"blocks.{index}.attn.qkv.weight"][2 * model.width :] = values
        state[f"blocks.{index}.attn.proj.weight"][:] = outputs
    return state


def written(path: Path, model: Any, heads: int | None) -> Path:
    write_torch_file(path, [tensor(*each, block=1 << 20) for each in state_of(model, heads).items()])
    return path


def reading_of(heads: int | None, width: int = WIDTH) -> HeadReading:
    model = replace(ARCHITECTURES["dino"], width=width)
    return head_reader({name: reference(values) for name, values in state_of(model, heads).items()}, width)()


NOBODY = Belief(SaidInTraining("the checkpoint's args"))
BUILDER = Belief(SaidInTraining("the checkpoint's args"), Builder("vit_tiny", WIDTH, 3))
GIVEN = Wishes(num_heads=3)
CLAIMED = Wishes(num_heads=3, claimed=frozenset({"num_heads"}))
CONFIG = Wishes(num_heads=3, said_by="config.json")

SAYERS = [
    (Wishes(), NOBODY, Origin.ASSUMED, "width / 64"),
    (GIVEN, NOBODY, Origin.GIVEN, "--num-heads"),
    (CLAIMED, NOBODY, Origin.CLAIMED, CLAIM),
    (CONFIG, NOBODY, Origin.GIVEN, "config.json"),
    (Wishes(), BUILDER, Origin.INFERRED, "vit_tiny, from the checkpoint's args"),
]
"""Who can say 3, by origin and reason."""


@pytest.mark.parametrize(("wishes", "belief", "origin", "reason"), SAYERS)
def test_weights_that_agree_end_an_assumption(wishes: Wishes, belief: Belief, origin: Origin, reason: str) -> None:
    held = heads_setting("x.pth", wishes, WIDTH, belief, lambda: reading_of(3), weigh=True)
    assert (held.setting.value, held.warnings) == (3, ())
    if origin is Origin.INFERRED:
        assert (held.setting.origin, held.setting.reason) == (origin, reason)
    else:
        assert held.setting.origin is Origin.READ
        assert held.setting.reason.startswith(f"{reason}{AGREE}: boundaries of ")


@pytest.mark.parametrize(("wishes", "belief", "origin", "reason"), SAYERS)
def test_weights_that_cannot_tell_change_nothing(wishes: Wishes, belief: Belief, origin: Origin, reason: str) -> None:
    held = heads_setting("x.pth", wishes, WIDTH, belief, lambda: reading_of(None), weigh=True)
    assert (held.setting.value, held.setting.origin, held.setting.reason) == (3, origin, reason)
    assert held.warnings == ()


def test_a_number_that_the_training_has_otherwise_is_followed_with_a_warning() -> None:
    held = heads_setting("x.pth", Wishes(num_heads=6), WIDTH, BUILDER, lambda: reading_of(None), weigh=True)
    said = "--num-heads 6 is followed, where vit_tiny, from the checkpoint's args, has 3"
    assert (held.setting.value, held.warnings) == (6, (said,))
    confirmed = heads_setting("x.pth", Wishes(num_heads=6), WIDTH, BUILDER, lambda: reading_of(6), weigh=True)
    assert (confirmed.setting.value, confirmed.warnings) == (6, ())


@pytest.mark.parametrize("field", ["num_heads", "layer_norm_eps", "decoder_heads"])
def test_a_value_that_the_file_has_otherwise_is_overruled_with_a_word(field: str) -> None:
    given, stated = {field: 6}, {field: Stated(3, "config.json"), "mask_ratio": Stated(0.5, "config.json")}
    wishes = Wishes(**given).filled(stated)
    said = f"--{field.replace('_', '-')} 6 is followed, where the file has 3 (config.json)"
    assert [*wishes.overruling()] == [(field, said)]
    assert not [*Wishes(**given).filled({field: Stated(6, "config.json")}).overruling()]
    assert not [*Wishes().filled(stated).filled({field: Stated(9, "another")}).overruling()]


@pytest.mark.parametrize("heads", [2, 6, 12])
@pytest.mark.parametrize(("wishes", "belief", "origin", "reason"), SAYERS[1:])
def test_who_says_it_is_followed_with_a_warning(
    wishes: Wishes, belief: Belief, origin: Origin, reason: str, heads: int
) -> None:
    held = heads_setting("x.pth", wishes, WIDTH, belief, lambda: reading_of(heads), weigh=True)
    assert (held.setting.value, held.setting.origin, held.setting.reason) == (3, origin, reason)
    (warning,) = held.warnings
    looks = (
        f"heads = 3 ({reason}) is followed, but the weights look like {heads} heads of {WIDTH // heads}: boundaries of "
    )
    assert warning.startswith(looks)
    assert warning.endswith("; chance is 1")


@pytest.mark.parametrize(("wishes", "belief", "origin", "reason"), SAYERS)
def test_without_weighing_the_weights_are_not_read(wishes: Wishes, belief: Belief, origin: Origin, reason: str) -> None:
    def read() -> HeadReading:
        raise AssertionError("they were")

    held = heads_setting("x.pth", wishes, WIDTH, belief, read)
    assert (held.setting.value, held.setting.origin, held.reading) == (3, origin, None)


CONTRADICTED = """\
the weights of x.pth look like 6 heads of 32, not 3 heads of 64
  expected: 3 heads of 64: width / 64, as in all published models
  found: boundaries of 1.6 inside 32 channels and 801 inside 64; chance is 1
  likely cause: a model that was built with another number of heads; no tensor's shape shows the head count, and a \
wrong one loads without an error
  try: add `num_heads=6`, or `num_heads=3` where the code or config that trained the model says so"""


def test_weights_that_contradict_an_assumption_ask() -> None:
    with pytest.raises(SettingError) as raised:
        heads_setting("x.pth", Wishes(), WIDTH, NOBODY, lambda: reading_of(6), weigh=True)
    assert str(raised.value) == CONTRADICTED


NOT_KNOWN = """\
the number of attention heads of x.pth is not known
  expected: `num_heads`; or a width that 64 divides, as in all published models; or weights that show it
  found: width 160; the weights cannot tell: {silence}
  likely cause: no tensor's shape shows the head count, and a wrong one loads without an error
  try: add `num_heads=N`, with N from the code or config that trained the model"""


@pytest.mark.parametrize("weigh", [False, True])
def test_where_no_convention_says_it_the_weights_do(weigh: bool) -> None:
    held = heads_setting("x.pth", Wishes(), 160, NOBODY, lambda: reading_of(5, 160), weigh=weigh)
    assert (held.setting.value, held.setting.origin) == (5, Origin.READ)
    assert held.setting.reason.startswith("the weights: boundaries of ")
    with pytest.raises(SettingError) as raised:
        heads_setting("x.pth", Wishes(), 160, NOBODY, lambda: reading_of(None, 160), weigh=weigh)
    assert str(raised.value) == NOT_KNOWN.format(silence=reading_of(None, 160).silence)


def test_weights_beside_a_config_lead_to_their_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SettingError) as raised:
        heads_setting(str(tmp_path / "model.safetensors"), Wishes(), 160, NOBODY)
    assert str(raised.value).endswith(
        f"  try: give the whole folder, whose config.json may say it: {tmp_path}\n"
        "       add `num_heads=N`, with N from the code or config that trained the model"
    )


LEVELS: tuple[Any, ...] = ("none", "exact", "full")


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("heads", [3, None])
def test_what_is_written_does_not_depend_on_the_proof(family: str, heads: int | None, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    source = written(tmp_path / "a.pth", ARCHITECTURES[family], heads)
    reports = {level: api.convert(source, tmp_path / level, level=level) for level in LEVELS}
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        assert len({(tmp_path / level / name).read_bytes() for level in LEVELS}) == 1
    told = {level: report.heads.found for level, report in reports.items() if report.heads}
    assert told == {"full": heads}
    assumed = {level: "heads = 3 (width / 64)" in report.verdict.assumptions for level, report in reports.items()}
    stored = family == "dinov3"
    assert assumed == {"none": not stored, "exact": not stored, "full": not stored and heads is None}
    for level in ("exact", "full"):
        assert not api.verify(source, tmp_path / "none", level=level).verdict.failed
        assert not api.verify(source, tmp_path / "full", level=level).verdict.failed


def test_the_weights_choose_at_every_level(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    source = written(tmp_path / "a.pth", replace(ARCHITECTURES["dino"], width=160, heads=5), 5)
    for level in LEVELS:
        report = api.convert(source, tmp_path / level, level=level)
        assert json.loads((tmp_path / level / "config.json").read_text())["num_attention_heads"] == 5
        assert not any(text.startswith("heads") for text in report.verdict.assumptions)
    assert not api.verify(source, tmp_path / "none").verdict.failed


@pytest.mark.parametrize("family", ["dino", "dinov2"])
def test_a_relabelled_model_is_caught(family: str, tmp_path: Path) -> None:
    """6 heads that width / 64 calls 3: asked for, then followed; and on the way back a warning."""
    pytest.importorskip("transformers")
    source = written(tmp_path / "a.pth", ARCHITECTURES[family], 6)
    with pytest.raises(SettingError, match="look like 6 heads of 32, not 3 heads of 64"):
        api.convert(source, tmp_path / "asked")
    assert not (tmp_path / "asked").exists()
    right = api.convert(source, tmp_path / "right", Request(num_heads=6))
    assert (right.verdict.word.value, right.verdict.warnings) == ("equal", ()) or right.verdict.exceptions
    wrong = api.convert(source, tmp_path / "wrong", Request(num_heads=3))
    assert wrong.verdict.warnings[0].startswith(
        "heads = 3 (--num-heads) is followed, but the weights look like 6 heads"
    )
    assert not wrong.verdict.failed
    assert (right.asked, wrong.asked) == ({}, {})
    confirmed = api.verify(source, tmp_path / "right")
    assert (confirmed.told, confirmed.verdict.warnings) == ({}, ())
    assert not [text for text in confirmed.verdict.assumptions if text.startswith("heads")]
    again = api.verify(source, tmp_path / "wrong")
    assert again.verdict.warnings[0].startswith(f"heads = 3 ({CLAIM}) is followed")
    back = api.convert(tmp_path / "wrong", tmp_path / "back", to="original")
    assert "is followed, but the weights look like 6 heads of 32" in back.verdict.warnings[0]
    assert not api.convert(tmp_path / "right", tmp_path / "other", to="original").verdict.warnings


def test_heads_that_the_file_stores_are_followed_with_a_warning(tmp_path: Path) -> None:
    source = written(tmp_path / "a.pth", ARCHITECTURES["dinov3"], 6)
    found = api.inspect(source, heads=True)
    assert found.plan
    stored = "heads = 3 (16 periods in rope_embed.periods) is followed, but the weights look like 6 heads of 32: "
    assert found.plan.verdict.warnings[0].startswith(stored)


INSPECTED = """\
weights     look like 3 heads of 64
            boundaries of {curve} channels of a head, where chance is 1 and clear is 16.7
"""


def test_inspect_shows_the_curve(tmp_path: Path, run: Any) -> None:
    source = written(tmp_path / "a.pth", ARCHITECTURES["dino"], 3)
    assert "weights  " not in run("inspect", source).out
    done = run("inspect", source, "--heads")
    assert done.code == 0
    words = " ".join(done.out.split())
    scores = json.loads(run("inspect", source, "--heads", "--json").out)["plan"]["model"]["heads"]["scores"]
    assert [score["head_dim"] for score in scores] == [16, 24, 32, 48, 64, 96, 192]
    curve = ", ".join(f"{score['inside']:.1f} inside {score['head_dim']}" for score in scores)
    assert " ".join(INSPECTED.format(curve=curve).split()) in words
    assert "read: heads = 3 (width / 64, and the weights agree: boundaries of" in words


@pytest.mark.parametrize(
    ("model", "heads", "words"),
    [
        (ARCHITECTURES["dino"], None, "cannot tell the number of heads: no size shows clear boundaries"),
        (replace(ARCHITECTURES["dino"], width=64, heads=1), None, "the number of heads: 64 channels are too few"),
        (ARCHITECTURES["dinov3"], 6, "warning heads = 3 (16 periods in rope_embed.periods) is followed, but"),
        (ARCHITECTURES["dinov2"], 6, "the weights of {} look like 6 heads of 32, not 3 heads of 64"),
    ],
)  # fmt: skip
def test_inspect_says_what_the_weights_say(model: Any, heads: int | None, words: str, tmp_path: Path, run: Any) -> None:
    source = written(tmp_path / "a.pth", model, heads)
    done = run("inspect", source, "--heads")
    assert words.format(source) in " ".join(done.out.split())


def test_separate_weights_of_a_folder_are_read_too(tmp_path: Path, run: Any) -> None:
    source = written(tmp_path / "a.pth", ARCHITECTURES["dinov2"], 3)
    api.convert(source, tmp_path / "out", level="none")
    out = " ".join(run("inspect", tmp_path / "out", "--heads").out.split())
    assert "weights look like 3 heads of 64" in out
    assert "read: heads = 3 (" in out


def test_damaged_shapes_are_left_to_the_message_about_them(tmp_path: Path) -> None:
    """A layer whose weights are not those of attention is not read, and refused for its shape."""
    state = state_of(ARCHITECTURES["dino"], 3)
    state["blocks.1.attn.proj.weight"] = np.zeros((WIDTH, WIDTH + 1), np.float32)
    write_torch_file(tmp_path / "a.pth", [tensor(*each, block=1 << 20) for each in state.items()])
    assert "blocks.1.attn.proj.weight" in str(api.inspect(tmp_path / "a.pth", heads=True).refusal)
