"""What modules compute, and no tensor shows: a backbone that was built with other parts is none of those known here."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from dinoport.api import convert
from dinoport.errors import UnknownModelError
from tests import formula
from tests.families.cases import tensors
from tests.formats.test_live import Backbone, Segmentor
from tests.models import RESNET, V3

Change = Callable[[nn.Module], None]


class Rotary(nn.Module):
    """It has no tensors: its angles follow from the places of patches."""


def acts(activation: nn.Module) -> Change:
    return lambda block: block.mlp.add_module("act", activation)


def norms(name: str, norm: nn.Module) -> Change:
    return lambda block: block.attn.add_module(name, norm)


def has(name: str, value: object) -> Change:
    return lambda block: setattr(block.attn, name, value)


OTHERWISE: dict[str, tuple[Change, str, str, str]] = {
    "relu": (acts(nn.ReLU()), "mlp.act", "exact gelu", "ReLU"),
    "tanh": (acts(nn.GELU("tanh")), "mlp.act", "exact gelu", "GELU, tanh"),
    "silu": (acts(nn.SiLU()), "mlp.act", "exact gelu", "SiLU"),
    "norm": (
        norms("q_norm", nn.LayerNorm(16, elementwise_affine=False)),
        *("attn.q_norm", "norms that have weights", "LayerNorm without weights"),
    ),
    "rope": (norms("rope", Rotary()), "attn.rope", "no rotation within a layer", "Rotary"),
    "window": (has("window_size", 14), "attn", "attention among all patches", "window_size 14"),
    "scale": (has("scale", 64**-0.5), "attn", "queries times 0.25", "queries times 0.125"),
    "scaling": (has("scaling", 1.0), "attn", "queries times 0.25", "queries times 1"),
}

GELU_OF_TRANSFORMERS = type("GELUActivation", (nn.Module,), {})

WALKS = {"stride": ((2, 2), "(4, 4)"), "padding": ((2, 2), "(0, 0)"), "dilation": ((2, 2), "(1, 1)")}

ALIKE: dict[str, Change] = {
    "gelu": acts(nn.GELU()),
    "dropout": acts(nn.Dropout(0.1)),
    "no norm": norms("q_norm", nn.Identity()),
    "all patches": has("window_size", 0),
    "scale": has("scale", 16**-0.5),
    "scale of float32": has("scale", float(torch.tensor(16.0) ** -0.5)),
}


def live(module: nn.Module, folder: Path) -> object:
    return module


def pickled(module: nn.Module, folder: Path) -> object:
    torch.save({"model": module}, folder / "whole.pth")
    return folder / "whole.pth"


def changed(change: Change, inside: bool) -> nn.Module:
    module = Segmentor() if inside else Backbone()
    change((module.encoder if inside else module).blocks[1])
    return module


@pytest.mark.parametrize("given", [live, pickled])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", OTHERWISE)
def test_modules_that_compute_otherwise_are_refused(name: str, inside: bool, given, tmp_path: Path) -> None:
    change, path, expected, found = OTHERWISE[name]
    source = given(changed(change, inside), tmp_path)
    called = f"a {'Segmentor' if inside else 'Backbone'} in memory" if given is live else source
    with pytest.raises(UnknownModelError) as caught:
        convert(source, tmp_path / "out", level="exact")
    assert str(caught.value) == (
        f"{called} has the tensors of a ViT (codebase not known), and its modules compute otherwise\n"
        f"  where: {'encoder.' if inside else ''}blocks.1.{path}\n  expected: {expected}\n  found: {found}\n"
        "  likely cause: a model that was built with other parts than its tensors show\n"
        "  try: keep it in its own code; if its features pass no such module, give its state_dict() alone"
    )


@pytest.mark.parametrize("given", [live, pickled])
@pytest.mark.parametrize("name", ALIKE)
def test_modules_that_compute_as_their_tensors_show_are_taken(name: str, given, tmp_path: Path) -> None:
    report = convert(given(changed(ALIKE[name], False), tmp_path), tmp_path / "out", level="exact")
    assert not report.verdict.failed


def test_the_class_of_transformers_is_an_exact_gelu(tmp_path: Path) -> None:
    assert not convert(changed(acts(GELU_OF_TRANSFORMERS()), False), tmp_path / "out", level="exact").verdict.failed


@pytest.mark.parametrize("given", [live, pickled])
@pytest.mark.parametrize("name", ["head", "decoder"])
def test_what_lies_beside_the_backbone_may_compute_as_it_likes(name: str, given, tmp_path: Path) -> None:
    """A user's own classifier, with numbers in its names too."""
    module = Backbone() if name == "head" else Segmentor()
    norm = partial(nn.LayerNorm, elementwise_affine=False)
    module.add_module(name, nn.Sequential(nn.Linear(64, 7), nn.ReLU(), norm(7), nn.Linear(7, 5)))
    assert not convert(given(module, tmp_path), tmp_path / "out", level="exact").verdict.failed


def test_without_its_modules_it_is_taken(tmp_path: Path) -> None:
    module = changed(OTHERWISE["relu"][0], False)
    assert not convert(module.state_dict(), tmp_path / "out", level="exact").verdict.failed


@pytest.mark.parametrize("given", [live, pickled])
def test_a_number_of_heads_that_is_given_is_followed(given, tmp_path: Path) -> None:
    """The scale of a module's queries is that of its own heads."""
    source = given(changed(has("scale", 16**-0.5), False), tmp_path)
    report = convert(source, tmp_path / "out", level="exact", num_heads=2)
    assert any("is followed" in each for each in (*report.verdict.warnings, *report.remarks))


def last_norm(module: nn.Module) -> None:
    module.norm.eps = 1e-2


def one_eps(module: nn.Module) -> None:
    module.blocks[1].norm1.eps = 1e-6


def one_attention(module: nn.Module) -> None:
    module.blocks[1].attn.num_heads = 2


ONE_OF_MANY: dict[str, tuple[Callable[[nn.Module], None], str, str, str]] = {
    "the last norm's eps": (last_norm, "blocks.0.norm1", "eps = 1e-06", "eps = 1e-05"),
    "one block's eps": (one_eps, "blocks.0.norm1", "eps = 1e-06", "eps = 1e-05"),
    "one block's heads": (one_attention, "blocks.0.attn", "num_heads = 1", "num_heads = 4"),
}


@pytest.mark.parametrize("given", [live, pickled])
@pytest.mark.parametrize("name", ONE_OF_MANY)
def test_modules_that_differ_from_one_another_are_refused(name: str, given, tmp_path: Path) -> None:
    """No network has two eps or two numbers of heads; the usual ones were taken, without a word."""
    change, path, expected, found = ONE_OF_MANY[name]
    module = Backbone()
    change(module)
    source = given(module, tmp_path)
    with pytest.raises(UnknownModelError, match="and its modules compute otherwise") as caught:
        convert(source, tmp_path / "out", level="exact")
    assert (caught.value.where, caught.value.expected, caught.value.found) == (path, expected, found)


@pytest.mark.parametrize("given", [live, pickled])
@pytest.mark.parametrize(
    ("pool", "class_name"),
    [("token", "ViTForImageClassification"), ("avg", "ViTModel"), ("max", "ViTModel"), ("", "ViTModel")],
)
def test_a_classifier_of_timm_s_looks_at_what_the_module_says(pool: str, class_name: str, given, tmp_path) -> None:
    """A head over the patch mean was taken for one over the CLS token."""
    module = Backbone()
    module.add_module("head", nn.Linear(64, 5))
    module.global_pool = pool
    report = convert(given(module, tmp_path), tmp_path / "out", level="exact")
    assert report.class_name == class_name
    if pool == "avg":
        because = "its head looks at the patch mean, as the module says: global_pool = 'avg'"
        assert because in " ".join(str(report).split())


@pytest.mark.parametrize("given", [live, pickled])
@pytest.mark.parametrize("name", WALKS)
def test_patches_that_overlap_are_refused(name: str, given, tmp_path: Path) -> None:
    """As those who want finer features set it, on a model that is trained."""
    found, expected = WALKS[name]
    module = Segmentor()
    setattr(module.encoder.patch_embed["proj"], name, found)
    with pytest.raises(UnknownModelError) as caught:
        convert(given(module, tmp_path), tmp_path / "out", level="exact")
    assert (caught.value.where, caught.value.expected) == ("encoder.patch_embed.proj", f"{name} {expected}")
    assert caught.value.found == f"{name} {found}"


def resnet() -> nn.Module:
    """Its convolutions as torchvision builds them: `strides` of the network are what its modules have."""
    root = nn.Module()
    shapes = RESNET.tensors()
    for name, shape in shapes.items():
        *path, leaf = name.split(".")
        parent = root
        for part in path[:-1]:
            parent = parent._modules.setdefault(part, nn.Module())
        if len(shape) == 4:
            stride = RESNET.strides.get(name, 1)
            parent.add_module(path[-1], nn.Conv2d(shape[1], shape[0], shape[2], stride, shape[2] // 2, bias=False))
        elif leaf == "running_mean":
            parent.add_module(path[-1], nn.BatchNorm2d(shape[0]))
    return root


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("layer4.0.conv2", "stride", (1, 1)),
        ("layer4.0.downsample.0", "stride", (1, 1)),
        ("layer3.1.conv2", "dilation", (2, 2)),
        ("layer2.0.conv1", "stride", (2, 2)),
        ("conv1", "stride", (1, 1)),
    ],
)
def test_a_resnet_that_strides_elsewhere_is_refused(path: str, name: str, value: object, tmp_path: Path) -> None:
    """As DeepLab, re-identification, the first ResNet and CIFAR's have it."""
    module = resnet()
    assert not convert(module, tmp_path / "usual", level="exact").verdict.failed
    setattr(module.get_submodule(path), name, value)
    with pytest.raises(UnknownModelError) as caught:
        convert(module, tmp_path / "out", level="exact")
    assert (caught.value.where, caught.value.found) == (path, f"{name} {value}")


def rotary(base: float, name: str) -> nn.Module:
    """A DINOv3 of Transformers, whose base no tensor of its shows; `name` is what the attribute is called."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 96}
    config = transformers.DINOv3ViTConfig(**sizes, num_register_tokens=2, image_size=32, rope_theta=base)
    model = transformers.DINOv3ViTModel(config)
    if name != "base":
        model.rope_embeddings.__dict__[name] = model.rope_embeddings.__dict__.pop("base")
    return model


@pytest.mark.parametrize("given", [live, pickled])
@pytest.mark.parametrize("name", ["base", "temperature", "rope_theta"])
@pytest.mark.parametrize("base", [100.0, 10.0])
def test_a_base_that_no_tensor_shows_is_taken_from_the_module(name: str, base: float, given, tmp_path: Path) -> None:
    report = convert(given(rotary(base, name), tmp_path), tmp_path / "out", level="exact")
    [told] = [each for each in report.settings if each.name == "rope base"]
    assert (told.value, told.origin, told.reason) == (str(base), "stored", f"rope_embeddings.{name} of the module")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["rope_theta"] == base


def test_a_base_that_the_tensors_contradict_is_refused(tmp_path: Path) -> None:
    module = nn.Module()
    for name, tensor in tensors(formula.state_dict(V3.tensors())).items():
        *parts, leaf = name.split(".")
        parent = module
        for part in parts:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = dict(parent.named_children())[part]
        parent.register_buffer(leaf, tensor)
    assert not convert(module, tmp_path / "usual", level="exact").verdict.failed
    module.add_module("rope", type("Rope", (nn.Module,), {"base": 10.0})())
    with pytest.raises(UnknownModelError) as caught:
        convert(module, tmp_path / "out", level="exact")
    told = (caught.value.where, caught.value.expected, caught.value.found)
    assert told == ("rope", "rotation of base 100", "base 10")


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("give", [live, pickled])
@pytest.mark.parametrize(("sides", "refused"), [((16, 4), True), ((8, 8), False), ((4, 16, 1), False), (8, False)])
def test_patches_of_pictures_that_are_not_square_are_refused(
    sides: object, refused: bool, give, inside: bool, tmp_path: Path
) -> None:
    """Its table has as many rows as a square of 8 pixels."""
    module = Segmentor() if inside else Backbone()
    (module.encoder if inside else module).patch_embed.img_size = sides
    if not refused:
        assert convert(give(module, tmp_path), tmp_path / "out", level="none").class_name == "ViTModel"
        return
    with pytest.raises(UnknownModelError, match="has positions for pictures that are not square"):
        convert(give(module, tmp_path), tmp_path / "out", level="none")
