"""What each class of timm's may be asked for in `model_args`, and what of that is computed here.

Sources: the constructors in `timm/models/{vision_transformer,eva,convnext,resnet}.py`. What a later timm may ask for,
and what a class does not take, stands in no table.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from dinoport.codebases.timm.architectures import series_of
from dinoport.codebases.timm.builders import BUILDERS, ROTATION

Computed: TypeAlias = tuple[object, ...]
"""The values of an argument that are computed here; none where any is: tensors show it, it is read, or nothing in
evaluation depends on it."""

ANY: Computed = ()

TRAINING = frozenset(
    {"drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate"}
    | {"weight_init", "fix_init", "pretrained", "pretrained_strict", "head_init_scale", "zero_init_last"}
    | {"drop_block_rate"}
)
"""These change nothing of a trained model in evaluation."""


def _any(*names: str) -> dict[str, Computed]:
    return dict.fromkeys(names, ANY)


_SHARED = _any("in_chans", "num_classes", "global_pool", *TRAINING) | {"features_only": (False,), "pruned": (False,)}

# fmt: off
_OF_VITS: Mapping[str, Computed] = _SHARED | _any(
    "img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias", "init_values", "class_token",
    "no_embed_class", "dynamic_img_size", "dynamic_img_pad", "strict_img_size",
) | {"use_naflex": (False,)}

VISION_TRANSFORMER: Mapping[str, Computed] = {
    **_OF_VITS,
    **_any("proj_bias", "reg_tokens", "pre_norm", "fc_norm", "pool_include_prefix"),
    "act_layer":                   ("gelu",),
    "norm_layer":                  ("layernorm",),
    "attn_layer":                  ("",),
    "pos_embed":                   ("learn",),
    "final_norm":                  (True,),
    "qk_norm":                     (False,),
    "scale_attn_norm":             (False,),
    "scale_mlp_norm":              (False,),
}
EVA: Mapping[str, Computed] = {
    **_OF_VITS,
    **_any("num_reg_tokens", "swiglu_mlp", "swiglu_align_to", "attn_type", "rope_temperature"),
    **_any("use_abs_pos_emb", "use_fc_norm", "attn_pool_num_heads", "attn_pool_mlp_ratio"),
    **{name: (value,) for name, value in ROTATION.items()},
    "rope_grid_indexing":          ("ij",),
    "rope_grid_offset":            (0.0,),
    "ref_feat_shape":              (None,),
    "qkv_fused":                   (True,),
    "qk_norm":                     (False,),
    "attn_only_layer_scale":       (False,),
    "scale_mlp":                   (False,),
    "scale_attn_inner":            (False,),
    "use_post_norm":               (False,),
    "use_pre_transformer_norm":    (False,),
    "use_post_transformer_norm":   (True,),
}
CONVNEXT: Mapping[str, Computed] = {
    **_SHARED,
    **_any("depths", "dims", "ls_init_value", "norm_eps"),
    "act_layer":                   ("gelu",),
    "patch_size":                  (4,),
    "kernel_sizes":                (7, [7, 7, 7, 7]),
    "stem_type":                   ("patch",),
    "output_stride":               (32,),
    "conv_bias":                   (True,),
    "conv_mlp":                    (False,),
    "use_grn":                     (False,),
    "head_norm_first":             (False,),
}
RESNET: Mapping[str, Computed] = {
    **_SHARED,
    **_any("layers"),
    "act_layer":                   ("relu",),
    "cardinality":                 (1,),
    "base_width":                  (64,),
    "stem_width":                  (64,),
    "stem_type":                   ("",),
    "output_stride":               (32,),
    "block_reduce_first":          (1,),
    "down_kernel_size":            (1,),
    "avg_down":                    (False,),
    "replace_stem_pool":           (False,),
    "block_args":                  ({},),
}
# fmt: on

CLASSES = (VISION_TRANSFORMER, EVA, CONVNEXT, RESNET)


def classes_of(architecture: str) -> Iterable[Mapping[str, Computed]]:
    """The class that a builder of this name builds; every one where the name is not known."""
    name, named = architecture.partition(".")[0], series_of(architecture)
    if name.startswith("resnet"):
        return (RESNET,)
    if name.startswith("convnext"):
        return (CONVNEXT,)
    if name.startswith("eva") or (named and named[0].family == "dinov3"):
        return (EVA,)
    return (VISION_TRANSFORMER,) if named or name in BUILDERS else CLASSES


def is_computed(architecture: str, name: str, value: object) -> bool:
    """Whether what an argument of this builder asks for is computed here."""
    takers = [takes[name] for takes in classes_of(architecture) if name in takes]
    return any(not values or value in values for values in takers)


def fixed_arguments(architecture: str) -> Mapping[str, object]:
    """What the class of a builder that is known here does by itself, of arguments with no other value that is computed
    here: asked for or not, it is the same.

    Eva's class rotates otherwise by itself, and a norm that is asked for has its own eps.
    """
    [takes] = classes_of(architecture)
    fixed = {name: values[0] for name, values in takes.items() if values and name != "norm_layer"}
    return {} if takes is EVA else fixed
