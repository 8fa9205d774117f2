"""A field of a folder's JSON that is not what a conversion writes: what it is, and what it does."""

import json
import re
from typing import Literal, NamedTuple

Effect = Literal["none", "pooled", "outputs", "opens", "unknown"]
"""Of a field on a class: none in evaluation; the pooled output alone is another, of a class without a classifier;
outputs or pixels move, or the class does not load; Transformers opens a file, a server or code by it; or nobody here
knows."""

HARMLESS: tuple[Effect, ...] = ("none", "pooled")

OPENING = re.compile(
    r"auto_?map|remote|revision|kernel|attn_impl|experts_impl|backbone|adapter|peft|quanti[sz]|compress|timm|gguf"
    r"|weights|checkpoint|config(uration)?_files?|_config$|_files?$|_path$|_url$|repo|hub|plugin|custom_|subfolder"
)
"""Words in the names of fields by which Transformers reads something else than the folder's own files."""

ALWAYS = frozenset({"auto_map", "configuration_files", "transformers_weights", "quantization_config"})
"""Fields that no value makes harmless: Transformers takes their being there for a yes."""

REFERENCE = re.compile(r"://|[/\\]|--|\.[A-Za-z]\w*$")
"""What a text has that may name a file, an address, a repository or a module."""

MAX_PLAIN = 10_000
"""Characters of a value as JSON: more is not a setting."""


class Finding(NamedTuple):
    """A field with the value that a conversion writes (or the class's default) and the one that was found."""

    field: str
    ours: object
    theirs: object
    effect: Effect


def opens(name: str, value: object) -> bool:
    """Whether a field that no class declares has the name of one that opens something, and is switched on."""
    switched_off = value is None or value is False or type(value) in (int, float)
    return name in ALWAYS or (bool(OPENING.search(name)) and not switched_off)


def is_plain(value: object) -> bool:
    """Whether a value can name nothing that could be opened: numbers, switches, words, and containers of those."""
    return len(json.dumps(value)) <= MAX_PLAIN and _is_plain(value)


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, (*value, *value.values())))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not (isinstance(value, str) and REFERENCE.search(value))


def same_json(one: object, other: object) -> bool:
    """Equal as JSON: 1, 1.0 and true are three values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
