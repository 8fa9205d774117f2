"""What each field of config.json does to a class of Transformers: known fields, and values that they may have.

Measured in the last Transformers before 5 and in today's (`tests/fixtures/moving`); both agree on every default and on
every effect here. A field that is not known never reaches Transformers: a later one may read a file or a server by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from dinoport.codebases.transformers.fields import Effect, Finding, is_plain, opens, same_json

Kind = Literal[
    "count", "counts", "size", "tokens", "whole", "share", "rate", "positive", "number", "unset", "switch",
    "word", "stages", "plain",
]  # fmt: skip
"""What a value may be: a form that Transformers takes in both generations, and that needs no more than it says."""

Role = Literal["shapes", "outputs", "nothing"]
"""What another value does: the tensors do not fit any more; they fit and the outputs move; nothing in evaluation."""

SHAPES: Role = "shapes"
OUTPUTS: Role = "outputs"
NOTHING: Role = "nothing"

MAX_WORD = 40


@dataclass(frozen=True)
class Field:
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
    ("image_size",                   224,     "whole",    NOTHING),
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

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "ViTModel": _VIT_MODEL,
    "ViTForImageClassification": _VIT,
    "Dinov2Model": _DINOV2,
    "Dinov2ForImageClassification": _DINOV2,
    "Dinov2WithRegistersModel": _WITH_REGISTERS,
    "Dinov2WithRegistersForImageClassification": _WITH_REGISTERS,
    "DINOv3ViTModel": _DINOV3,
    "DINOv3ConvNextModel": _CONVNEXT,
    "ResNetModel": _RESNET,
    "ResNetForImageClassification": _RESNET,
}

DTYPES = ("float16", "bfloat16", "float32", "float64")

ATTENTION = (None, "eager", "sdpa")
"""Two ways to compute the same attention; any other may be a kernel from elsewhere."""

PROBLEMS = (None, "regression", "single_label_classification", "multi_label_classification")

RUN_WITHOUT = frozenset(
    {
        *((False, name) for name in ("ViTModel", "ResNetModel", "ResNetForImageClassification")),
        *(
            (None, name)
            for name in FIELDS
            if not (name.startswith("Dinov2") and name.endswith("ForImageClassification"))
        ),
    }
)
"""Values of `return_dict` with which a class runs in both generations: a tuple of the same values comes of it."""

OURS = "dinoport"
"""Our own field, which no class reads."""

IDENTITY = ("architectures", "model_type")
LABELS = ("id2label", "label2id", "num_labels")
PRECISION = ("dtype", "torch_dtype")

# fmt: off
INERT = frozenset((
    "transformers_version", "_name_or_path", "name_or_path", "_commit_hash", "finetuning_task", "prefix",
    "tokenizer_class", "output_attentions", "torchscript", "gradient_checkpointing",
    "use_cache", "use_bfloat16", "tf_legacy_loss", "tie_word_embeddings",
        "is_encoder_decoder", "is_decoder", "add_cross_attention", "chunk_size_feed_forward",
    "cross_attention_hidden_size", "task_specific_params", "bos_token_id", "eos_token_id", "pad_token_id",
    "sep_token_id", "decoder_start_token_id", "max_length", "min_length", "do_sample", "early_stopping",
    "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "typical_p",
    "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids",
    "num_return_sequences", "output_scores", "return_dict_in_generate", "forced_bos_token_id",
    "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
    "begin_suppress_tokens",
))
# fmt: on
"""Fields that every config of Transformers has or had: for text, for training, for what is returned beside outputs."""

# fmt: off
ASKED = frozenset((
    "_attn_implementation_internal", "use_return_dict",
    "_create_id_label_maps", "_encode_special_floats", "_experts_implementation",
    "_experts_implementation_internal", "_get_global_generation_defaults",
    "_getattr_without_heterogeneous_validation", "_heterogeneity_spec", "_out_features", "_out_indices",
    "_output_attentions", "_remove_keys_not_serialized", "_update_heterogeneous_to_dict_output",
    "base_model_ep_plan", "base_model_fsdp_plan", "base_model_pp_plan", "base_model_tp_plan", "decoder",
    "default_config_fields", "dict_dtype_to_str", "fusion_config", "generator", "get_text_config",
    "has_no_defaults_at_init", "head_dim", "init_std", "initializer_factor", "is_causal", "is_heterogeneous",
    "layer_types", "mtp_layer_types", "num_stages", "output_loading_info", "per_layer_config", "rope_parameters",
    "rope_scaling", "set_output_features_output_indices", "sub_configs", "sub_configs_defaults", "text_config",
    "text_encoder", "to_dict", "to_diff_dict", "to_json_string", "verify_out_features_out_indices",
    "vision_aspect_ratio", "vision_feature_layer", "vision_feature_select_strategy", "vocab_size",
))
# fmt: on
"""Names that Transformers asks a config for, and that no class here declares: what a value does is not known."""


def compare_config(class_name: str, expected: Mapping[str, object], found: Mapping[str, object]) -> tuple[Finding, ...]:
    """What in a folder's config.json is not what a conversion writes, and what that does to the class.

    What is left out means the class's default. Our own field is not looked at.
    """
    findings = []
    ours, theirs = (_effective(class_name, config) for config in (expected, found))
    for name in sorted({*ours, *theirs} - {OURS, "transformers_version"}):
        one, other = ours.get(name), theirs.get(name)
        effect = "outputs" if name in IDENTITY else effect_of(class_name, name, found.get(name, other), found)
        null = one is other is None and name in found and name not in expected and effect != "none"
        if null or not same_json(one, other):
            findings.append(Finding(name, expected.get(name, one), found.get(name, other), effect))
    return tuple(findings)


def effect_of(class_name: str, name: str, value: object, config: Mapping[str, object]) -> Effect:
    """What a field with this value does, where another was expected."""
    field = FIELDS[class_name].get(name)
    if field is not None:
        fits = KINDS[field.kind](value) or value is None is field.default
        if field.kind == "stages":
            fits = value is None or _fits_stages(class_name, name, config)
        return "none" if fits and field.role == NOTHING else "outputs"
    if name in PRECISION:
        return "outputs"
    if name in LABELS:
        return "none" if _is_sound(name, value) and not class_name.endswith("ForImageClassification") else "outputs"
    if name == "problem_type":
        return "none" if value in PROBLEMS else "outputs"
    if name == "tie_encoder_decoder":  # beside is_encoder_decoder, version 4 asks for a decoder
        return "unknown" if value else "none"
    if name == "pruned_heads":
        return "none" if value in (None, {}) else "outputs"
    if name == "return_dict":
        return (
            "none"
            if value is True or (isinstance(value, bool | None) and (value, class_name) in RUN_WITHOUT)
            else "outputs"
        )
    if name == "output_hidden_states":
        return "none" if value is None or isinstance(value, int) else "outputs"
    if name.endswith("attn_implementation"):
        convolutional = FIELDS[class_name] in (_CONVNEXT, _RESNET)  # which do not load with the other one
        return "none" if value in ATTENTION[: 2 if convolutional else 3] else "opens"
    if name in INERT:
        return "none" if isinstance(value, str) or is_plain(value) else "unknown"
    if opens(name, value):
        return "opens"
    return "none" if name not in ASKED and is_plain(value) else "unknown"


def known_config(class_name: str, config: Mapping[str, object]) -> dict[str, object]:
    """What of a config.json Transformers is given: the class, and the fields that shape it or move its outputs.

    Ask `strange_fields` first whether each has a value that it may have.
    """
    fields = FIELDS[class_name]
    known = {name: config[name] for name, field in fields.items() if name in config and field.role != NOTHING}
    known |= {"architectures": [class_name], "model_type": MODEL_TYPE[class_name]}
    if class_name.endswith("ForImageClassification"):
        known |= {name: config[name] for name in ("id2label", "num_labels") if config.get(name) is not None}
    return known


def strange_fields(class_name: str, config: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Fields by which Transformers may open something, and values that a field of this class cannot have."""
    for name, value in config.items():
        field = FIELDS[class_name].get(name)
        if field is not None and field.role != NOTHING:
            strange = not KINDS[field.kind](value) and not (value is None is field.default)
        elif name in LABELS:
            strange = value is not None and not _is_sound(name, value)
        elif name == "model_type":
            strange = value != MODEL_TYPE[class_name]
        elif field is not None or name in (*IDENTITY, *PRECISION, OURS):
            strange = False
        else:
            strange = effect_of(class_name, name, value, config) in ("opens", "unknown")
        if strange:
            yield name, value


def moving_fields(class_name: str) -> tuple[str, ...]:
    """Fields that move the outputs of a class with the same tensors: what a verdict rests on, and no tensor shows."""
    return tuple(name for name, field in FIELDS[class_name].items() if field.role == OUTPUTS)


def moving_values(class_name: str, config: Mapping[str, object]) -> dict[str, object]:
    """Those fields with the values that this config gives them, or the class where the config leaves them out."""
    fields = FIELDS[class_name]
    return {name: config.get(name, fields[name].default) for name in moving_fields(class_name)}


MODEL_TYPE: Mapping[str, str] = {
    "ViTModel": "vit",
    "ViTForImageClassification": "vit",
    "Dinov2Model": "dinov2",
    "Dinov2ForImageClassification": "dinov2",
    "Dinov2WithRegistersModel": "dinov2_with_registers",
    "Dinov2WithRegistersForImageClassification": "dinov2_with_registers",
    "DINOv3ViTModel": "dinov3_vit",
    "DINOv3ConvNextModel": "dinov3_convnext",
    "ResNetModel": "resnet",
    "ResNetForImageClassification": "resnet",
}


def is_count(value: object) -> bool:
    return type(value) is int and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, float) and isfinite(value)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_count, value))


KINDS: Mapping[Kind, Callable[[object], bool]] = {
    "count": is_count,
    "counts": lambda value: isinstance(value, list) and bool(value) and all(map(is_count, value)),
    "size": lambda value: is_count(value) or _is_pair(value),
    "tokens": lambda value: type(value) is int and value >= 0,
    "whole": lambda value: type(value) is int,
    "share": lambda value: type(value) in (int, float) and 0 <= value <= 1,  # type: ignore[operator]
    "rate": lambda value: type(value) is int or _is_number(value),
    "unset": lambda value: value is None or _is_number(value),
    "positive": lambda value: _is_number(value) and value > 0,  # type: ignore[operator]
    "number": _is_number,
    "switch": lambda value: type(value) is bool,
    "word": lambda value: isinstance(value, str) and value.isidentifier() and len(value) <= MAX_WORD,
    "stages": lambda value: isinstance(value, list),
    "plain": is_plain,
}


def _effective(class_name: str, config: Mapping[str, object]) -> dict[str, object]:
    """Every field as the class takes it: with its defaults, one spelling for each thing."""
    fields = FIELDS[class_name]
    whole = {name: field.default for name, field in fields.items()} | dict(config)
    whole["architectures"] = _first(config.get("architectures")) or class_name_without(config)
    if "pooler_output_size" in fields and whole["pooler_output_size"] is None:
        whole["pooler_output_size"] = whole["hidden_size"]
    for name in ("image_size", "patch_size"):
        if name in fields and fields[name].kind == "size" and _is_pair(value := whole[name]) and value[0] == value[1]:  # type: ignore[index]
            whole[name] = value[0]  # type: ignore[index]
    precision = [config.get(name) for name in PRECISION]
    whole["dtype"] = precision[0] if precision[0] is not None else precision[1]
    if class_name.endswith("ForImageClassification"):
        whole = {name: value for name, value in whole.items() if name != "num_labels"} | _labels(config)
    elif all(_is_sound(name, config[name]) for name in LABELS if name in config):
        whole = {name: value for name, value in whole.items() if name not in LABELS}
    if "out_features" in fields and is_count(depth := _depth(class_name, whole)):
        stages = _stages(depth)
        derived = {"stage_names": stages, "out_features": stages[-1:], "out_indices": [depth]}
        whole |= {name: value for name, value in derived.items() if whole[name] is None}
    return {name: value for name, value in whole.items() if name != "torch_dtype"}


def class_name_without(config: Mapping[str, object]) -> str:
    """The class of a config that names none."""
    return next((name for name, kind in MODEL_TYPE.items() if kind == config.get("model_type")), "")


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


def _labels(config: Mapping[str, object]) -> dict[str, object]:
    """Labels by index, as the class takes them; one that is not understood stays as it is."""
    given, count = config.get("id2label"), config.get("num_labels")
    if given is None:
        length = count if type(count) is int and 0 <= count <= MAX_LABELS else 2
        given = {str(index): f"LABEL_{index}" for index in range(length)}
    inverse = config.get("label2id")
    if inverse is None and isinstance(given, dict):
        inverse = {name: int(index) for index, name in given.items() if str(index).isdecimal()}
    fits = "num_labels" not in config or (isinstance(given, dict) and same_json(count, len(given)))
    return {"id2label": given, "label2id": inverse, **({} if fits else {"num_labels": count})}


MAX_LABELS = 1_000_000


def _is_sound(name: str, value: object) -> bool:
    """Whether a value of one of the three fields of labels is sound: a count, or names by index."""
    if name == "num_labels":
        return isinstance(value, int) and 0 <= value <= MAX_LABELS
    if value is None or not isinstance(value, dict):
        return value is None
    return all(isinstance(one, str) and type(other) in (int, str) for one, other in value.items())


def _depth(class_name: str, config: Mapping[str, object]) -> int:
    """How many stages a backbone has beside its stem."""
    found = config.get("depths" if "depths" in FIELDS[class_name] else "num_hidden_layers")
    found = len(found) if isinstance(found, list) else found
    return found if type(found) is int and 0 < found <= 10_000 else 0


def _stages(depth: int) -> list[str]:
    return ["stem", *(f"stage{index}" for index in range(1, depth + 1))]


def _fits_stages(class_name: str, name: str, config: Mapping[str, object]) -> bool:
    """Whether the class takes these stages: some of its own, in order, and the same by name and by index."""
    whole = {field: known.default for field, known in FIELDS[class_name].items()} | dict(config)
    stages = _stages(_depth(class_name, whole))
    names, indices = whole.get("out_features"), whole.get("out_indices")
    named, counted = _places(stages, names, by_index=False), _places(stages, indices, by_index=True)
    return bool(named if name == "out_features" else counted) and (None in (names, indices) or named == counted)


def _places(stages: list[str], values: object, *, by_index: bool) -> list[int]:
    """Of names or indices of stages, in order and each once; empty for what is none."""
    found = []
    for value in values if isinstance(values, list) else []:
        if isinstance(value, str) and value in stages and not by_index:
            found.append(stages.index(value))
        elif by_index and type(value) is int and -len(stages) <= value < len(stages):
            found.append(value % len(stages))
        else:
            return []
    return found if found == sorted(set(found)) else []
