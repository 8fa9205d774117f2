"""DINOv3's classes and ResNet under the names of Transformers, in a file of any framework."""

from collections.abc import Mapping

from dinoport.codebases.dino import resnet as dino_resnet
from dinoport.codebases.dinov3 import convnext as dinov3_convnext
from dinoport.codebases.dinov3 import vit as dinov3
from dinoport.codebases.dinov3.periods import assumed_head_dim
from dinoport.codebases.drops import unmasked
from dinoport.codebases.names import Names
from dinoport.codebases.shapes import count_blocks
from dinoport.codebases.transformers import dinov3_convnext as of_convnext
from dinoport.codebases.transformers import dinov3_vit as of_dinov3
from dinoport.codebases.transformers import resnet as of_resnet
from dinoport.codebases.transformers.names import BESIDE
from dinoport.codebases.transformers.signs import INNER, ROTARY_PATCHES
from dinoport.codebases.vit_sizes import MAX_DEPTH
from dinoport.mapping.rule import Rule
from dinoport.model import Origin, Stated, Wishes
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.rotary_vit.rope import UNKNOWN_BASE
from dinoport.tensor import Shape

LAYERS = ("layer.", f"{INNER}layer.", "layers.")
"""Where blocks are counted: on disk, in memory of version 5, and in EoMT, which has another name for the last norm."""


def _dinov3(shapes: Mapping[str, Shape], wishes: Wishes) -> tuple[Rule, ...]:
    """Raises SettingError where the number of heads does not follow from the width."""
    layers = next((prefix for prefix in LAYERS if f"{prefix}0.norm1.weight" in shapes), LAYERS[0])
    own = {name.removeprefix(f"{layers}0."): shape for name, shape in shapes.items() if name.startswith(f"{layers}0.")}
    width, registers = (shapes.get(ROTARY_PATCHES) or (1,))[0], shapes.get("embeddings.register_tokens", (1, 0, 1))
    live = "attention.k_proj.bias" in own
    vit = RotaryViT(
        width=width,
        depth=min(count_blocks(shapes, layers), MAX_DEPTH),
        heads=width // assumed_head_dim(width, wishes),
        mlp_hidden=1,
        patch_size=1,
        feed_forward="swiglu" if "mlp.gate_proj.weight" in own else "mlp",
        registers=registers[1] if len(registers) == 3 else 0,
        qkv_bias="attention.q_proj.bias" in own,
        key_bias_mask=not live,
        live_key_bias=live,
        rope_theta=wishes.rope_theta or UNKNOWN_BASE,
    )
    final = "layernorm." if "layernorm.weight" in shapes else "norm."

    def change(template: str) -> str:
        if template.startswith("norm."):
            return final + template.removeprefix("norm.")
        return layers + template.removeprefix("layer.") if template.startswith("layer.") else template

    rules = tuple(rule.spelled(change) for rule in of_dinov3.rules(vit))
    if MASK in shapes:
        return rules
    return (*(rule for rule in rules if MASK not in rule.names), unmasked(width))


MASK = "embeddings.mask_token"


def _convnext(shapes: Mapping[str, Shape], wishes: Wishes) -> tuple[Rule, ...]:
    rules = (*of_convnext.SHARED, of_convnext.LAYER_SCALE, of_convnext.ALIAS)
    if any(name.startswith(f"{INNER}stages.") for name in shapes):
        return tuple(rule.spelled(lambda name: INNER + name if name.startswith("stages.") else name) for rule in rules)
    return rules


DINOV3_SAYS = {"layer_norm_eps": Stated(1e-5, "the default of DINOv3ViTConfig", Origin.ASSUMED)}

DINOV3 = Names(dinov3, _dinov3, stated=lambda evidence: DINOV3_SAYS, drops=BESIDE)

CONVNEXT = Names(dinov3_convnext, _convnext)

RESNET = Names(dino_resnet, dino_resnet.counted_or_frozen(of_resnet.RULES))
