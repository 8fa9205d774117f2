"""Folders of classes that are no target: those that hand out a model's layers, and those with a backbone inside."""

import json
from pathlib import Path
from typing import Any

import pytest

from dinoport import api
from dinoport.errors import DinoportError, SettingError, UnknownModelError
from dinoport.formats.checkpoint import Checkpoint
from tests.codebases.test_folders_of_relatives import DECODER, PROCESSOR, saved, settings_of
from tests.error_text import error_text

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
    assert error_text(SettingError, lambda: api.plan(folder)) == (
        "config.json says of this backbone what no DINO with these weights computes\n"
        f"  where: config.json: {name}\n"
        f"  expected: {expected}\n"
        f"  found: {found}\n"
        "  likely cause: a backbone of another kind under the same names, or a config that was changed\n"
        "  try: keep it in its own class"
    )


CLASSES: dict[str, tuple[str, str, dict[str, object]]] = {
    "ViTForImageClassification": ("ViTForImageClassification", "ViTForImageClassification", {}),
    "ViTForMaskedImageModeling": ("ViT (codebase not known)", "ViTModel", {"encoder_stride": 16}),
    "DeiTForImageClassification": ("DeiT ViT (facebookresearch/deit)", "DeiTModel", {}),
    "DeiTForImageClassificationWithTeacher": (
        "DeiTForImageClassificationWithTeacher",
        "DeiTForImageClassificationWithTeacher",
        {},
    ),
    "IJepaForImageClassification": ("I-JEPA ViT (facebookresearch/ijepa)", "IJepaModel", {}),
    "ViTMSNForImageClassification": ("ViTMSNForImageClassification", "ViTForImageClassification", {}),
    "ViTMAEModel": ("ViTModel", "ViTModel", {"mask_ratio": 0.0, **DECODER}),
    "BeitForImageClassification": (
        "BeitForImageClassification",
        "BeitForImageClassification",
        {"use_absolute_position_embeddings": True, "layer_scale_init_value": 0.0},
    ),
    "Dinov2ForImageClassification": (
        "Dinov2ForImageClassification",
        "Dinov2ForImageClassification",
        {"patch_size": 16, "mlp_ratio": 2},
    ),
}
"""What is read of a class, the class that it becomes, and what else its config says."""

ALREADY = [name for name, (title, class_name, _) in CLASSES.items() if name == class_name]
"""These are written anew only where something is asked for."""


@pytest.mark.parametrize("told", ["by its config", "by its tensors", "in memory"])
@pytest.mark.parametrize("name", CLASSES)
def test_what_a_class_computes_is_what_is_written(name: str, told: str, tmp_path: Path) -> None:
    """Also where `architectures` is missing, and under the names that `torch.save(model.state_dict())` writes."""
    title, class_name, sizes = CLASSES[name]
    folder = saved(tmp_path / "theirs", name, **sizes)
    genuine = getattr(transformers, name).from_pretrained(folder).eval()
    if told == "in memory":
        (folder / "model.safetensors").unlink()
        torch.save(genuine.state_dict(), folder / "pytorch_model.bin")
    if told != "by its config":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "architectures": None}))
    dtype = {} if name not in ALREADY else {"dtype": "float32"}
    report = api.convert(folder, tmp_path / "out", class_name=class_name, **dtype)
    assert (report.ends, report.verdict.failed) == ((title, class_name), False)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [class_name]
    ours = getattr(transformers, class_name).from_pretrained(tmp_path / "out").eval().double()
    pixels = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    noise = {"noise": torch.arange(16.0)[None]} if name == "ViTMAEModel" else {}
    with torch.inference_mode():
        theirs = genuine.double()(pixels, output_hidden_states=True, **noise)
        found = ours(pixels, output_hidden_states=True)
        if "logits" in found:
            apart = theirs.logits - found.logits
        else:  # the last norm stands behind what a class with a head hands out of its layers
            apart = theirs.hidden_states[-2] - found.hidden_states[-2]
    assert float(apart.abs().max()) < 1e-12


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("name", ["ViTModel", "ResNetModel"])
def test_weights_of_another_model_beside_a_config_are_not_called_its_class(
    name: str, told: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    config = getattr(transformers, name).config_class().to_dict()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [name] if told else None}))
    torch.save({"lstm.weight": torch.ones(4, 4)}, folder / "pytorch_model.bin")
    said = error_text(UnknownModelError, lambda: api.plan(folder))
    own = name if told else config["model_type"]
    assert said.startswith(f"{folder} does not hold the {own} that its config.json names\n")
    assert "\n  found: lstm.weight\n" in said


@pytest.mark.parametrize("way", [lambda folder: api.inspect(folder), lambda folder: api.verify(folder, folder)])
def test_a_folder_whose_class_cannot_be_told_is_closed(way: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Whatever stands in the way, a request to stop among it."""
    folder = saved(tmp_path / "theirs", "ViTModel")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": None}))
    closed, close = [], Checkpoint.close

    def closing(checkpoint: Checkpoint) -> None:
        closed.append(checkpoint.where)
        close(checkpoint)

    monkeypatch.setattr(Checkpoint, "close", closing)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dinoport.codebases.transformers.told_class.table_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        way(folder)
    assert closed == [str(folder)]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "backbone."])
@pytest.mark.parametrize("name", ["ViTModel", "ViTForImageClassification", "Dinov2Model", "DINOv3ViTModel"])
def test_a_class_below_a_prefix_is_found_there(name: str, prefix: str, tmp_path: Path) -> None:
    """As accelerate saves a model that DDP or torch.compile wraps; heads and eps are in the config beside it."""
    sizes = {"DINOv3ViTModel": {"rope_theta": 37.0, "num_register_tokens": 2}, "Dinov2Model": {"mlp_ratio": 2}}
    folder = saved(tmp_path / "theirs", name, **sizes.get(name, {}))
    genuine = getattr(transformers, name).from_pretrained(folder).eval()
    (folder / "model.safetensors").unlink()
    state = {f"{prefix}{key}": values for key, values in genuine.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin")
    report = api.convert(folder, tmp_path / "out", level="exact")
    heads = next(each for each in report.settings if each.name == "heads")
    assert (heads.value, report.verdict.failed) == ("4", False)
    assert prefix in str(report)
    ours = getattr(transformers, report.class_name).from_pretrained(tmp_path / "out").eval()
    pixels = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        theirs, found = (each(pixels, output_hidden_states=True).hidden_states[-2] for each in (genuine, ours))
    assert torch.equal(theirs, found)


@pytest.mark.parametrize("name", ["ViTModel", "Dinov2Model", "DINOv3ViTModel"])
def test_a_class_of_the_user_s_own_under_known_names_is_theirs_to_vouch_for(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "theirs", name, **({"mlp_ratio": 2} if name == "Dinov2Model" else {}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["MyEncoder"]}))
    said = error_text(UnknownModelError, lambda: api.plan(folder))
    assert said.startswith(f"{folder} holds a MyEncoder, which dinoport does not read\n")
    assert "  try: give a folder that holds one of these classes\n" in said
    assert said.endswith("if it computes what one of them does, add `prefix='.'`")
    assert api.plan(folder, prefix=".").class_name == name
    for odd in ([config["model_type"]], {}):
        (folder / "config.json").write_text(json.dumps({**config, "architectures": ["MyEncoder"], "model_type": odd}))
        assert error_text(UnknownModelError, lambda: api.plan(folder)).startswith(f"{folder} holds a MyEncoder, which")


SIZED = {"ViTModel": {}, "Dinov2Model": {"mlp_ratio": 2}}


@pytest.mark.parametrize("to", ["original", "timm", "transformers"])
@pytest.mark.parametrize("name", SIZED)
def test_a_size_that_patches_do_not_fill_is_rounded_down(name: str, to: str, tmp_path: Path) -> None:
    """As the class rounds it; its convolution leaves out what is beyond."""
    folder = saved(tmp_path / "theirs", name, image_size=77, patch_size=16, **SIZED[name])
    asked = {"dtype": "float16"} if to == "transformers" else {}
    report = api.convert(folder, tmp_path / "out", to=to, level="exact" if to == "timm" else "full", **asked)
    assert not report.verdict.failed
    assert (
        "config.json says pictures of 77 pixels, of which the patches fill 64: that is what is written"
        in report.remarks
    )
    if to == "transformers":
        pixels, cls = torch.rand(1, 3, 77, 77), getattr(transformers, name)
        one = {"interpolate_pos_encoding": True} if name == "ViTModel" else {}
        whole = cls.from_pretrained(folder).eval().half().float()(pixels, **one).last_hidden_state
        cut = cls.from_pretrained(tmp_path / "out", dtype="float32").eval()(pixels[:, :, :64, :64]).last_hidden_state
        assert torch.equal(whole, cut)


def test_another_name_of_the_same_activation_is_the_same(tmp_path: Path) -> None:
    folder = saved(tmp_path / "theirs", "ViTModel", hidden_act="gelu_python")
    assert not api.convert(folder, tmp_path / "out", to="original").verdict.failed
    gated = {"use_gated_mlp": True, "rope_theta": 37.0, "num_register_tokens": 2}
    folder = saved(tmp_path / "gated", "DINOv3ViTModel", hidden_act="swish", **gated)
    assert not api.convert(folder, tmp_path / "gated out", to="original").verdict.failed
    inside = saved(tmp_path / "inside", "ViTForMaskedImageModeling", encoder_stride=16, hidden_act="gelu_python")
    assert not api.convert(inside, tmp_path / "inside out").verdict.failed


@pytest.mark.parametrize("name", ["BeitBackbone", "DINOv3ConvNextBackbone"])
def test_layers_that_have_lost_their_norm_are_refused_by_what_they_lack(name: str, tmp_path: Path) -> None:
    sizes = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]} if "ConvNext" in name else {}
    if not hasattr(transformers, name):
        pytest.skip("a class of Transformers 5")
    folder = saved(tmp_path / "layers", name, **sizes)
    with pytest.raises(UnknownModelError) as raised:
        api.plan(folder)
    assert str(raised.value).startswith(f"{folder} holds a {name}, which dinoport does not read\n")
    assert "  likely cause: a class of layers without the norm behind the last one, which every class that" in str(
        raised.value
    )
