"""What lies beside a model: no config of another run is taken, and not every layer beside the backbone is a head."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dinoport.api import convert, verify
from dinoport.errors import DinoportError, PlanError
from tests import formula, models

MOVING = "  norm_layer: layernormbf16\n  interpolate_offset: 0.0\n  interpolate_antialias: true\n"
"""What no tensor shows, and moves outputs."""

OTHER = {
    "width": f"student:\n  arch: vit_small\n{MOVING}teacher: {{}}\n",
    "registers": f"student:\n  arch: own\n  num_register_tokens: 7\n  n_storage_tokens: 7\n{MOVING}teacher: {{}}\n",
    "patch size": f"student:\n  arch: own\n  patch_size: 15\n{MOVING}teacher: {{}}\n",
    "biases": f"student:\n  arch: own\n  proj_bias: false\n{MOVING}teacher: {{}}\n",
}
"""Configs that the tensors contradict in one value."""


def saved(path: Path, model: object, prefix: str = "", **beside: torch.Tensor) -> Path:
    state = formula.state_dict(model.tensors())  # type: ignore[attr-defined]  # an architecture
    torch.save({**{f"{prefix}{name}": torch.from_numpy(each) for name, each in state.items()}, **beside}, path)
    return path


@pytest.mark.parametrize("model", [models.V2, models.V3], ids=["dinov2", "dinov3"])
@pytest.mark.parametrize("config", OTHER.values(), ids=OTHER)
def test_a_config_of_another_run_decides_nothing(model: object, config: str, tmp_path) -> None:
    source = saved(tmp_path / "p.pth", model)
    alone = convert(source, tmp_path / "alone", level="exact")
    (tmp_path / "config.yaml").write_text(config)
    report = convert(source, tmp_path / "beside", level="exact")
    ours, theirs = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("alone", "beside"))
    assert theirs == ours
    assert report.verdict.assumptions == alone.verdict.assumptions
    assert any("config.yaml" in remark and "ignored" in remark for remark in report.remarks)
    assert "the rest of config.yaml was not taken: it describes another model" in report.remarks


def test_a_config_that_nothing_contradicts_is_taken_and_named(tmp_path) -> None:
    """The check itself can fail: such values are taken where the config is the model's own."""
    source = saved(tmp_path / "p.pth", models.V3)
    (tmp_path / "config.yaml").write_text("student:\n  arch: own\n  norm_layer: layernorm\nteacher: {}\n")
    report = convert(source, tmp_path / "out", level="exact")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["layer_norm_eps"] == 1e-6
    assert "eps = 1e-06 (student.norm_layer in config.yaml)" in report.verdict.assumptions


@pytest.mark.parametrize("prefix", ["model.", "module.backbone.", "backbone."])
@pytest.mark.parametrize("layer", ["head", "linear"])
def test_a_layer_beside_the_backbone_is_no_classifier(prefix: str, layer: str, tmp_path) -> None:
    beside = {f"{layer}.weight": torch.ones(7, 64), f"{layer}.bias": torch.ones(7)}
    report = convert(saved(tmp_path / "p.pth", models.VIT, prefix, **beside), tmp_path / "out", level="exact")
    assert report.class_name == "ViTModel"
    dropped = {line.names: line.reason for line in report.accounting.dropped}
    assert dropped == {f"{layer}.weight, {layer}.bias": "a layer outside the backbone: what it looks at is not known"}


@pytest.mark.parametrize("prefix", ["", "model.", "module.backbone."])
def test_a_layer_of_the_backbone_is_its_classifier(prefix: str, tmp_path) -> None:
    beside = {f"{prefix}head.weight": torch.ones(7, 64), f"{prefix}head.bias": torch.ones(7)}
    report = convert(saved(tmp_path / "p.pth", models.VIT, prefix, **beside), tmp_path / "out", level="exact")
    assert report.class_name == "ViTForImageClassification"


def test_a_resnet_whose_norms_are_frozen_is_the_same_but_for_counts(tmp_path) -> None:
    """As in DETR and in torchvision's detectors. Their eps and strides may be others, which the verdict names."""
    state = {name: torch.from_numpy(each) for name, each in formula.state_dict(models.RESNET.tensors()).items()}
    found = {}
    for name in ("usual", "frozen"):
        own = {key: each for key, each in state.items() if name == "usual" or not key.endswith("num_batches_tracked")}
        torch.save({f"backbone.0.body.{key}": each for key, each in own.items()}, tmp_path / f"{name}.pth")
        report = convert(tmp_path / f"{name}.pth", tmp_path / name, level="exact")
        doubt = "frozen BatchNorm = eps 1e-05, not dilated (detectors of torchvision have eps 0, DETR-DC5 dilates"
        assert (doubt in str(report.verdict)) == (name == "frozen")
        found[name] = load_file(tmp_path / name / "model.safetensors")
    assert not verify(tmp_path / "frozen.pth", tmp_path / "frozen", level="exact").verdict.failed
    for one, other, named in (("usual", "frozen", False), ("frozen", "usual", True)):
        verdict = verify(tmp_path / f"{one}.pth", tmp_path / f"{other}.pth", level="exact").verdict
        assert not verdict.failed
        assert any(each.startswith("for bn1.num_batches_tracked, ") for each in verdict.exceptions) == named
    assert found["usual"].keys() == found["frozen"].keys()
    for key, each in found["frozen"].items():
        assert torch.equal(each, torch.tensor(0) if key.endswith("num_batches_tracked") else found["usual"][key])


@pytest.mark.parametrize("lost", ["bn1.num_batches_tracked", "layer1.0.bn2.num_batches_tracked"])
def test_a_resnet_that_lacks_one_count_is_damaged_and_not_frozen(lost: str, tmp_path) -> None:
    state = {name: torch.from_numpy(each) for name, each in formula.state_dict(models.RESNET.tensors()).items()}
    del state[lost]
    torch.save(state, tmp_path / "resnet.pth")
    with pytest.raises(DinoportError, match=lost.replace(".", r"\.")):
        convert(tmp_path / "resnet.pth", tmp_path / "out", level="exact")


def test_no_resnet_has_blocks_of_mugs(tmp_path) -> None:
    beside = {"relation_blocks.0.norm1.weight": torch.ones(4)}
    with pytest.raises(PlanError, match=r"relation_blocks.0.norm1.weight is not part of this model"):
        convert(saved(tmp_path / "resnet.pth", models.RESNET, **beside), tmp_path / "out", level="exact")


def test_blocks_that_mugs_trains_over_groups_are_left_aside(tmp_path) -> None:
    """They lie in its backbone, and no feature passes them; a file without them is the same model."""
    beside = {f"backbone.relation_blocks.0.{name}": torch.ones(4, 4) for name in ("norm1.weight", "attn.qkv.weight")}
    report = convert(saved(tmp_path / "mugs.pth", models.VIT, "backbone.", **beside), tmp_path / "mugs", level="exact")
    convert(saved(tmp_path / "bare.pth", models.VIT), tmp_path / "bare", level="exact")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("mugs", "bare")]
    assert weights[0] == weights[1]
    (line,) = report.accounting.dropped
    assert line.reason == "blocks over groups of pictures, which only Mugs's training uses"
    assert set(line.names.split(", ")) == {name.removeprefix("backbone.") for name in beside}
