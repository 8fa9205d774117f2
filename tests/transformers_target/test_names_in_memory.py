"""A model of Transformers in anybody's file, under its names in memory, becomes what its class saves itself."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.api import convert, verify
from dinoport.errors import SettingError
from dinoport.formats.opening import open_checkpoint
from tests import formula
from tests.error_text import error_text
from tests.http_server import Site, serving

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 42, "patch_size": 14}
WIDE = {**SIZES, "intermediate_size": 96}
BEIT = {"use_absolute_position_embeddings": True, "layer_scale_init_value": 0.0}
HEADS = {"num_heads": 3}

CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "vit": ("ViTModel", "ViTConfig", WIDE, HEADS),
    "vit classifying": ("ViTForImageClassification", "ViTConfig", {**WIDE, "num_labels": 5}, HEADS),
    "deit": ("DeiTModel", "DeiTConfig", WIDE, HEADS),
    "ijepa": ("IJepaModel", "IJepaConfig", WIDE, HEADS),
    "pooled": ("BeitModel", "BeitConfig", {**WIDE, **BEIT}, HEADS),
    "dinov2": ("Dinov2Model", "Dinov2Config", SIZES, HEADS),
    "dinov2 gated": ("Dinov2Model", "Dinov2Config", {**SIZES, "use_swiglu_ffn": True}, HEADS),
    "dinov2 classifying": ("Dinov2ForImageClassification", "Dinov2Config", {**SIZES, "num_labels": 5}, HEADS),
    "registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", SIZES, HEADS),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", {**WIDE, "num_register_tokens": 4}, HEADS),
    "dinov3 gated": ("DINOv3ViTModel", "DINOv3ViTConfig", {**WIDE, "use_gated_mlp": True, "key_bias": True}, HEADS),
    "convnext": (
        "DINOv3ConvNextModel",
        "DINOv3ConvNextConfig",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 2, 1, 1]},
        {},
    ),
}

PREFIXES = ("", "model.", "net.vision.encoder.", "_orig_mod.module.backbone.")

WHOLE = ("", "net.vision.encoder.")
"""Where nothing but its classifier stands beside the backbone: the class with one is told by that."""


def made(name: str) -> Any:
    """A model of a class of Transformers, each tensor with values of its own."""
    class_name, config_name, sizes, _ = CASES[name]
    model = getattr(transformers, class_name)(getattr(transformers, config_name)(**sizes))
    own = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    model.load_state_dict({key: torch.from_numpy(formula.noise(key, shape)) for key, shape in own.items()})
    return model


def tensors(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    with open_checkpoint(folder) as checkpoint:
        return {name: each.read() for name, each in checkpoint.tensors.items() if not name.startswith("pooler.")}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", CASES)
def test_it_becomes_what_its_class_saves(name: str, prefix: str, tmp_path) -> None:
    model = made(name)
    model.save_pretrained(tmp_path / "saved")
    tree = {f"{prefix}{key}": tensor for key, tensor in model.state_dict().items()}
    if prefix:
        tree["projection.weight"] = torch.ones(3, 4)
    torch.save({"state_dict": tree} if prefix else tree, tmp_path / "last.ckpt")
    report = convert(tmp_path / "last.ckpt", tmp_path / "out", level="exact", **CASES[name][3])
    saved, written = tensors(tmp_path / "saved"), tensors(tmp_path / "out")
    if prefix:  # what stands beside it is named
        assert "projection.weight" in " ".join(line.names for line in report.accounting.dropped)
    if name.endswith("classifying") and prefix not in WHOLE:
        within = next((part for part in ("vit.", "dinov2.") if f"{part}layernorm.weight" in saved), "")
        saved = {key.removeprefix(within): each for key, each in saved.items() if key.startswith(within)}
    else:
        assert report.class_name == CASES[name][0]
    assert saved.keys() == written.keys()
    assert all(np.array_equal(saved[key], written[key]) for key in saved)


def test_what_nobody_says_is_the_class_s_default_and_doubted(tmp_path) -> None:
    torch.save(made("vit").state_dict(), tmp_path / "vit.pth")
    report = convert(tmp_path / "vit.pth", tmp_path / "out", level="exact", num_heads=3)
    eps = next(setting for setting in report.settings if setting.name == "eps")
    assert (eps.value, eps.origin) == ("1e-12", "assumed")
    assert "eps = 1e-12 (the default of ViTConfig; DINO's own is 1e-6)" in str(report)
    given = convert(tmp_path / "vit.pth", tmp_path / "given", level="exact", num_heads=3, layer_norm_eps=1e-6)
    assert next(setting for setting in given.settings if setting.name == "eps").origin == "given"


@pytest.mark.parametrize("name", ["vit", "deit", "ijepa", "dinov2", "registers"])
def test_weights_without_their_folder_take_what_the_config_beside_them_says(name: str, tmp_path: Path) -> None:
    model = made(name)
    model.config.layer_norm_eps = 1e-5
    model.save_pretrained(tmp_path)
    source, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    report = convert(source, tmp_path / "out", level="exact")
    assert {("heads", "3", "claimed"), ("eps", "1e-05", "claimed")} <= said_by(report)
    assert "eps = 1e-05 (layer_norm_eps in config.json beside it)" in str(report.verdict)
    assert not verify(source, tmp_path / "out", level="exact").verdict.failed
    given = convert(source, tmp_path / "given", level="exact", num_heads=6)
    assert ("heads", "6", "given") in said_by(given)
    followed = "6 is followed, where the file has 3 (num_attention_heads in config.json beside it)"
    assert followed in " ".join(str(given).split())
    text = config.read_text()
    for told, otherwise in (('"gelu"', '"relu"'), ('"hidden_size": 48', '"hidden_size": 96')):  # of another model
        config.write_text(text.replace(told, otherwise))
        assert config.read_text() != text
        assert error_text(SettingError, lambda: convert(source, tmp_path / "no", level="exact")).startswith(
            f"the number of attention heads of {source} is not known"
        )


def test_a_config_of_this_machine_is_not_beside_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a path, an address would lose one of its two slashes."""
    made("vit").save_pretrained(tmp_path)
    monkeypatch.chdir(tmp_path)
    with serving(Site({"model.safetensors": (tmp_path / "model.safetensors").read_bytes()})) as site:
        url = site.url("model.safetensors")
        beside = Path(url).with_name("config.json")
        beside.parent.mkdir(parents=True)
        shutil.copy("config.json", beside)
        with pytest.raises(SettingError, match=r"the number of attention heads of .* is not known"):
            convert(url, tmp_path / "out", level="exact")


def said_by(report: Any) -> set[tuple[str, str, str]]:
    return {(each.name, each.value, each.origin) for each in report.settings}


def test_a_pooler_is_left_aside_and_named(tmp_path) -> None:
    torch.save(made("vit").state_dict(), tmp_path / "vit.pth")
    report = convert(tmp_path / "vit.pth", tmp_path / "out", level="exact", num_heads=3)
    dropped = {line.names: line.reason for line in report.accounting.dropped}
    assert any("pooler" in names for names in dropped)
