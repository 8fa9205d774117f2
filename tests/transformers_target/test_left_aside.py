"""What a class of Transformers holds beside the backbone, and a target has no place for: it is left out of outputs."""

import json
from pathlib import Path

import pytest

import dinoport
from tests.transformers_target.genuine_classes import Genuine

pytest.importorskip("torch")
pytest.importorskip("transformers")

POOLED = ("ViTModel", "DeiTModel")
CLASSIFYING = ("ViTForImageClassification", "Dinov2ForImageClassification", "Dinov2WithRegistersForImageClassification")


@pytest.mark.parametrize("act", ["tanh", "linear"])
@pytest.mark.parametrize("class_name", POOLED)
def test_a_pooler_with_weights_of_its_own_is_left_aside(class_name: str, act: str, tmp_path: Path) -> None:
    """As `save_pretrained` writes it after a fine-tuning, and after any load of a folder that has none."""
    genuine = Genuine.make(class_name, tmp_path / "folder")
    (tmp_path / "folder" / "config.json").write_text(json.dumps({**genuine.config, "pooler_act": act}))
    report = dinoport.convert(tmp_path / "folder", tmp_path / "out", to="original")
    assert str(report.verdict).startswith("equal at 12×12 pixels")
    [dropped] = [line for line in report.accounting.dropped if "pooler" in line.names]
    assert dropped.reason == "Transformers' pooler, a layer on top of the CLS token: no part of the backbone"
    verdict = dinoport.verify(tmp_path / "folder", tmp_path / "out").verdict
    assert str(verdict).startswith("equal at 12×12 pixels")


@pytest.mark.parametrize("act", ["tanh", "linear"])
@pytest.mark.parametrize("class_name", POOLED)
def test_a_folder_that_has_a_pooler_on_top_is_equal_but_for_it(class_name: str, act: str, tmp_path: Path) -> None:
    genuine = Genuine.make(class_name, tmp_path / "folder")
    (tmp_path / "folder" / "config.json").write_text(json.dumps({**genuine.config, "pooler_act": act}))
    dinoport.convert(tmp_path / "folder", tmp_path / "out", to="original", level="exact")
    heads, eps = (genuine.config[name] for name in ("num_attention_heads", "layer_norm_eps"))
    file = next((tmp_path / "out").glob("*.pth"))
    report = dinoport.verify(file, tmp_path / "folder", num_heads=heads, layer_norm_eps=eps)
    told = "which the folder has on top: what comes out of them was not compared"
    assert f"for pooler.dense.bias, pooler.dense.weight, {told}" in report.verdict.exceptions
    assert str(report.verdict).startswith("equal at 12×12 pixels, except ")
    assert not report.accounting.counts.get("synthesised")


@pytest.mark.parametrize("class_name", POOLED)
def test_a_folder_of_transformers_that_loses_its_pooler_says_so(class_name: str, tmp_path: Path) -> None:
    Genuine.make(class_name, tmp_path / "folder")
    told = "the pooler of the source is left aside, so `pooler_output` is not the source's"
    report = dinoport.convert(tmp_path / "folder", tmp_path / "out", dtype="float16", level="exact")
    assert told in report.verdict.warnings
    again = dinoport.convert(tmp_path / "out", tmp_path / "wide", dtype="float32", level="exact")
    assert told not in again.verdict.warnings  # an identity is made again


@pytest.mark.parametrize("class_name", CLASSIFYING)
def test_training_starts_without_the_classifier(class_name: str, tmp_path: Path) -> None:
    Genuine.make(class_name, tmp_path / "folder")
    report = dinoport.convert(tmp_path / "folder", tmp_path / "start", to="training")
    assert str(report.verdict).startswith("equal at 12×12 pixels")
    assert any(line.reason == "self-supervised training has no classifier" for line in report.accounting.dropped)
    verdict = dinoport.verify(tmp_path / "folder", tmp_path / "start").verdict
    assert str(verdict).startswith("equal at 12×12 pixels")
