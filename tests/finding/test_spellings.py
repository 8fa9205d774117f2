"""Names whose parts are joined otherwise than by dots: found where nothing else differs, and named where it does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dinoport.api import convert, plan
from dinoport.errors import CheckpointError, DinoportError, UnknownModelError
from dinoport.finding.bare_names import with_dots
from dinoport.tensor import ArrayValues, TensorRef
from tests import formula, models
from tests.error_text import error_text
from tests.finding.test_places import MODELS, state, weights

ASKED = {"vit": {"num_heads": 1}, "dinov2": {"num_heads": 1}, "dinov3": {}, "convnext": {}}


@pytest.mark.parametrize("joiner", ["/", "_"])
@pytest.mark.parametrize("prefix", ["", "encoder."])
@pytest.mark.parametrize("name", ASKED)
def test_they_are_read_with_dots(name: str, prefix: str, joiner: str, tmp_path: Path) -> None:
    tree = {key.replace(".", joiner): each for key, each in state(name, prefix).items()}
    torch.save({"weights": tree}, tmp_path / "run.pth")
    np.savez(tmp_path / "run.npz", **{key: each.numpy() for key, each in tree.items()})
    torch.save(state(name), tmp_path / "bare.pth")
    convert(tmp_path / "bare.pth", tmp_path / "ours", level="none", **ASKED[name])
    for file in ("run.pth", "run.npz"):
        report = convert(tmp_path / file, tmp_path / f"{file}.out", level="exact", **ASKED[name])
        assert weights(tmp_path / f"{file}.out") == weights(tmp_path / "ours")
        assert f"names joined by {joiner!r} read with dots" in str(report.source)


@pytest.mark.parametrize("prefix", ["", "module.featurizer.", "vision_backbone.featurizer."])
def test_layer_scales_of_openvla_are_read(prefix: str, tmp_path: Path) -> None:
    theirs = {key.replace(".gamma", ".scale_factor"): each for key, each in state("dinov2", prefix).items()}
    beside = {"upsampler.scale_factor": torch.ones(3)} if prefix else {}
    torch.save({**theirs, **beside}, tmp_path / "vla.pth")
    torch.save(state("dinov2"), tmp_path / "bare.pth")
    convert(tmp_path / "bare.pth", tmp_path / "ours", level="exact", num_heads=1)
    report = convert(tmp_path / "vla.pth", tmp_path / "theirs", level="exact", num_heads=1)
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")
    assert "ls1.scale_factor read as ls1.gamma" in report.source.stripped


@pytest.mark.parametrize("name", ASKED)
def test_every_name_comes_back(name: str) -> None:
    names = {**MODELS[name].tensors(), **models.V3.tensors()}
    tensors = {
        each.replace(".", "_"): TensorRef("", np.dtype(np.float32), (0,), ArrayValues(np.zeros(0))) for each in names
    }
    assert list(with_dots(tensors)[0]) == list(names)


def test_names_with_a_dot_among_them_stay() -> None:
    own = TensorRef("", np.dtype(np.float32), (0,), ArrayValues(np.zeros(0)))
    names = ["patch_embed_proj_weight", "head.weight"]
    assert list(with_dots(dict.fromkeys(names, own))[0]) == names


def test_two_names_that_become_one_stay() -> None:
    own = TensorRef("", np.dtype(np.float32), (0,), ArrayValues(np.zeros(0)))
    names = ["patch_embed/proj/weight", "patch_embed/proj.weight"]
    assert list(with_dots(dict.fromkeys(names, own))[0]) == names


def of_jax(joiner: str) -> dict[str, torch.Tensor]:
    """As Flax names layers, whose kernels are transposed."""
    kinds = {1: "scale", 2: "kernel", 4: "kernel"}
    found = {}
    for name, values in formula.state_dict(models.VIT.tensors()).items():
        own = f"params.{name.replace('blocks.', 'blocks_')}"
        own = own.removesuffix("weight") + kinds[values.ndim] if own.endswith(".weight") else own
        found[own.replace(".", joiner)] = torch.from_numpy(np.ascontiguousarray(values.T))
    return found


@pytest.mark.parametrize("joiner", ["/", "."])
def test_kernels_of_jax_are_named(joiner: str, tmp_path: Path) -> None:
    torch.save(of_jax(joiner), tmp_path / "flax.pth")
    with pytest.raises(UnknownModelError, match=r"is a model of JAX \(Flax, big_vision\) or Keras") as caught:
        convert(tmp_path / "flax.pth", tmp_path / "out", num_heads=1)
    assert "found: params" in str(caught.value)
    assert "its layers are kernels, which lie transposed" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words", "option"),
    [("flax_model.msgpack", "Flax's", "from_flax"), ("tf_model.h5", "TensorFlow's", "from_tf")],
)
def test_a_folder_of_their_weights_alone(name: str, words: str, option: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(CheckpointError, match=f"{words} weights alone, whose layers lie transposed") as caught:
        plan(tmp_path)
    assert str(caught.value).endswith(f"try: load it in Transformers 4 with {option}=True, and save_pretrained")


def test_an_average_under_other_names_never_gives_way_in_silence(tmp_path: Path) -> None:
    """Latent diffusion's LitEma strips the dots."""
    average = {f"model_ema.{name.replace('.', '')}": each for name, each in state("vit", shift=1.0).items()}
    torch.save({**state("vit", "model."), **average}, tmp_path / "last.ckpt")
    message = error_text(DinoportError, lambda: plan(tmp_path / "last.ckpt", num_heads=1))
    assert message.startswith(
        f"{tmp_path / 'last.ckpt'} has its live model under names that are known, but not its model_ema"
    )
    assert message.endswith("to take the other one: add `prefix='model.'`")
    assert plan(tmp_path / "last.ckpt", num_heads=1, prefix="model.")


def test_an_average_without_names_is_said(tmp_path: Path) -> None:
    """As torch_ema and diffusers keep one."""
    shadow = {"decay": 0.9, "shadow_params": list(state("vit", shift=1.0).values())}
    torch.save({"model": state("vit"), "ema": shadow}, tmp_path / "run.pth")
    said = "ema.shadow_params holds 30 tensors without names, perhaps an average of the model: not taken"
    assert said in plan(tmp_path / "run.pth", num_heads=1).remarks
