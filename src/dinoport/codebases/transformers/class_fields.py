"""The fields of config.json that each class of Transformers declares, and those that any config may have.

Measured in the last Transformers before 5 and in today's (`tests/fixtures/moving`); both agree on every default and on
every effect here.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Literal, NamedTuple, TypeGuard

from dinoport.codebases.fields import is_plain

Kind = Literal[
    "count", "counts", "size", "sides", "tokens", "whole", "share", "rate", "positive", "number", "unset", "switch",
    "ratio", "word", "stages", "plain",
]  # fmt: skip
"""What a value may be: a form that Transformers takes in both generations, and that needs no more than it says."""

Role = Literal["shapes", "outputs", "nothing"]
"""What another value does: the tensors do not fit any more; they fit and the outputs move; nothing in evaluation."""

SHAPES: Role = "shapes"
OUTPUTS: Role = "outputs"
NOTHING: Role = "nothing"

MAX_WORD = 40


class Field(NamedTuple):
    """`default` is what the class takes where config.json leaves the field out."""

    default: object
    kind: Kind
    role: Role


def _fields(*rows: tuple[str, object, Kind, Role]) -> dict[str, Field]:
    return {name: Field(default, kind, role) for name, default, kind, role in rows}


# fmt: off
_TRAINING = _fields(
    ("hidden_dropout_prob",          0.0,     "share",    NOTHING),
    ("attention_probs_dropout_prob", 0.0,     "rate",     NOTHING),
    ("initializer_range",            0.02,    "number",   NOTHING),
)
_BACKBONE = _fields(
    ("out_features",                 None,    "stages",   NOTHING),
    ("out_indices",                  None,    "stages",   NOTHING),
    ("stage_names",                  None,    "plain",    NOTHING),
)
_NORMED_BACKBONE = _BACKBONE | _fields(
    ("apply_layernorm",              True,    "switch",   NOTHING),
    ("reshape_hidden_states",        True,    "switch",   NOTHING),
)
_TOWER = _fields(
    ("hidden_size",                  768,     "count",    SHAPES),
    ("num_hidden_layers",            12,      "count",    SHAPES),
    ("num_attention_heads",          12,      "count",    OUTPUTS),
    ("hidden_act",                   "gelu",  "word",     OUTPUTS),
    ("layer_norm_eps",               1e-6,    "positive", OUTPUTS),
    ("image_size",                   224,     "size",     SHAPES),
    ("patch_size",                   16,      "size",     SHAPES),
    ("num_channels",                 3,       "count",    SHAPES),
)
_VIT = _TOWER | _TRAINING | _fields(
    ("layer_norm_eps",               1e-12,   "positive", OUTPUTS),
    ("intermediate_size",            3072,    "count",    SHAPES),
    ("qkv_bias",                     True,    "switch",   SHAPES),
    ("encoder_stride",               16,      "whole",    NOTHING),
    ("pooler_act",                   "tanh",  "word",     NOTHING),
    ("pooler_output_size",           None,    "whole",    NOTHING),
)
_VIT_MODEL = _VIT | _fields(
    ("pooler_act",                   "tanh",  "word",     OUTPUTS),
    ("pooler_output_size",           None,    "count",    SHAPES),
)
_IJEPA = {name: each for name, each in _VIT.items() if name != "encoder_stride"}
_BEIT = _TOWER | _TRAINING | _BACKBONE | _fields(
    ("layer_norm_eps",               1e-12,   "positive", OUTPUTS),
    ("intermediate_size",            3072,    "count",    SHAPES),
    ("use_mask_token",               False,   "switch",   SHAPES),
    ("use_absolute_position_embeddings", False, "switch", SHAPES),
    ("use_relative_position_bias",   False,   "switch",   SHAPES),
    ("use_shared_relative_position_bias", False, "switch", SHAPES),
    ("layer_scale_init_value",       0.1,     "number",   SHAPES),
    ("use_mean_pooling",             True,    "switch",   SHAPES),
    ("drop_path_rate",               0.1,     "rate",     NOTHING),
    ("reshape_hidden_states",        True,    "switch",   NOTHING),
    ("attention_probs_dropout_prob", 0.0,     "share",    NOTHING),
    ("vocab_size",                   8192,    "whole",    NOTHING),  # of its pretraining
    # Of segmentation. Version 5 refuses a value of another type, whatever the class.
    ("add_fpn",                      False,   "switch",   SHAPES),  # refused where no stages are named
    ("auxiliary_channels",           256,     "whole",    NOTHING),
    ("auxiliary_concat_input",       False,   "switch",   NOTHING),
    ("auxiliary_loss_weight",        0.4,     "number",   NOTHING),
    ("auxiliary_num_convs",          1,       "whole",    NOTHING),
    ("pool_scales",             [1, 2, 3, 6], "counts",   NOTHING),
    ("semantic_loss_ignore_index",   255,     "whole",    NOTHING),
    ("use_auxiliary_head",           True,    "switch",   NOTHING),
)
_MAE = {name: each for name, each in _VIT.items() if not name.startswith(("pooler_", "encoder_"))} | _fields(
    ("decoder_hidden_size",          512,     "count",    SHAPES),
    ("decoder_num_hidden_layers",    8,       "count",    SHAPES),
    ("decoder_num_attention_heads",  16,      "count",    OUTPUTS),
    ("decoder_intermediate_size",    2048,    "count",    SHAPES),
    ("mask_ratio",                   0.75,    "share",    OUTPUTS),
    ("norm_pix_loss",                False,   "switch",   NOTHING),
)
_MSN = {name: each for name, each in _MAE.items() if name in _VIT} | _fields(
    ("layer_norm_eps",               1e-6,    "positive", OUTPUTS),
)
_DINOV2 = _TOWER | _TRAINING | _NORMED_BACKBONE | _fields(
    ("patch_size",                   14,      "size",     SHAPES),
    ("mlp_ratio",                    4,       "count",    SHAPES),
    ("qkv_bias",                     True,    "switch",   SHAPES),
    ("use_swiglu_ffn",               False,   "switch",   SHAPES),
    ("use_mask_token",               True,    "switch",   SHAPES),
    ("layerscale_value",             1.0,     "number",   NOTHING),
    ("drop_path_rate",               0.0,     "rate",     NOTHING),
)
_WITH_REGISTERS = {name: field for name, field in _DINOV2.items() if name != "use_mask_token"} | _fields(
    ("patch_size",                   16,      "size",     SHAPES),
    ("num_register_tokens",          4,       "tokens",   SHAPES),
)
_TIPS = _WITH_REGISTERS | _fields(
    ("patch_size",                   14,      "size",     SHAPES),
    ("image_size",                   448,     "size",     SHAPES),
    ("mlp_ratio",                    4,       "ratio",    SHAPES),
    ("num_register_tokens",          1,       "tokens",   SHAPES),
)
_DINOV3 = _TOWER | _NORMED_BACKBONE | _fields(
    ("hidden_size",                  384,     "count",    SHAPES),
    ("num_attention_heads",          6,       "count",    OUTPUTS),
    ("intermediate_size",            1536,    "count",    SHAPES),
    ("use_gated_mlp",                False,   "switch",   SHAPES),
    ("layer_norm_eps",               1e-5,    "positive", OUTPUTS),
    ("rope_theta",                   100.0,   "positive", OUTPUTS),
    ("image_size",                   224,     "whole",    NOTHING),
    ("num_register_tokens",          0,       "tokens",   SHAPES),
    ("query_bias",                   True,    "switch",   SHAPES),
    ("key_bias",                     False,   "switch",   SHAPES),
    ("value_bias",                   True,    "switch",   SHAPES),
    ("proj_bias",                    True,    "switch",   SHAPES),
    ("mlp_bias",                     True,    "switch",   SHAPES),
    ("layerscale_value",             1.0,     "number",   NOTHING),
    ("attention_dropout",            0.0,     "rate",     NOTHING),
    ("drop_path_rate",               0.0,     "rate",     NOTHING),
    ("initializer_range",            0.02,    "number",   NOTHING),
    ("pos_embed_shift",              None,    "number",   NOTHING),
    ("pos_embed_jitter",             None,    "number",   NOTHING),
    ("pos_embed_rescale",            2.0,     "unset",    NOTHING),
)
_CONVNEXT = _BACKBONE | _fields(
    ("num_channels",                 3,       "count",    SHAPES),
    ("hidden_sizes",  [96, 192, 384, 768],    "counts",   SHAPES),
    ("depths",             [3, 3, 9, 3],      "counts",   SHAPES),
    ("hidden_act",                   "gelu",  "word",     OUTPUTS),
    ("layer_norm_eps",               1e-6,    "positive", OUTPUTS),
    ("layer_scale_init_value",       1e-6,    "number",   NOTHING),
    ("drop_path_rate",               0.0,     "rate",     NOTHING),
    ("image_size",                   224,     "sides",    NOTHING),
    ("initializer_range",            0.02,    "number",   NOTHING),
)
_RESNET = _BACKBONE | _fields(
    ("num_channels",                 3,       "count",    SHAPES),
    ("embedding_size",               64,      "count",    SHAPES),
    ("hidden_sizes", [256, 512, 1024, 2048],  "counts",   SHAPES),
    ("depths",             [3, 4, 6, 3],      "counts",   SHAPES),
    ("layer_type",             "bottleneck",  "word",     SHAPES),
    ("hidden_act",                   "relu",  "word",     OUTPUTS),
    ("downsample_in_first_stage",    False,   "switch",   OUTPUTS),
    ("downsample_in_bottleneck",     False,   "switch",   OUTPUTS),
)
# fmt: on

_CLASSES = (
    ("ViTModel", "vit", _VIT_MODEL),
    ("ViTForImageClassification", "vit", _VIT),
    ("DeiTModel", "deit", _VIT_MODEL),
    ("DeiTForImageClassificationWithTeacher", "deit", _VIT),
    ("IJepaModel", "ijepa", _IJEPA),
    ("ViTMSNModel", "vit_msn", _MSN),
    ("ViTMSNForImageClassification", "vit_msn", _MSN),
    ("ViTMAEForPreTraining", "vit_mae", _MAE),
    ("BeitModel", "beit", _BEIT),
    ("BeitForImageClassification", "beit", _BEIT),
    ("Dinov2Model", "dinov2", _DINOV2),
    ("Dinov2ForImageClassification", "dinov2", _DINOV2),
    ("Dinov2WithRegistersModel", "dinov2_with_registers", _WITH_REGISTERS),
    ("Dinov2WithRegistersForImageClassification", "dinov2_with_registers", _WITH_REGISTERS),
    ("Tipsv2VisionModel", "tipsv2_vision_model", _TIPS),
    ("DINOv3ViTModel", "dinov3_vit", _DINOV3),
    ("DINOv3ConvNextModel", "dinov3_convnext", _CONVNEXT),
    ("ResNetModel", "resnet", _RESNET),
    ("ResNetForImageClassification", "resnet", _RESNET),
)

FIELDS: Mapping[str, Mapping[str, Field]] = {name: fields for name, _, fields in _CLASSES}

MODEL_TYPE: Mapping[str, str] = {name: model_type for name, model_type, _ in _CLASSES}

READ_TYPE: Mapping[str, str] = {**MODEL_TYPE, "ViTMAEModel": "vit_mae"}
"""With classes that are read as one of another type."""

CLASS_OF_TYPE: Mapping[str, str] = {model_type: name for name, model_type, _ in reversed(_CLASSES)}
"""The class of a config that names none: the first of its type."""

ATTENTION = (None, "eager", "sdpa")
"""Two ways to compute the same attention; any other may be a kernel from elsewhere."""

PROBLEMS = (None, "regression", "single_label_classification", "multi_label_classification")

RUN_FOR_TUPLES = (
    "ViTModel", "DeiTModel", "IJepaModel", "ViTMSNModel", "BeitModel", "ResNetModel", "ResNetForImageClassification",
)  # fmt: skip
"""Classes that both generations run where a config asks for tuples."""

RUN_WITHOUT = frozenset(
    {
        *((False, name) for name in RUN_FOR_TUPLES),
        *((None, name) for name in FIELDS if not (name.startswith("Dinov2") and "ForImageClassification" in name)),
    }
)
"""Values of `return_dict` with which a class runs in both generations: a tuple of the same values comes of it."""

SAME_ACTIVATION: Mapping[object, str] = {"gelu_python": "gelu", "swish": "silu"}
"""Two names of one function (`activations.py`). What else is called GELU there is an approximation, or clipped."""

OURS = "dinoport"
"""Our own field, which no class reads."""

IDENTITY = ("architectures", "model_type")
LABELS = ("id2label", "label2id", "num_labels")
PRECISION = ("dtype", "torch_dtype")
POOLER_FIELDS = ("pooler_act", "pooler_output_size")


def classifies(class_name: str) -> bool:
    """Whether a class has a classifier, and so as many classes as its config says."""
    return "ForImageClassification" in class_name


def is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value > 0


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and isfinite(value)


def is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_count, value))


KINDS: Mapping[Kind, Callable[[object], bool]] = {
    "count": is_count,
    "counts": lambda value: isinstance(value, list) and bool(value) and all(map(is_count, value)),
    "size": lambda value: is_count(value) or is_pair(value),
    "tokens": lambda value: type(value) is int and value >= 0,
    "whole": lambda value: type(value) is int,
    "sides": lambda value: type(value) is int or is_pair(value),
    "share": lambda value: (type(value) is int or _is_number(value)) and 0 <= value <= 1,
    "rate": lambda value: type(value) is int or _is_number(value),
    "unset": lambda value: value is None or _is_number(value),
    "positive": lambda value: _is_number(value) and value > 0,
    "number": _is_number,
    "ratio": lambda value: is_count(value) or (_is_number(value) and value > 0),
    "switch": lambda value: type(value) is bool,
    "word": lambda value: isinstance(value, str) and value.isidentifier() and len(value) <= MAX_WORD,
    "stages": lambda value: isinstance(value, list),
    "plain": is_plain,
}
