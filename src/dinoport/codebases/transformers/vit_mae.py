"""ViTMAEForPreTraining: a whole MAE, encoder and decoder. It hides patches at random: not a class for features.

Transformers 5 saves the decoder's layers as `decoder.decoder_encoder.layer` and loads either name; 4.57 knows
`decoder.decoder_layers` alone, and makes up a decoder where it does not find it. So that name is written.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dinoport.codebases.record import original_fields
from dinoport.codebases.target import Target, form_of
from dinoport.codebases.transformers import vit as of_vit
from dinoport.codebases.transformers.class_fields import FIELDS
from dinoport.codebases.transformers.forms import encoder_fields
from dinoport.errors import SettingError
from dinoport.mapping.rule import Rule, copy
from dinoport.model import Model
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request

CLASS = "ViTMAEForPreTraining"

SAVED = (("decoder_layers", "decoder_encoder.layer"),)
"""What Transformers 5 calls a part when it saves it, beside what is written here."""

BLOCK, LAYER = "blocks.", "encoder.layer."

OUTSIDE = (
    copy("mask_token", "decoder.mask_token"),
    copy("decoder_pos_embed", "decoder.decoder_pos_embed"),
    *(copy(f"decoder_{part}.{{p}}", f"decoder.decoder_{part}.{{p}}") for part in ("embed", "norm", "pred")),
)


def _of_decoder(rule: Rule) -> Rule:
    """The rule of a block of the encoder for one of the decoder: both are ViTs."""
    return rule.renamed(
        lambda name: (
            name.replace(BLOCK, "decoder_blocks.", 1)
            if name.startswith(BLOCK)
            else name.replace(LAYER, "decoder.decoder_layers.", 1)
        )
    )


BLOCKS = tuple(_of_decoder(rule) for rule in of_vit.VIT.rules if rule.source and rule.source.template.startswith(BLOCK))

RULES = (
    *(rule.under("vit.") for rule in (copy(ViT.positions, of_vit.POSITIONS), *of_vit.VIT.rules)),
    *OUTSIDE,
    *BLOCKS,
)


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """Raises SettingError for another size of picture, which its decoder was not made for."""
    vit: Any = model.architecture
    decoder = vit.decoder
    if request.image_size not in (None, vit.image_size):
        raise SettingError(
            f"{CLASS} takes pictures of {vit.image_size} pixels alone, as the original does",
            found=f"`image_size={request.image_size}`",
            cause="the decoder's table of positions is fixed, and no code of MAE's resamples it",
            next_step="leave `image_size` out, or `class_name`: the encoder alone can be resampled",
        )
    config: dict[str, object] = {
        "architectures": [CLASS],
        "model_type": "vit_mae",
        **encoder_fields(vit, vit.image_size),
        "intermediate_size": vit.mlp_hidden,
        "qkv_bias": vit.qkv_bias,
        "decoder_hidden_size": decoder.width,
        "decoder_num_hidden_layers": decoder.depth,
        "decoder_num_attention_heads": decoder.heads,
        "decoder_intermediate_size": decoder.mlp_hidden,
        "mask_ratio": decoder.mask_ratio,
        "norm_pix_loss": decoder.normed_loss,
        **original_fields(model.family.name),
    }
    return replace(
        form_of(model, request, CLASS, config, RULES, vit.image_size),
        interpolation=None,
        remarks=(f"{CLASS} hides {decoder.mask_ratio:.0%} of the patches at random; for features take ViTModel",),
    )


BESIDE_FEATURES = ("decoder_", "mask_ratio")
"""Fields of the decoder, and the share of patches that are hidden from the encoder."""


def wishes(config: Mapping[str, object]) -> dict[str, Any]:
    """What a config says of the decoder and of its training, or the class where it leaves a field out."""
    names = ("decoder_num_attention_heads", "mask_ratio", "norm_pix_loss")
    heads, ratio, normed = (config.get(name, FIELDS[CLASS][name].default) for name in names)
    return {
        "decoder_heads": heads if type(heads) is int and heads > 0 else None,
        "mask_ratio": ratio if isinstance(ratio, float) and 0 < ratio < 1 else None,
        "normed_loss": normed if isinstance(normed, bool) else None,
    }


def parameters_beside(sizes: Mapping[str, int]) -> int:
    """Of the decoder's blocks: never more than the class makes."""
    width, hidden = sizes["decoder_hidden_size"], sizes["decoder_intermediate_size"]
    return sizes["decoder_num_hidden_layers"] * (4 * width * width + 2 * width * hidden)


def arguments(config: Any, images: Any) -> dict[str, Any]:
    """Which patches it is to see: the same ones as the network's own forward pass."""
    from dinoport.networks.vit.masking import noise

    side = config.image_size // config.patch_size
    return {"noise": images.new_tensor(noise(side * side)).expand(len(images), -1)}


def outputs(result: Any, backbone: Any) -> dict[str, Any]:
    return {"tokens": backbone.last_hidden_state, "drawn": result.logits}


def sketch(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    return "mae", RULES
