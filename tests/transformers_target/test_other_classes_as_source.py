"""Folders of classes that are no target: those that hand out a model's layers, and those with a backbone inside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dinoport import api
from dinoport.errors import DinoportError, SettingError
from tests.codebases.test_folders_of_relatives import PROCESSOR, saved, settings_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def test_what_a_config_says_of_a_backbone_inside_another_class_is_taken(tmp_path: Path) -> None:
    """A class that is not read here, whose inner names are: heads and eps are in its config.json."""
    folder = saved(tmp_path / "masked", "ViTForMaskedImageModeling", encoder_stride=16, layer_norm_eps=0.5)
    beside = folder / "preprocessor_config.json"
    beside.write_text(json.dumps(PROCESSOR))
    found, _ = settings_of(folder)
    assert found["heads"] == ("4", "num_attention_heads in config.json")
    assert found["eps"] == ("0.5", "layer_norm_eps in config.json")
    assert (found["pixel mean"], found["resize"]) == (("0.5, 0.5, 0.5", beside.name), ("64×64", beside.name))
    beside.write_text(json.dumps({**PROCESSOR, "image_processor_type": "DPTImageProcessor"}))
    said = "the transform of preprocessor_config.json is not taken: image_processor_type = 'DPTImageProcessor'"
    assert said in api.plan(folder).remarks


BACKBONES = {
    "Dinov2Backbone": ("Dinov2Model", {"patch_size": 14, "image_size": 56, "mlp_ratio": 2}),
    "Dinov2WithRegistersBackbone": ("Dinov2WithRegistersModel", {"patch_size": 14, "image_size": 56, "mlp_ratio": 2}),
    "DINOv3ViTBackbone": ("DINOv3ViTModel", {"rope_theta": 37.0, "num_register_tokens": 2}),
}
"""Classes that hand out layers of the model beside them."""


@pytest.mark.parametrize("name", BACKBONES)
def test_a_class_of_layers_holds_the_model_of_its_name(name: str, tmp_path: Path) -> None:
    model, sizes = BACKBONES[name]
    if not hasattr(transformers, name):
        pytest.skip("a class of Transformers 5")
    folder = saved(tmp_path / "layers", name, **sizes)
    report = api.convert(folder, tmp_path / "out", level="exact")
    assert report.class_name == model
    pixels = torch.rand(1, 3, 56 if "Dinov2" in name else 64, 56 if "Dinov2" in name else 64)
    theirs, ours = (getattr(transformers, model).from_pretrained(each).eval() for each in (folder, tmp_path / "out"))
    with torch.inference_mode():
        apart = (theirs(pixels).last_hidden_state - ours(pixels).last_hidden_state).abs().max()
    assert float(apart) == 0


OTHERS = [{"num_hidden_layers": 1}, {"hidden_act": "relu"}, {"num_attention_heads": 3}]


@pytest.mark.parametrize("name", BACKBONES)
def test_the_config_of_a_class_of_layers_is_read_as_that_of_the_model(name: str, tmp_path: Path) -> None:
    _, sizes = BACKBONES[name]
    if not hasattr(transformers, name):
        pytest.skip("a class of Transformers 5")
    folder = saved(tmp_path / "layers", name, **sizes)
    config = json.loads((folder / "config.json").read_text())
    for eps in (0.5, 1e-13):
        (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": eps}))
        report = api.convert(folder, tmp_path / f"{eps}", level="exact")
        assert json.loads((tmp_path / f"{eps}" / "config.json").read_text())["layer_norm_eps"] == eps
        assert f"eps = {eps:g} (config.json)" in str(report.verdict)
    for other in OTHERS:
        (folder / "config.json").write_text(json.dumps({**config, **other}))
        with pytest.raises(DinoportError):
            api.plan(folder)


@pytest.mark.parametrize(
    ("name", "value", "expected", "found"),
    [
        ("hidden_act", "relu", "gelu", "'relu'"),
        ("num_hidden_layers", 1, "2, as many as there are weights for", "'1'"),
        ("layer_norm_eps", 1.5, "a number between 0 and 1", "'1.5'"),
        ("num_attention_heads", 4.0, "a number of heads", "'4.0'"),
    ],
)
def test_another_backbone_inside_another_class_is_refused(
    name: str, value: object, expected: str, found: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "other", "ViTForMaskedImageModeling", encoder_stride=16)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, name: value}))
    with pytest.raises(SettingError) as raised:
        api.plan(folder)
    assert str(raised.value) == (
        "config.json says of this backbone what no DINO with these weights computes\n"
        f"  where: config.json: {name}\n"
        f"  expected: {expected}\n"
        f"  found: {found}\n"
        "  likely cause: a backbone of another kind under the same names, or a config that was changed\n"
        "  try: keep it in its own class"
    )
