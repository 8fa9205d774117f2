"""The mistakes that the outputs proof must reject, and by how much each is above its gate.

`relative` is the largest difference of the outputs in float64, relative to the largest output, to two digits; the
table in docs/proof.md is printed from here by `python -m tests.proofs.mutants`.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from dinoport.networks.convnext.architecture import ConvNeXt
from dinoport.networks.interpolation import TO_SIZE_ANTIALIASED
from dinoport.networks.resnet.architecture import ResNet
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.vit.architecture import ViT
from dinoport.proofs.verdict import GATE
from tests import goldens
from tests.models import dinov2
from tests.proofs.planting import Mistake, Original, halves_swapped, rolled, swapped
from tests.proofs.registers_last import RegistersLast

UNSEEN = 1e-12
"""An outputs proof of what is equal stays below; so does that of a mistake that no output shows."""


@dataclass(frozen=True)
class Mutant:
    """A mistake by its name in words; `relative` is None where a check of its own finds it, not the outputs."""

    name: str
    mistake: Mistake
    relative: float | None


@dataclass(frozen=True)
class Group:
    """The mutants of one original."""

    name: str
    original: Original
    mutants: tuple[Mutant, ...] = field(default_factory=tuple)


def trained() -> dict[str, Any]:
    """The teacher of the small genuine training checkpoint."""
    return {name: tensor.numpy() for name, tensor in goldens.state_in_checkpoint(*TRAINED).items()}


TRAINED = ("dino1/tiny32/checkpoint.pth", "teacher", "backbone.")
TINY = ViT(width=32, depth=4, heads=2, mlp_hidden=128, patch_size=16, image_size=224)
VIT = ViT(width=32, depth=3, heads=2, mlp_hidden=64, patch_size=8, image_size=64)
RESNET = ResNet(depths=(2, 1, 1, 1), widths=(32, 48, 80, 112))
V2 = dinov2(width=32, depth=4, heads=2, mlp_hidden=88, patch_size=14, image_size=56, feed_forward="swiglu")
REGISTERS = replace(V2, registers=4, interpolation=TO_SIZE_ANTIALIASED)
V3 = RotaryViT(width=32, depth=3, heads=2, mlp_hidden=64, patch_size=16, registers=4, key_bias_mask=True)
GATED = replace(V3, feed_forward="swiglu")
LIVE = replace(V3, key_bias_mask=False)
CONVNEXT = ConvNeXt(depths=(2, 1, 1, 1), widths=(8, 16, 24, 32))

TANH = {"hidden_act": "gelu_pytorch_tanh"}
POSITIONS = "embeddings.position_embeddings"


def vit_mutants(model: ViT, figures: tuple[float, ...]) -> tuple[Mutant, ...]:
    mistakes = (
        ("twice the heads", Mistake(replace(model, heads=2 * model.heads))),
        ("eps 1e-12 for 1e-6", Mistake(replace(model, layer_norm_eps=1e-12))),
        ("eps 1e-5 for 1e-6", Mistake(replace(model, layer_norm_eps=1e-5))),
        ("GELU by tanh", Mistake(config=TANH)),
        ("queries and keys swapped", Mistake(rules=swapped((".query.", ".key.")))),
        ("norm1 and norm2 swapped", Mistake(rules=swapped(("layernorm_before", "layernorm_after")))),
        ("two blocks swapped", Mistake(rules=swapped(("layer.0.", "layer.1.")))),
        ("position table shifted by one", Mistake(values=rolled(POSITIONS, first=1))),
        ("position table shifted by one, CLS too", Mistake(values=rolled(POSITIONS, first=0))),
    )
    return tuple(Mutant(name, mistake, figure) for (name, mistake), figure in zip(mistakes, figures, strict=True))


GROUPS = (
    Group(
        "DINO ViT, trained weights",
        Original("dino", TINY, 224, trained),
        vit_mutants(TINY, (2.2e-03, 1.2e-05, 1.1e-04, 5.4e-06, 8.7e-03, 5.3e-03, 7.2e-02, 5.3e-02, 8.9e-02)),
    ),
    Group(
        "DINO ViT, random weights",
        Original("dino", VIT, 64),
        (
            *vit_mutants(VIT, (3.3e-01, 5.4e-07, 4.9e-06, 1.5e-04, 4.2e-01, 3.1e-01, 5.8e-01, 5.6e-01, 7.1e-01)),
            Mutant("baked table shifted by one", Mistake(values=rolled(POSITIONS, first=1), image_size=96), None),
        ),
    ),
    Group(
        "DINO ResNet",
        Original("dino_resnet", RESNET, 64),
        (
            Mutant(
                "stride in the 1×1 (downsample_in_bottleneck)",
                Mistake(config={"downsample_in_bottleneck": True}),
                2.9e-01,
            ),
            Mutant(
                "two BatchNorms of a block swapped",
                Mistake(rules=swapped(("0.layer.0.norm", "0.layer.1.norm"))),
                4.9e-01,
            ),
            Mutant("running mean and bias swapped", Mistake(rules=swapped(("running_mean", "bias"))), 1.3e00),
            Mutant(
                "shortcut and last BatchNorm swapped",
                Mistake(rules=swapped(("layers.0.shortcut.norm", "layers.0.layer.2.norm"))),
                2.5e-01,
            ),
        ),
    ),
    Group(
        "DINOv2, SwiGLU",
        Original("dinov2", V2, 56),
        (
            Mutant("twice the heads", Mistake(replace(V2, heads=4)), 7.3e-01),
            Mutant("eps 1e-12 for 1e-6", Mistake(replace(V2, layer_norm_eps=1e-12)), 1.1e-06),
            Mutant("eps 1e-5 for 1e-6", Mistake(replace(V2, layer_norm_eps=1e-5)), 9.7e-06),
            Mutant("w1 and w2 swapped", Mistake(values=halves_swapped("weights_in")), 7.3e-01),
            Mutant("layer scales swapped", Mistake(rules=swapped(("layer_scale1", "layer_scale2"))), 2.2e-01),
            Mutant("chunks in another order", Mistake(rules=swapped(("layer.1.", "layer.2."))), 5.6e-01),
            Mutant("baked table shifted by one", Mistake(values=rolled(POSITIONS, first=1), image_size=84), None),
        ),
    ),
    Group(
        "DINOv2 with registers",
        Original("dinov2", REGISTERS, 56),
        (
            Mutant("registers behind the patches", Mistake(computed=RegistersLast.like), 1.3e00),
            Mutant("registers shifted by one", Mistake(values=rolled("embeddings.register_tokens", first=0)), 1.2e00),
            Mutant("queries and keys swapped", Mistake(rules=swapped((".query.", ".key."))), 7.4e-01),
        ),
    ),
    Group(
        "DINOv3, masked key bias",
        Original("dinov3", V3, 64),
        (
            Mutant("twice the heads", Mistake(config={"num_attention_heads": 4}), 4.9e-01),
            Mutant("eps 1e-6 for 1e-5", Mistake(replace(V3, layer_norm_eps=1e-6)), 1.2e-05),
            Mutant("GELU by tanh", Mistake(config=TANH), 1.7e-04),
            Mutant("bias_mask ignored", Mistake(replace(V3, live_key_bias=True)), 3.3e-02),
            Mutant("layer scales swapped", Mistake(rules=swapped(("layer_scale1", "layer_scale2"))), 3.9e-01),
            Mutant("queries and keys swapped", Mistake(rules=swapped((".q_proj.weight", ".k_proj.weight"))), 5.5e-01),
            Mutant("rope_theta 100.1 for 100", Mistake(config={"rope_theta": 100.1}), None),
        ),
    ),
    Group(
        "DINOv3, gated",
        Original("dinov3", GATED, 64),
        (
            Mutant("w1 and w2 swapped", Mistake(rules=swapped(("gate_proj", "up_proj"))), 8.8e-01),
            Mutant("GELU for SiLU", Mistake(config={"hidden_act": "gelu"}), 2.4e-01),
        ),
    ),
    Group(
        "DINOv3, live key bias",
        Original("dinov3", LIVE, 64),
        (Mutant("key bias dropped", Mistake(replace(LIVE, key_bias_mask=True)), 3.3e-02),),
    ),
    Group(
        "DINOv3 ConvNeXt",
        Original("dinov3_convnext", CONVNEXT, 64),
        (
            Mutant("eps 1e-5 for 1e-6", Mistake(replace(CONVNEXT, layer_norm_eps=1e-5)), 3.8e-05),
            Mutant("GELU by tanh", Mistake(config=TANH), 2.2e-04),
            Mutant("two blocks swapped", Mistake(rules=swapped(("stages.0.layers.0.", "stages.0.layers.1."))), 3.9e-01),
        ),
    ),
)


def table() -> str:
    """The figures as docs/proof.md has them."""
    lines = ["| original | mistake | outputs move by | × gate |", "|---|---|---|---|"]
    for group in GROUPS:
        for mutant in group.mutants:
            figures = "found by a check of its own | –"
            if mutant.relative is not None:
                figures = f"{mutant.relative:.1e} | {mutant.relative / GATE:.0e}"
            lines.append(f"| {group.name} | {mutant.name} | {figures} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
