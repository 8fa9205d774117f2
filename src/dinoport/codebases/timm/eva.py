"""Eva: the home of DINOv3's ViTs in timm (`timm/models/eva.py`).

It computes its rotary periods from a base in float32, and its default attention has no bias for keys: one that counts
takes the class `AttentionRope` (`attn_type: rope`), whose bias is one tensor.
"""

from collections.abc import Mapping

from dinoport.codebases.target import Target, input_size
from dinoport.codebases.timm import builders
from dinoport.codebases.timm.biases import PARTS, biases, lacked, whole_table
from dinoport.codebases.timm.builders import TimmBuilder, chosen, mlp_ratio
from dinoport.codebases.timm.dinov3_vit import backbone
from dinoport.codebases.timm.pretrained import folder_of
from dinoport.codebases.timm.refusals import refuse_eps, refuse_head
from dinoport.mapping.rule import Rule, drop
from dinoport.model import Model
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.request import Request

LAYERS = ("patch_embed.proj", "head")

UNUSED = "a norm for the local crops of training; evaluation never uses it"


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """Timm's Eva for a ViT with rotary positions, with its classifier if that looks at the CLS token alone.

    Raises UnknownModelError for a classifier or an eps that timm does not have.
    """
    vit = model.architecture_as(RotaryViT)
    refuse_head(model)
    refuse_eps(model, vit.layer_norm_eps, (builders.DINOV3[0].eps, builders.EVA02.eps))
    size = input_size(request, vit.image_size, vit.patch_size)
    wanted = _wanted(vit, size)
    return folder_of(
        model,
        request,
        labels,
        _builder(vit, wanted),
        wanted,
        rules(vit),
        size,
        LAYERS,
        classifier=model.classifier,
        without=[name for name in PARTS if not getattr(vit, name)],
        open_key_mask=vit.live_key_bias,
        rounded_periods=vit.rope_rounded,
    )


def rules(vit: RotaryViT) -> tuple[Rule, ...]:
    """The table of one model: copies for what it has, zeros for a bias that it lacks."""
    layers = ("mlp.fc1_g", "mlp.fc1_x") if vit.feed_forward == "swiglu" else ("mlp.fc1",)
    shapes = biases(vit, dict.fromkeys(layers, vit.mlp_hidden))
    own = (*backbone(vit), drop("local_cls_norm.{p}", because=UNUSED))
    return whole_table(own, shapes, lacked(vit), classifies=vit.classifier is not None)


def _builder(vit: RotaryViT, wanted: Mapping[str, object]) -> TimmBuilder:
    if vit.layer_norm_eps == builders.EVA02.eps:
        return builders.EVA02
    return chosen(builders.DINOV3, wanted, builders.DINOV3[0])


def shown(vit: RotaryViT) -> dict[str, object]:
    """What timm's class is asked for that tensors show."""
    return {
        "patch_size": vit.patch_size,
        "embed_dim": vit.width,
        "depth": vit.depth,
        "in_chans": vit.channels,
        "mlp_ratio": mlp_ratio(vit.mlp_hidden, vit.width),
        "qkv_bias": vit.qkv_bias,
        "init_values": 1e-5 if vit.layer_scale else None,
        "num_reg_tokens": vit.registers,
        "swiglu_mlp": vit.feed_forward == "swiglu",
        "use_abs_pos_emb": False,
        "class_token": True,
    }


def _wanted(vit: RotaryViT, size: int) -> dict[str, object]:
    gated = vit.feed_forward == "swiglu"
    return {
        "img_size": size,
        **shown(vit),
        "num_heads": vit.heads,
        "rope_temperature": float(vit.rope_theta),
        "swiglu_align_to": (8 if vit.mlp_hidden % 8 == 0 else 1) if gated else 0,
        "attn_type": "rope" if vit.key_bias else "eva",
        **builders.ROTARY,
        "ref_feat_shape": None,
        "global_pool": "token",  # timm's default is the mean
    }
