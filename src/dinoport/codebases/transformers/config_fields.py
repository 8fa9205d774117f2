"""What a field of config.json does to a class of Transformers: known fields, and values that they may have.

A field that is not known never reaches Transformers: a later one may read a file or a server by it.
"""

from collections.abc import Iterator, Mapping

from dinoport.codebases.fields import Effect, Finding, is_plain, opens, same_json
from dinoport.codebases.transformers.class_fields import (
    ATTENTION,
    FIELDS,
    IDENTITY,
    KINDS,
    LABELS,
    MODEL_TYPE,
    NOTHING,
    OURS,
    PRECISION,
    PROBLEMS,
    READ_TYPE,
    RUN_WITHOUT,
    SAME_ACTIVATION,
    SHAPES,
    classifies,
    is_count,
    is_pair,
)
from dinoport.codebases.transformers.common_fields import INERT, is_plain_name


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
        return "none" if _is_sound(name, value) and not classifies(class_name) else "outputs"
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
        convolutional = "num_attention_heads" not in FIELDS[class_name]  # these do not load with the other one
        return "none" if value in ATTENTION[: 2 if convolutional else 3] else "opens"
    if name in INERT:
        return "none" if isinstance(value, str) or is_plain(value) else "unknown"
    if opens(name, value):
        return "opens"
    return "none" if is_plain_name(name) and is_plain(value) else "unknown"


def known_config(class_name: str, config: Mapping[str, object]) -> dict[str, object]:
    """What of a config.json Transformers is given: the class, and the fields that shape it or move its outputs.

    Ask `strange_fields` first whether each has a value that it may have.
    """
    fields = FIELDS[class_name]
    known = {name: config[name] for name, field in fields.items() if name in config and field.role != NOTHING}
    known |= {"architectures": [class_name], "model_type": MODEL_TYPE[class_name]}
    if classifies(class_name):
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
            strange = value != READ_TYPE.get(str(_first(config.get("architectures"))), MODEL_TYPE[class_name])
        elif field is not None or name in (*IDENTITY, *PRECISION, OURS):
            strange = False
        else:
            strange = effect_of(class_name, name, value, config) in ("opens", "unknown")
        if strange:
            yield name, value


def _effective(class_name: str, config: Mapping[str, object]) -> dict[str, object]:
    """Every field as the class takes it: with its defaults, one spelling for each thing."""
    fields = FIELDS[class_name]
    whole = {name: field.default for name, field in fields.items()} | dict(config)
    whole["architectures"] = _first(config.get("architectures")) or class_name
    if "pooler_output_size" in fields and whole["pooler_output_size"] is None:
        whole["pooler_output_size"] = whole["hidden_size"]
    for name in ("image_size", "patch_size"):
        if name in fields and fields[name].kind == "size" and is_pair(value := whole[name]) and value[0] == value[1]:  # type: ignore[index]  # a pair
            whole[name] = value[0]  # type: ignore[index]  # a pair
    if "image_size" in fields and fields["image_size"].role == SHAPES:
        whole |= filled(whole)
    if "hidden_act" in fields and isinstance(act := whole["hidden_act"], str):
        whole["hidden_act"] = SAME_ACTIVATION.get(act, act)
    precision = [config[name] for name in PRECISION if config.get(name) is not None]
    whole["dtype"] = precision[0] if precision else "float32"  # as both generations load weights of float32 then
    if classifies(class_name):
        whole = {name: value for name, value in whole.items() if name != "num_labels"} | _labels(config)
    elif all(_is_sound(name, config[name]) for name in LABELS if name in config):
        whole = {name: value for name, value in whole.items() if name not in LABELS}
    if "out_features" in fields and is_count(depth := _depth(class_name, whole)):
        stages = _stages(depth)
        derived = {"stage_names": stages, "out_features": stages[-1:], "out_indices": [depth]}
        whole |= {name: value for name, value in derived.items() if whole[name] is None}
    return {name: value for name, value in whole.items() if name != "torch_dtype"}


def filled(config: Mapping[str, object]) -> dict[str, object]:
    """The size of a table's picture as its patches fill it: a class rounds down, and so does its convolution."""
    size, patch = config.get("image_size"), config.get("patch_size")
    if not (is_count(size) and is_count(patch)) or size < patch:
        return {}
    return {"image_size": size - size % patch}


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
        inverse = {name: index for index, name in given.items() if isinstance(name, str)}
    if isinstance(inverse, dict):  # Transformers' own examples write the indices as words
        inverse = {name: str(each) if type(each) is int else each for name, each in inverse.items()}
    fits = "num_labels" not in config or (isinstance(given, dict) and same_json(count, len(given)))
    return {"id2label": given, "label2id": inverse, **({} if fits else {"num_labels": count})}


MAX_LABELS = 1_000_000


def _is_sound(name: str, value: object) -> bool:
    """Whether a value of one of the three fields of labels is sound: a count, or names by index."""
    if name == "num_labels":
        return isinstance(value, int) and 0 <= value <= MAX_LABELS
    if value is None or not isinstance(value, dict):
        return value is None
    if name == "id2label" and not all(str(index).isdecimal() for index in value):  # by index, or it does not load
        return False
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
    """Of names or indices of stages, in order and each once; empty for anything else."""
    found = []
    for value in values if isinstance(values, list) else []:
        if isinstance(value, str) and value in stages and not by_index:
            found.append(stages.index(value))
        elif by_index and type(value) is int and -len(stages) <= value < len(stages):
            found.append(value % len(stages))
        else:
            return []
    return found if found == sorted(set(found)) else []
