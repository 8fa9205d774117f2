"""Relatives of DINO: each is told from the others, proven, and returns; and none is silently another."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dinoport import api
from dinoport.codebases import catalogue
from dinoport.errors import SettingError
from dinoport.networks.preprocessing import IMAGENET_MEAN
from dinoport.request import Request
from tests.codebases.relatives import BY_NAME, CASES, Case, of_rows
from tests.error_text import error_text

torch = pytest.importorskip("torch")
load_file = pytest.importorskip("safetensors.torch").load_file
transformers = pytest.importorskip("transformers")

USUAL = ("ViTModel", "ViTForImageClassification", "Dinov2Model", "Dinov2WithRegistersModel", "DINOv3ViTModel")
"""Classes whose folders other tests verify in full."""

WITHOUT_KEY_BIAS = ("mae-pooled", "mae-pooled-backbone", "mae-pooled-moved", "eupe", "lingbot")


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path, Path]:
    case: Case = request.param
    folder = tmp_path_factory.mktemp(case.name)
    source = case.write(folder)
    report = api.convert(source, folder / "out", case.request, pooler="none")
    assert not report.verdict.failed
    if hasattr(transformers, case.class_name):
        assert report.verdict.word.value.startswith("equal"), str(report.verdict)
    else:
        absent = f"Transformers {transformers.__version__} has no {case.class_name}: a later one has"
        assert str(report.verdict).startswith(f"transported exactly (outputs not shown: {absent})")
    return case, source, folder / "out"


def test_it_is_told_and_proven(converted: tuple[Case, Path, Path]) -> None:
    case, _, folder = converted
    report = json.loads((folder / "dinoport.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [case.class_name]
    assert config["dinoport"]["family"] == case.family
    said = [setting["reason"] for setting in report["model"]["settings"] if setting["name"] == "codebase"]
    assert said == [case.told_by] if case.told_by else True
    if hasattr(transformers, case.class_name):
        assert all(each["relative"] < 1e-12 for each in report["proofs"]["outputs"]["float64"].values())


def test_it_verifies_and_returns(converted: tuple[Case, Path, Path], tmp_path: Path) -> None:
    case, source, folder = converted
    level = "exact" if case.class_name in USUAL else "full"
    assert not api.verify(source, folder, level=level).verdict.failed
    back = api.convert(folder, tmp_path / "back", to="original", level="exact")
    assert not back.verdict.failed
    returned = torch.load(tmp_path / "back" / "checkpoint.pth", weights_only=True)
    expected = case.state()
    assert returned.keys() == expected.keys()
    for name, values in expected.items():
        if case.name in WITHOUT_KEY_BIAS and name.endswith("qkv.bias"):
            values = values.copy()
            values[len(values) // 3 : len(values) // 3 * 2] = 0
        np.testing.assert_array_equal(returned[name].numpy(), values, err_msg=name)


def test_every_relative_has_a_case() -> None:
    names = {name for names in catalogue.RELATIVES.values() for name in names} | {*catalogue.UNTOLD.values(), "ijepa"}
    assert {case.family for case in CASES} == names


def plan_of(case: Case, tmp_path: Path, **asked: object) -> tuple[dict[str, tuple[str, str]], str]:
    report = api.plan(case.write(tmp_path), case.request, **asked)
    return {setting.name: (setting.value, setting.origin) for setting in report.settings}, report.ends[0]


OFFSET = "bicubic, scale factor with offset 0.1, without antialias"
EXACT = "bicubic, to the exact size, without antialias"

# What no tensor shows, by the case: resampling, resize, filter and mean, as measured on the genuine code.
FACTS = {
    "ibot": (OFFSET, "shorter side to 73", "bicubic", 0.485),
    "moco": (EXACT, "shorter side to 73", "bilinear", 0.485),
    "mae": (EXACT, "shorter side to 73", "bicubic", 0.485),
    "msn": (EXACT, "shorter side to 73", "bilinear", 0.485),
    "deit-run": (EXACT, "shorter side to 73", "bicubic", 0.485),
    "deit3": (EXACT, "shorter side to 64", "bicubic", 0.485),
    "ijepa": (EXACT, "shorter side to 73", "bicubic", 0.485),
    "timm": ("bicubic, to the exact size, with antialias", "shorter side to 71", "bicubic", 0.5),
    "tips": ("bilinear, to the exact size, with antialias", "56×56", "bilinear", 0.0),
    "franca": (OFFSET, "shorter side to 64", "bicubic", 0.485),
    "webssl-dino": (OFFSET, "shorter side to 64", "bicubic", 0.485),
    "eupe": (None, "256×256", "bilinear", 0.485),
    "lingbot": (None, "512×512", "bilinear", 0.485),
    "unknown": (OFFSET, "shorter side to 73", "bicubic", 0.485),
}


@pytest.mark.parametrize("name", FACTS)
def test_what_no_tensor_shows(name: str, tmp_path: Path) -> None:
    found, _ = plan_of(BY_NAME[name], tmp_path)
    rule, resize, kernel, mean = FACTS[name]
    assert found.get("interpolation", (None,))[0] == rule
    assert found["resize"][0] == resize
    assert found["filter"][0] == f"{kernel}, antialiased"
    assert found["pixel mean"][0].startswith(f"{mean:g}")
    assert found["eps"][0] == ("1e-05" if name in ("eupe", "lingbot") else "1e-06")


@pytest.mark.parametrize(
    ("name", "models", "to"),
    [
        ("moco-bare", "MoCo v3", "transformers"),
        ("moco-bare", "MoCo v3", "timm"),
        ("ijepa", "I-JEPA", "transformers"),
        ("deit3", "DeiT III", "transformers"),
    ],
)
def test_what_was_baked_by_an_assumed_rule_says_so(name: str, models: str, to: str, tmp_path: Path) -> None:
    """Its own code takes no other size; MAE's does, and its rule is its own."""
    path, rule = BY_NAME[name].write(tmp_path), f"{models} takes no other size; as Transformers resamples"
    own = api.convert(path, tmp_path / "own", level="exact", to=to)
    assert rule not in str(own.verdict)
    assert f"At other sizes than 64×64 pixels a rule is assumed: {rule}." in (tmp_path / "own/README.md").read_text()
    baked = api.convert(path, tmp_path / "out", level="exact", image_size=96, to=to)
    assert f"interpolation = {EXACT} ({rule})" in str(baked.verdict)
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"resampled once from 64 to 96 pixels by an assumed rule: {rule}." in card
    assert "original's own rule" not in card
    path = BY_NAME["mae-bare"].write(tmp_path / "mae")
    usual = api.convert(path, tmp_path / "usual", level="exact", image_size=96, to=to)
    assert "interpolation" not in str(usual.verdict)
    assert "by the original's own rule" in (tmp_path / "usual" / "README.md").read_text()


def test_nobody_is_claimed_where_nothing_tells(tmp_path: Path) -> None:
    case = BY_NAME["unknown"]
    report = api.convert(case.write(tmp_path), tmp_path / "out", level="exact")
    assert report.ends == ("ViT (codebase not known)", "ViTModel")
    first = str(report.verdict)
    assert "codebase = not known (DINO's values are taken; different elsewhere: " in first
    assert "pixel statistics in timm" in first
    assert "--codebase decides" in first
    card = (tmp_path / "out" / "README.md").read_text()
    assert "facebookresearch/dino" not in card
    assert "license" not in card.split("---")[1]


def test_the_users_word_decides_where_nothing_tells(tmp_path: Path) -> None:
    """A file of one is never silently the other: what it is taken for is said, and follows the option."""
    found, title = plan_of(BY_NAME["unknown"], tmp_path, codebase="moco_v3")
    assert (title, found["codebase"]) == ("MoCo v3 ViT (facebookresearch/moco-v3)", ("MoCo v3 ViT", "given"))
    assert found["filter"][0] == "bilinear, antialiased"
    found, title = plan_of(BY_NAME["tips"], tmp_path, codebase="dinov2")
    assert title == "DINOv2 ViT (facebookresearch/dinov2)"
    assert found["pixel mean"][0].startswith(f"{IMAGENET_MEAN[0]}")


def test_a_class_may_be_chosen(tmp_path: Path) -> None:
    case = BY_NAME["tips"]
    path = case.write(tmp_path)
    usual = api.plan(path)
    assert usual.class_name == "Dinov2WithRegistersModel"
    assert "Tipsv2VisionModel would hold it too (--class)" in usual.remarks
    report = api.convert(path, tmp_path / "out", class_name="Tipsv2VisionModel", level="exact")
    assert report.class_name == "Tipsv2VisionModel"
    assert "Tipsv2VisionModel is in Transformers 5 and later alone" in report.remarks
    assert error_text(SettingError, lambda: api.plan(path, class_name="ViTMSNModel")) == (
        "ViTMSNModel does not compute this model, a TIPS ViT\n"
        "  expected: Dinov2WithRegistersModel, Tipsv2VisionModel\n"
        "  found: `class_name=ViTMSNModel`\n"
        "  try: leave `class_name` out"
    )


CONTRADICTED = """\
`codebase=dino` contradicts {}, which is of MoCo v3 ViT
  expected: `codebase='moco_v3'`
  found: a position table of sines and cosines, rows first
  try: leave `codebase` out"""

NOT_THESE = """\
{} has no model with the names of franca
  expected: dino, ibot, simdino, moco_v3, mae, msn, deit3, deit, timm_vit
  found: `codebase=franca`
  try: leave `codebase` out"""

NO_SUCH = """\
mocov3 is not a codebase that dinoport knows
  expected: dino, ijepa, dino_resnet, dinov2, dinov3, dinov3_convnext, ibot, simdino, moco_v3, mae, msn, deit3, deit, \
timm_vit, tips, franca, webssl_dino, simdinov2, xray_dino, cell_dino, eupe, lingbot, eupe_convnext, timm_convnext
  found: `codebase=mocov3`
  did you mean: `codebase='moco_v3'`
  try: leave `codebase` out"""


WITHOUT_ITS_SIGN = """\
`codebase=deit3` does not fit {}
  expected: layer scales, and no position of the CLS token, as in every file of DeiT III ViT
  found: none
  try: leave `codebase` out"""


@pytest.mark.parametrize(
    ("name", "codebase", "message"),
    [
        ("moco-bare", "dino", CONTRADICTED),
        ("unknown", "deit3", WITHOUT_ITS_SIGN),
        ("unknown", "franca", NOT_THESE),
        ("unknown", "mocov3", NO_SUCH),
    ],
)
def test_an_option_that_does_not_fit(name: str, codebase: str, message: str, tmp_path: Path) -> None:
    path = BY_NAME[name].write(tmp_path)
    assert error_text(SettingError, lambda: api.plan(path, codebase=codebase)) == message.format(path)


def test_a_learnt_table_is_no_fixed_one(tmp_path: Path) -> None:
    """The check can fail: rows first is not columns first, and a table that is nearly fixed is learnt."""
    case = BY_NAME["moco-bare"]
    swapped = replace(case, own=BY_NAME["mae-bare"].own)
    assert plan_of(swapped, tmp_path)[1].startswith("MAE ViT")

    def learnt(state: dict) -> dict:
        moved = of_rows(state)
        moved["pos_embed"] = moved["pos_embed"] + np.float32(0.05)
        return moved

    assert plan_of(replace(case, own=learnt), tmp_path)[1] == "ViT (codebase not known)"


def test_the_other_copy_is_there_by_its_key(tmp_path: Path) -> None:
    case = BY_NAME["ijepa"]
    path = case.write(tmp_path)
    api.convert(path, tmp_path / "own", level="none", to="transformers")
    api.convert(path, tmp_path / "other", Request(checkpoint_key="encoder"), level="none")
    own, other = (torch.load(path)[key]["module.norm.bias"] for key in ("target_encoder", "encoder"))
    assert torch.equal(load_file(tmp_path / "own" / "model.safetensors")["layernorm.bias"], own)
    assert torch.equal(load_file(tmp_path / "other" / "model.safetensors")["layernorm.bias"], other)


def test_a_folder_becomes_one_of_another_class_that_computes_the_same(tmp_path: Path) -> None:
    source = BY_NAME["tips"].write(tmp_path)
    api.convert(source, tmp_path / "out", level="exact")
    other = api.convert(tmp_path / "out", tmp_path / "other", class_name="Tipsv2VisionModel", level="exact")
    assert other.class_name == "Tipsv2VisionModel"
    assert not api.verify(source, tmp_path / "other", level="exact").verdict.failed
    with pytest.raises(SettingError, match="ViTModel does not compute this model"):
        api.convert(tmp_path / "out", tmp_path / "no", class_name="ViTModel", level="exact")


def test_patches_alone_with_a_learnt_table_may_be_a_siglip(tmp_path: Path) -> None:
    """A SigLIP without its pooling has the very tensors of an I-JEPA, whose table is fixed."""
    case = Case("patches", "ijepa", BY_NAME["ijepa"].architecture, "IJepaModel")
    report = api.convert(case.write(tmp_path), tmp_path / "out", level="exact")
    assert "nothing tells it from a SigLIP without its pooling" in str(report.verdict).splitlines()[0]
    asked = api.convert(tmp_path / case.file, tmp_path / "asked", level="exact", codebase="ijepa")
    assert "SigLIP" not in str(asked.verdict)
    fixed = replace(case, own=BY_NAME["ijepa"].own)
    report = api.convert(fixed.write(tmp_path / "fixed"), tmp_path / "third", level="exact")
    assert "SigLIP" not in str(report.verdict)


def in_a_module(state: object) -> object:
    """As a user's Lightning module keeps an encoder, with a layer beside it."""
    assert isinstance(state, dict)
    inner = {f"encoder.{name}": values for name, values in state.items()}
    return {"state_dict": {**inner, "decoder.conv.weight": np.ones((2, 2, 1, 1), np.float32)}, "epoch": 1}


BARE = [case for case in CASES if case.wrap.__name__ in ("bare", "published") and case.file == "checkpoint.pth"]


@pytest.mark.parametrize("case", BARE, ids=lambda case: case.name)
def test_it_is_told_inside_a_users_module(case: Case, tmp_path: Path) -> None:
    """The backbone is taken, whatever classifiers it has; all else is as in the file that holds it alone."""
    own = api.plan(case.write(tmp_path / "own"), case.request)
    inner = api.plan(replace(case, wrap=in_a_module).write(tmp_path / "inner"), case.request)
    columns = {"head columns"}
    assert inner.family == own.family
    assert {s.name: s.value for s in inner.settings if s.name not in columns} == {
        s.name: s.value for s in own.settings if s.name not in columns
    }
    assert "ForImageClassification" not in inner.class_name
