"""Files of one codebase that have the very names and shapes of another: none is silently the other.

A pair is silent where the verdict's first line neither names whose the model is taken for, nor refuses the option that
says otherwise, though heads, statistics, filter, rule, eps or copy differ.
"""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport import api
from dinoport.errors import SettingError
from dinoport.request import Request
from tests import formula
from tests.codebases.relatives import BY_NAME, Case, deit_run, of_columns, of_rows
from tests.families.cases import tensors
from tests.models import V3, VIT, classifying, renamed

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

# fmt: off
SURE = (
    ("moco", "dino"), ("moco-bare", "dino"), ("moco-probe", "dino"), ("moco-bare", "mae"), ("mae", "dino"),
    ("mae-bare", "dino"), ("mae-bare", "moco_v3"), ("mae-pooled", "dino"), ("msn", "dino"), ("msn", "ibot"),
    ("ibot", "dino"), ("ibot-layer-scale", "deit3"), ("simdino", "dino"), ("deit-run", "dino"),
    ("deit-distilled", "dino"), ("deit3", "dino"), ("deit3", "ibot"), ("tips-hub", "dinov2"), ("franca", "dinov2"),
    ("eupe", "dinov3"), ("eupe-convnext", "dinov3_convnext"), ("eupe", "lingbot"),
)
"""A file with a sign, and what it is asked to be."""

GUESSED = (
    ("tips", "dinov2"), ("webssl-dino", "dinov2"), ("lingbot", "dinov3"),
    ("mae-pooled-moved", "dino"), ("simdinov2", "dinov2"), ("xray-dino", "dinov2"), ("cell-dino", "dinov2"),
)
"""A file that something fits, which is not a proof: its own name, or its size."""
# fmt: on


@pytest.mark.parametrize(("name", "other"), SURE)
def test_a_sign_contradicts_the_option(name: str, other: str, tmp_path: Path) -> None:
    path = BY_NAME[name].write(tmp_path)
    with pytest.raises(SettingError) as raised:
        api.plan(path, BY_NAME[name].request, codebase=other)
    assert f"`codebase={other}` contradicts {path}" in str(raised.value) or "has no model with the names" in str(
        raised.value
    )


@pytest.mark.parametrize("name", BY_NAME)
def test_what_lies_in_a_file_has_the_name_that_it_is_converted_by(name: str, tmp_path: Path) -> None:
    """The list of a file's parts says of no place that it is a DINO where the command beside it says otherwise."""
    case = BY_NAME[name]
    seen = api.inspect(case.write(tmp_path), case.request)
    models = [part for part in seen.parts if part.model]
    assert models
    for part in models:
        planned = api.plan(tmp_path / case.file, replace(case.request, prefix=part.prefix or None))
        assert part.what == planned.ends[0], part


@pytest.mark.parametrize(("name", "other"), GUESSED)
def test_a_guess_is_in_the_first_line_and_the_option_decides(name: str, other: str, tmp_path: Path) -> None:
    case = BY_NAME[name]
    path = case.write(tmp_path)
    report = api.convert(path, tmp_path / "out", case.request, level="exact")
    assert "--codebase decides" in str(report.verdict)
    title = next(each.value for each in report.settings if each.name == "codebase")
    assert f"codebase = {title}" in str(report.verdict)
    asked = api.plan(path, case.request, codebase=other)
    assert next(each.origin for each in asked.settings if each.name == "codebase") == "given"


def values(path: Path, **asked: Any) -> dict[str, str]:
    return {each.name: each.value for each in api.plan(path, **asked).settings}


MUTANTS = (
    ("unknown", "moco_v3", {"filter"}),
    ("unknown", "mae", {"interpolation"}),
    ("unknown", "msn", {"filter", "interpolation"}),
    ("unknown", "deit", {"interpolation"}),
    ("unknown", "timm_vit", {"pixel mean", "pixel std", "resize", "interpolation"}),
    ("tips", "dinov2", {"pixel mean", "pixel std", "resize", "filter", "interpolation"}),
    ("lingbot", "dinov3", {"resize"}),
)
"""What is otherwise by another's facts: each is a mutant of the conversion, and none goes without a word."""


@pytest.mark.parametrize(("name", "other", "differ"), MUTANTS)
def test_what_another_s_facts_would_change(name: str, other: str, differ: set[str], tmp_path: Path) -> None:
    path = BY_NAME[name].write(tmp_path)
    own, theirs = values(path), values(path, codebase=other)
    changed = {each for each in own if own[each] != theirs.get(each)}
    assert differ <= changed


@pytest.mark.parametrize(("name", "other"), [("unknown", "timm_vit"), ("tips", "dinov2"), ("unknown", "moco_v3")])
def test_a_folder_of_one_fails_as_the_other(name: str, other: str, tmp_path: Path) -> None:
    """The processor of the one is not the other's: verification says so."""
    path = BY_NAME[name].write(tmp_path)
    api.convert(path, tmp_path / "out", level="exact")
    report = api.verify(path, tmp_path / "out", Request(codebase=other), level="exact")
    assert report.verdict.failed


def test_a_table_baked_by_another_s_rule_is_rejected(tmp_path: Path) -> None:
    """MAE's table resampled by DINO's rule is off by 0.1, and not MAE's."""
    path = BY_NAME["mae-bare"].write(tmp_path)
    api.convert(path, tmp_path / "own", image_size=96, level="exact")
    api.convert(path, tmp_path / "other", image_size=96, interpolation="offset", level="exact")
    assert not api.verify(path, tmp_path / "own", image_size=96, interpolation="size", level="exact").verdict.failed
    assert api.verify(path, tmp_path / "other", image_size=96, interpolation="size", level="exact").verdict.failed


def test_a_bare_small_vit_says_what_differs(tmp_path: Path) -> None:
    """DINO's ViT-S, DeiT's, MoCo v3's and AugReg's have the same shapes: the first line says so, and what differs."""
    small = replace(VIT, width=384, heads=6, mlp_hidden=16, depth=12, image_size=32)
    case = Case("small", "vit", small, "ViTModel")
    report = api.convert(case.write(tmp_path), tmp_path / "out", level="exact")
    first = str(report.verdict).splitlines()[0]
    for words in ("codebase = not known", "12 heads in MoCo v3", "pixel statistics in timm", "--codebase decides"):
        assert words in first, first
    assert values(case.write(tmp_path), codebase="moco_v3")["heads"] == "12"


def test_a_bare_resnet_is_called_nobodys(tmp_path: Path) -> None:
    """Supervised, contrastive or DINO's: a ResNet-50 has torchvision's names whoever trained it."""
    case = BY_NAME["unknown-resnet"]
    path = case.write(tmp_path)
    report = api.convert(path, tmp_path / "out", level="exact")
    told = "codebase = not known (DINO's values are taken; nothing in the file tells whose it is; --codebase decides)"
    assert f"assuming {told}" in str(report.verdict)
    card = (tmp_path / "out" / "README.md").read_text()
    assert report.ends[0] == "ResNet-50 (codebase not known)"
    assert not [claim for claim in ("facebookresearch", "license", "- dino\n") if claim in card]
    assert not api.verify(path, tmp_path / "out", level="exact").verdict.failed
    asked = api.convert(path, tmp_path / "asked", level="exact", codebase="dino_resnet")
    assert "codebase = DINO ResNet-50 (--codebase)" in str(asked.verdict)
    trained = tmp_path / "trained.pth"
    torch.save({"teacher": tensors(case.state()), "student": tensors(case.state())}, trained)
    assert api.plan(trained).ends[0] == "DINO ResNet-50 (facebookresearch/dino)"


def test_deit_takes_the_copy_that_it_evaluates(tmp_path: Path) -> None:
    state = renamed(formula.state_dict(classifying(VIT, 5).tensors()), "classifier", "head")
    path = tmp_path / "checkpoint.pth"
    torch.save(tensors(deit_run(state)), path)
    report = api.convert(path, tmp_path / "out", level="exact")
    assert any(each.startswith("model was chosen, what its own main.py evaluates") for each in report.remarks)
    other = api.verify(path, tmp_path / "out", Request(checkpoint_key="model_ema"), level="exact")
    assert other.verdict.failed


COPIES = (
    ("msn", Request(checkpoint_key="encoder")),
    ("ijepa", Request(checkpoint_key="encoder")),
    ("ibot", Request(checkpoint_key="student")),
    ("simdino", Request(checkpoint_key="student")),
    ("moco", Request(prefix="state_dict.module.momentum_encoder.")),
)
"""A training file, and how its other copy is asked for."""


@pytest.mark.parametrize(("name", "other"), COPIES)
def test_a_folder_of_one_copy_fails_as_the_other(name: str, other: Request, tmp_path: Path) -> None:
    path = BY_NAME[name].write(tmp_path)
    api.convert(path, tmp_path / "out", level="exact")
    assert api.verify(path, tmp_path / "out", other, level="exact").verdict.failed


def test_a_training_of_dino_s_that_was_changed_is_no_other_s(tmp_path: Path) -> None:
    """An argument that MAE's training has too, beside DINO's loss and its head."""
    state = formula.state_dict(VIT.tensors())
    head = {f"head.{name}": formula.tensor(name, (4, 4)) for name in ("mlp.0.weight", "last_layer.weight_g")}
    teacher = {**{f"backbone.{name}": values for name, values in state.items()}, **head}
    args = Namespace(mask_ratio=0.3, local_crops_number=8)
    checkpoint = {"teacher": teacher, "student": teacher, "dino_loss": {}, "args": args}
    torch.save(tensors(checkpoint), tmp_path / "checkpoint.pth")
    report = api.plan(tmp_path / "checkpoint.pth")
    assert report.ends[0] == "DINO ViT (facebookresearch/dino)"
    assert (
        values(tmp_path / "checkpoint.pth")["interpolation"]
        == "bicubic, scale factor with offset 0.1, without antialias"
    )
    with pytest.raises(SettingError, match="`codebase=mae` contradicts"):
        api.plan(tmp_path / "checkpoint.pth", codebase="mae")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("make", "family"), [(of_columns, "mae"), (of_rows, "moco_v3")])
def test_a_rounded_table_is_still_told(make: Any, family: str, dtype: Any, tmp_path: Path) -> None:
    state = {name: each.astype(dtype) for name, each in make(formula.state_dict(VIT.tensors())).items()}
    torch.save(tensors({"model": state}), tmp_path / "model.pth")
    api.convert(tmp_path / "model.pth", tmp_path / "out", level="exact")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dinoport"]["family"] == family


def test_a_start_for_training_warns_where_nothing_tells(tmp_path: Path) -> None:
    path = BY_NAME["unknown"].write(tmp_path)
    report = api.convert(path, tmp_path / "start", to="training", level="exact")
    said = [line for line in report.verdict.warnings if line.startswith("nothing tells whose this ViT is")]
    assert said == [
        "nothing tells whose this ViT is: it is read as DINO's, and main_dino.py of facebookresearch/dino trains on "
        "with 1 head, its own eps and its own transforms, whatever it was trained with; --codebase dino says that it "
        "is one"
    ]
    told = api.convert(path, tmp_path / "told", to="training", level="exact", codebase="dino")
    assert not [line for line in told.verdict.warnings if line.startswith("nothing tells")]


def test_deit3_under_timm_s_names(tmp_path: Path) -> None:
    """Timm calls its layer scales otherwise; the way back is to DeiT III's own names."""
    case = BY_NAME["deit3"]
    state = renamed(case.canonical(), "classifier", "head")
    state["pos_embed"] = state["pos_embed"][:, 1:]
    torch.save(tensors(state), tmp_path / "model.pth")
    report = api.convert(tmp_path / "model.pth", tmp_path / "out", level="exact")
    assert report.ends[0] == "DeiT III ViT (facebookresearch/deit)"
    api.convert(tmp_path / "out", tmp_path / "back", to="original", level="exact")
    assert torch.load(tmp_path / "back" / "checkpoint.pth").keys() == case.state().keys()


def test_a_dinov3_of_other_parts_than_the_released_ones_says_which_eps_it_takes(tmp_path: Path) -> None:
    """One that LightlyTrain distilled has no registers and the released models' 1e-5: outputs were 2e-2 apart."""
    for registers, named in ((4, False), (0, True)):
        path = tmp_path / f"{registers}.pth"
        torch.save(tensors(formula.state_dict(replace(V3, registers=registers).tensors())), path)
        report = api.convert(path, tmp_path / f"out{registers}", level="exact")
        said = [each for each in report.verdict.named if each.startswith("eps = 1e-06 (as in DINOv3's default")]
        assert bool(said) is named
    given = api.convert(path, tmp_path / "given", level="exact", layer_norm_eps=1e-5)
    assert "eps = 1e-05 (--layer-norm-eps)" in given.verdict.named


def test_a_bare_dinov3_says_whose_it_may_be_beside(tmp_path: Path) -> None:
    bare = replace(BY_NAME["lingbot"], file="model.pth").write(tmp_path)
    said = (
        "codebase = DINOv3 ViT (nothing tells it from EUPE (256×256 pixels) and LingBot-Vision (512×512 pixels); "
        "--codebase decides)"
    )
    assert said in str(api.convert(bare, tmp_path / "out", level="exact").verdict)
    assert "nothing tells" not in str(api.convert(bare, tmp_path / "own", level="exact", codebase="dinov3").verdict)
    assert values(bare, codebase="eupe")["resize"] == "256×256"
    named = bare.rename(tmp_path / "dinov3_vits16_pretrain_lvd1689m.pth")
    said = "codebase = DINOv3 ViT (the file's name; --codebase decides)"
    assert said in str(api.convert(named, tmp_path / "named", level="exact").verdict)
