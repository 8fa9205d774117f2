"""The strongest word that the proofs allow, and never a stronger one."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from dinoport.codebases.transformers.running import LoadingProof
from dinoport.model import Origin, Setting
from dinoport.networks.rotary_vit.rotation import RotationProof
from dinoport.proofs.difference import Difference
from dinoport.proofs.exact import ExactProof
from dinoport.proofs.genuine import GenuineProof
from dinoport.proofs.outputs import OutputsProof
from dinoport.proofs.pixels import PixelsProof, Status
from dinoport.proofs.verdict import Proofs, Word, judge
from dinoport.report.text import folded, headline
from tests.with_torchvision import INSTALLED

SAME, OTHER = Difference(1e-16, 1e-15), Difference(1e-5, 1e-6)

EXACT = ExactProof(found=3)
LOADED = LoadingProof("ViTModel", "5.0.0")
COMPUTED = OutputsProof((224, 224), "a picture", "2.13.0", {"tokens": SAME}, {"tokens": OTHER})
SEEN = PixelsProof("equal", "PIL", 0.0, 0.0, "a picture")
WHOLE = Proofs(EXACT, LOADED, COMPUTED, SEEN)
HEADS = Setting("heads", 6, Origin.ASSUMED, "width / 64")
EPS = Setting("eps", 1e-6, Origin.ASSUMED, "as in all DINO models")
SCALE = Setting("qk scale", "head_dim ** -0.5", Origin.ASSUMED, "as in all DINO models")
MEAN = Setting("pixel mean", "0.1, 0.2, 0.3", Origin.GIVEN, "--image-mean")
INFERRED = Setting("input size", 112, Origin.INFERRED, "crops.global_crops_size in config.yaml")
STORED = Setting("pixel std", "0.2, 0.25, 0.3", Origin.STORED, "normalize_args of LightlyTrain")
CLAIMED = Setting("eps", 1e-5, Origin.CLAIMED, "the folder's dinoport.json says so")


def test_all_proofs_make_equal() -> None:
    verdict = judge(WHOLE, ())
    assert (verdict.word, str(verdict)) == (Word.EQUAL, "equal at 224×224 pixels")
    assert not verdict.failed


@pytest.mark.parametrize("proofs", [WHOLE, Proofs(EXACT), Proofs()], ids=["full", "exact", "none"])
def test_what_was_assumed_is_always_said(proofs: Proofs) -> None:
    for doubted, said in ((True, "heads = 6 (width / 64)"), (False, "1 value as in the original")):
        verdict = judge(proofs, (replace(HEADS, doubted=doubted),))
        assert str(verdict).endswith(f", assuming {said}")
        assert verdict.assumptions == (str(HEADS),)


@pytest.mark.parametrize(
    ("assumed", "text"),
    [
        ((), ""),
        (
            (EPS, replace(HEADS, doubted=True), SCALE, MEAN),
            ", assuming heads = 6 (width / 64), pixel mean = 0.1, 0.2, 0.3 (--image-mean) and 2 values as in a/b",
        ),
        ((EPS, INFERRED, STORED), ", assuming 2 values from the file or its config and 1 value as in a/b"),
        ((STORED,), ", assuming 1 value from the file or its config"),
        (
            (MEAN, INFERRED, SCALE),
            ", assuming pixel mean = 0.1, 0.2, 0.3 (--image-mean), 1 value from the file or its config and"
            " 1 value as in a/b",
        ),
        ((CLAIMED, SCALE), ", assuming eps = 1e-05 (the folder's dinoport.json says so) and 1 value as in a/b"),
    ],
)
def test_the_first_line_names_what_may_be_other_and_counts_the_rest(assumed: tuple[Setting, ...], text: str) -> None:
    verdict = judge(WHOLE, assumed, (), "a/b")
    assert str(verdict) == f"equal at 224×224 pixels{text}"
    assert verdict.assumptions == tuple(map(str, assumed)), "all stand below and in the JSON"
    assert headline(verdict) == str(verdict)
    assert headline(judge(WHOLE, assumed, ("a fault",), "a/b")) == "not equal"


def test_below_the_first_line_all_stand_by_their_reasons() -> None:
    assert folded(tuple(map(str, (HEADS, EPS, MEAN, SCALE)))) == [
        "heads = 6 (width / 64)",
        "eps = 1e-06, qk scale = head_dim ** -0.5 (as in all DINO models)",
        "pixel mean = 0.1, 0.2, 0.3 (--image-mean)",
    ]


@pytest.mark.parametrize(
    ("proofs", "text"),
    [
        (Proofs(), "not verified"),
        (Proofs(EXACT), "transported exactly (outputs not shown)"),
        (
            Proofs(ExactProof(found=62, recomputed=1)),
            "transported exactly (outputs not shown), except for 1 of 63 tensors, computed anew (rounded, merged, or "
            "resampled for another size), whose effect is not shown",
        ),
        (
            Proofs(ExactProof(found=1, recomputed=62)),
            "computed again from the source and equal (outputs not shown), except for 62 of 63 tensors, computed anew "
            "(rounded, merged, or resampled for another size), whose effect is not shown",
        ),
        (
            replace(WHOLE, exact=ExactProof(recomputed=63), outputs=replace(COMPUTED, undefined=4)),
            "computed again from the source and equal (outputs not shown: the original's own are not finite), except "
            "for 63 of 63 tensors, computed anew (rounded, merged, or resampled for another size), whose effect is not "
            "shown",
        ),
        (
            replace(WHOLE, exact=ExactProof(found=62, recomputed=1), outputs=replace(COMPUTED, blind=True)),
            "transported exactly (outputs not shown: they do not depend on the picture), except for 1 of 63 tensors, "
            "computed anew (rounded, merged, or resampled for another size), whose effect is not shown",
        ),
        (
            Proofs(replace(EXACT, nonfinite={"a": 2, "b": 1})),
            "transported exactly (outputs not shown), except that 3 values are not finite, as in the original",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, rounding=OTHER)),
            "equal at 224×224 pixels, except for rounding (outputs move by 1.0e-06)",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, other_sizes={(320, 320): OTHER, (224, 160): SAME})),
            "equal at 224×224 and 224×160 pixels, "
            "except at 320×320 (1.0e-06: position tables are resampled by another rule)",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, rotation=RotationProof(1e-7, 2e-3, 5e-3))),
            "equal at 224×224 pixels, except rope periods (stored as bfloat16 rounds them, computed in float32 here: "
            "outputs move by 2.0e-03, by 5.0e-03 where all of RoPE runs in bfloat16, as in training)",
        ),
        (
            Proofs(EXACT, rounded_periods=True),
            "transported exactly (outputs not shown), except rope periods (stored as bfloat16 rounds them, computed in "
            "float32 here; how far outputs move was not measured)",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, drowned=("blocks.0", "blocks.1"))),
            "equal at 224×224 pixels, except for blocks.{0…1}, which add too little to what passes them, or the "
            "same everywhere, for anything to be shown of them",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, undefined=4)),
            "transported exactly (outputs not shown: the original's own are not finite)",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, blind=True)),
            "transported exactly (outputs not shown: they do not depend on the picture)",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, float64={"tokens": OTHER}, blind=True)),
            "not equal: outputs differ by 1.0e-06, where 1e-09 is allowed",
        ),
        (
            replace(WHOLE, exact=replace(EXACT, matrices=4, zero_matrices=("a", "b"))),
            "equal at 224×224 pixels, except that 2 of 4 matrices are zero throughout, as in the original",
        ),
        (replace(WHOLE, exact=replace(EXACT, matrices=5, zero_matrices=("a", "b"))), "equal at 224×224 pixels"),
        (
            replace(WHOLE, exact=ExactProof(problems=("norm.weight differs from layernorm.weight at element 0",))),
            "not equal: norm.weight differs from layernorm.weight at element 0",
        ),
        (
            replace(WHOLE, loading=replace(LOADED, missing=("a", "b", "c", "d"))),
            "not equal: 4 missing keys (a, b, c, and 1 more)",
        ),
        (replace(WHOLE, loading=replace(LOADED, failure="OSError: no")), "not equal: OSError: no"),
        (
            replace(WHOLE, outputs=replace(COMPUTED, float64={"tokens": SAME, "logits": OTHER})),
            "not equal: outputs differ by 1.0e-06, where 1e-09 is allowed",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, float64={"tokens": OTHER}, undefined=4)),
            "not equal: outputs differ by 1.0e-06, where 1e-09 is allowed",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, float64={})),
            "not equal: outputs differ by inf, where 1e-09 is allowed",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, failure="the baked position table is not the original's")),
            "not equal: the baked position table is not the original's",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, rotation=RotationProof(1e-4))),
            "not equal: rotary positions differ by 1.0e-04",
        ),
        (
            replace(WHOLE, outputs=replace(COMPUTED, float64={"tokens": Difference(1.0, 1.0000004e-9)})),
            "not equal: outputs differ by 1.0000004e-09, where 1e-09 is allowed",
        ),
        (
            replace(WHOLE, on_top=("pooler.dense.weight", "pooler.dense.bias")),
            "equal at 224×224 pixels, except for pooler.dense.weight, pooler.dense.bias, which the folder has on top: "
            "what comes out of them was not compared",
        ),
        (
            replace(WHOLE, genuine=GenuineProof("their code", {"tokens": SAME}, rotation=2e-5)),
            "not equal: the genuine code, their code, says otherwise: rotary positions differ by 2.0e-05",
        ),
        (
            replace(WHOLE, genuine=GenuineProof("their code", {"tokens": OTHER}, rotation=2e-4)),
            "not equal: the genuine code, their code, says otherwise: outputs differ by 1.0e-06",
        ),
        (
            replace(WHOLE, pixels=replace(SEEN, status="different", max_grey_levels=3.2)),
            "not equal: pixel values differ by up to 3.2 grey levels",
        ),
        (
            replace(WHOLE, pixels=PixelsProof("different", "PIL", reason="the processor fails: no size")),
            "not equal: pixel values were not compared: the processor fails: no size",
        ),
    ],
)  # fmt: skip
def test_the_text_says_what_was_shown(proofs: Proofs, text: str) -> None:
    assert str(judge(proofs, ())) == text


@pytest.mark.parametrize("status", get_args(Status))
def test_no_difference_of_pixels_reads_plain_equal(status: Status) -> None:
    verdict = judge(replace(WHOLE, pixels=replace(SEEN, status=status)), ())
    plain = verdict.word is Word.EQUAL and not verdict.not_shown
    assert plain == (status == "equal")


@pytest.mark.parametrize("status", ["one grey level", "two grey levels"])
def test_grey_levels_are_named(status: Status) -> None:
    verdict = judge(replace(WHOLE, pixels=replace(SEEN, status=status, backend="torchvision")), ())
    assert str(verdict) == (
        f"equal at 224×224 pixels, except for pixel values (resized by torchvision, they differ by up to {status})"
    )


def test_a_fault_of_the_folder_outweighs_every_proof() -> None:
    verdict = judge(WHOLE, (), ["config.json: hidden_act is 'relu', expected 'gelu'"])
    assert verdict.failed
    assert str(verdict) == "not equal: config.json: hidden_act is 'relu', expected 'gelu'"


def test_equal_needs_every_proof() -> None:
    """Of all combinations of proofs that were tried and failed, only that of all that hold reads equal."""
    choices = {
        "exact": (None, EXACT, ExactProof(problems=("a",))),
        "loading": (None, LOADED, replace(LOADED, unexpected=("x",))),
        "outputs": (
            None,
            COMPUTED,
            replace(COMPUTED, float64={"tokens": OTHER}),
            replace(COMPUTED, undefined=1),
            replace(COMPUTED, blind=True),
        ),
        "pixels": (SEEN, replace(SEEN, status="different")),
    }
    equal = []
    for combination in itertools.product(*choices.values()):
        proofs = Proofs(**dict(zip(choices, combination, strict=True)))
        if judge(proofs, ()).word is Word.EQUAL:
            equal.append(proofs)
    assert equal == [WHOLE]


def test_a_checkpoint_with_assumed_heads_never_reads_plain_equal(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from dinoport.api import convert
    from dinoport.networks.vit.architecture import ViT
    from dinoport.report.text import report_lines
    from tests import formula

    model = ViT(width=128, depth=1, heads=4, mlp_hidden=64, patch_size=8, image_size=16)
    state = {name: torch.from_numpy(values) for name, values in formula.state_dict(model.tensors()).items()}
    torch.save(state, tmp_path / "vit.pth")
    report = convert(tmp_path / "vit.pth", tmp_path / "out")
    said = "heads = 2 (width / 64)"
    assert report.verdict.word is Word.EQUAL_EXCEPT
    assert str(report.verdict).startswith("equal at 16×16 pixels, except for ")
    assert INSTALLED or "except for the crop (at a quarter of all picture sizes it is " in str(report.verdict)
    assert str(report.verdict).endswith("--codebase decides), heads = 2 (width / 64) and 8 values as in DINO")
    written = json.loads((tmp_path / "out" / "dinoport.json").read_text())["verdict"]
    assert said in written["text"]
    assert said in written["assumptions"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert said in " ".join(card.split()), card
    lines = list(report_lines(report))
    first = lines[0] if isinstance(lines[0], str) else str(lines[0])
    assert "equal at 16×16 pixels" in first
    assert "assum" in first
    assert said in [line.removeprefix("assuming").strip() for line in "\n".join(lines).splitlines()]
