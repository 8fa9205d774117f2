"""What no class of Transformers computes is refused in words that say what it would cost."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from dinoport.codebases.codebase import Evidence
from dinoport.codebases.dino import resnet
from dinoport.codebases.dinov3 import vit as dinov3
from dinoport.codebases.dinov3.vit import read
from dinoport.codebases.transformers.forms import target_of
from dinoport.errors import UnknownModelError
from dinoport.formats.run_config import RunConfig
from dinoport.mapping.decoding import Decoding
from dinoport.model import Model
from dinoport.networks.network import Classifier, Features
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.request import Request
from dinoport.tensor import ArrayValues, TensorRef
from tests import formula
from tests.models import RESNET

MODEL = RotaryViT(width=64, depth=1, heads=1, mlp_hidden=256, patch_size=16)


def refusal(state: Mapping[str, formula.Array], student: Mapping[str, object]) -> str:
    tensors = {name: TensorRef(name, data.dtype, data.shape, ArrayValues(data)) for name, data in state.items()}
    config = RunConfig("run/config.yaml", {"student": student})
    with pytest.raises(UnknownModelError) as caught:
        read(Evidence("weights.pth", tensors, config=config))
    return str(caught.value)


def without_norm_biases(state: Mapping[str, formula.Array]) -> dict[str, formula.Array]:
    return {name: values for name, values in state.items() if not ("norm" in name and name.endswith(".bias"))}


def with_a_tensor(name: str, *shape: int) -> Mapping[str, formula.Array]:
    return {name: formula.tensor(name, shape)}


OWN = formula.state_dict(MODEL.tensors())

OPTIONS: dict[str, tuple[Mapping[str, formula.Array], Mapping[str, object], str, str, str]] = {
    "RMSNorm": (
        without_norm_biases(OWN),
        {"norm_layer": "rmsnorm"},
        "blocks.0.norm1.weight",
        "norms without bias: RMSNorm (norm_layer: rmsnorm)",
        "a LayerNorm subtracts a mean that RMSNorm keeps: outputs would be off "
        "(by about 1.4 in the model that was measured)",
    ),
    "untied norms": (
        {**OWN, **with_a_tensor("cls_norm.weight", 64), **with_a_tensor("cls_norm.bias", 64)},
        {},
        "cls_norm.weight",
        "a final norm of its own for CLS token and registers (untie_cls_and_patch_norms)",
        "CLS token and registers would be off, patches would not (by about 1.9 in the model that was measured)",
    ),
    "coordinates by max": (
        OWN,
        {"pos_embed_rope_normalize_coords": "max"},
        "run/config.yaml",
        "rotary coordinates normalised by max (pos_embed_rope_normalize_coords)",
        "outputs for pictures that are not square would be off (by about 0.73 in the model that was measured)",
    ),
    "coordinates by min": (
        OWN,
        {"pos_embed_rope_normalize_coords": "min"},
        "run/config.yaml",
        "rotary coordinates normalised by min (pos_embed_rope_normalize_coords)",
        "outputs for pictures that are not square would be off (by about 0.61 in the model that was measured)",
    ),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_the_training_that_no_class_has(option: str) -> None:
    state, student, where, found, error = OPTIONS[option]
    assert refusal(state, student) == "\n".join(
        [
            "weights.pth cannot be converted: no class of Transformers or timm computes what this model computes",
            f"  where: {where}",
            "  expected: an option that DINOv3ViTModel of Transformers or timm's Eva has",
            f"  found: {found}",
            f"  likely cause: an option of the training; if it were left out, {error}",
            "  try: keep this model in its own code, or train without this option",
        ]
    )


def test_what_the_config_of_another_model_says_of_coordinates_refuses_nothing() -> None:
    config = RunConfig("run/config.yaml", {"student": {"pos_embed_rope_normalize_coords": "max", "patch_size": 14}})
    [doubt] = read(Evidence("weights.pth", refs(OWN), config=config)).doubts
    assert doubt == "config.yaml says student.patch_size = 14, the tensors have 16: ignored"


def test_periods_that_follow_from_no_base() -> None:
    periods = np.linspace(0.5, 90, 16, dtype=np.float32)
    assert refusal({**OWN, "rope_embed.periods": periods}, {}) == "\n".join(
        [
            "no base gives the rotary periods of weights.pth, and Transformers stores a base alone",
            "  where: rope_embed.periods",
            "  expected: base ** (2k / (head dimension / 2)) for one base",
            "  found: 0.5, 6.467, 12.43, 18.4 …",
            "  likely cause: a model trained with min_period and max_period; if it were left out, outputs would be "
            "off (by about 0.8 in the model that was measured)",
            "  try: keep this model in its own code",
        ]
    )


def test_a_linear_head() -> None:
    """Of a model that is read: Transformers is the one that has no class for it."""
    model = replace(MODEL, classifier=Classifier(Features.CLS_MEAN, 10))
    reading = read(Evidence("weights.pth", refs(formula.state_dict(model.tensors()))))
    assert reading.architecture.classifier == model.classifier
    with pytest.raises(UnknownModelError) as caught:
        target_of(of_architecture(reading.architecture), Request(), None)
    assert str(caught.value).splitlines() == [
        "weights.pth cannot be converted with a linear head",
        "  where: linear_head.weight",
        "  expected: a backbone: Transformers has no image classification class for DINOv3",
        "  found: a classifier over CLS token, then patch mean",
        "  try: leave `head` out; `to='timm'` takes a head that looks at the CLS token alone",
    ]


def test_a_linear_head_over_something_else() -> None:
    found = refusal({**OWN, **with_a_tensor("classifier.weight", 10, 100)}, {})
    assert found.splitlines()[1:] == [
        "  where: None.weight",
        "  expected: 64 columns (the CLS token) or 128 (CLS token, then patch mean)",
        "  found: shape (10, 100)",
        "  try: leave `head` out",
    ]


def refs(state: Mapping[str, formula.Array]) -> dict[str, TensorRef]:
    return {name: TensorRef(name, data.dtype, data.shape, ArrayValues(data)) for name, data in state.items()}


def of_architecture(architecture: RotaryViT) -> Model:
    family = dinov3.FAMILY
    return Model(
        "weights.pth", "", family, architecture, Decoding({}), (), family.preprocessing, classifier="linear_head"
    )


def test_a_deeper_resnet_is_no_resnet_50() -> None:
    """Of a ResNet-101 every tensor of a ResNet-50 is there, and 17 blocks more."""
    shapes = RESNET.tensors()
    deeper = {name.replace("3.5.", "3.6."): shape for name, shape in shapes.items() if name.startswith("layer3.5.")}
    both = {name: np.broadcast_to(np.float32(0), shape) for name, shape in {**shapes, **deeper}.items()}
    tensors = {name: TensorRef(name, data.dtype, data.shape, ArrayValues(data)) for name, data in both.items()}
    problems = resnet.read(Evidence("weights.pth", tensors)).problems
    assert {problem.name for problem in problems} == deeper.keys()
    assert {problem.what for problem in problems} == {"belongs to no ResNet-50"}
