"""A timm folder's config.json, held against the one that a conversion writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dinoport.codebases.fields import Effect, Finding, same_json

BUILDING = ("architecture", "num_classes", "model_args")
"""Fields by which another model is built."""

PIXELS = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
"""Fields of `pretrained_cfg` by which pictures become another input."""

LOADING = ("custom_load", "state_dict", "url", "file", "hf_hub_id", "hf_hub_filename", "source")
"""Fields of `pretrained_cfg` by which timm may load other weights."""

OURS = "dinoport"


def compare_config(expected: Mapping[str, object], found: Mapping[str, object]) -> tuple[Finding, ...]:
    """What differs in `found`, with what that does."""
    return tuple(_compared(expected, found))


def _compared(expected: Mapping[str, object], found: Mapping[str, object]) -> Iterator[Finding]:
    for name in sorted(expected.keys() | found.keys() - {OURS, "pretrained_cfg"}):
        ours, theirs = expected.get(name), found.get(name)
        if name not in (OURS, "pretrained_cfg") and not same_json(ours, theirs):
            yield Finding(name, ours, theirs, "outputs" if name in BUILDING else "none")
    described, theirs = (each.get("pretrained_cfg") for each in (expected, found))
    if not isinstance(described, Mapping) or not isinstance(theirs, Mapping):
        yield Finding("pretrained_cfg", described, theirs, "outputs")
        return
    for name in sorted(described.keys() | theirs.keys()):
        if not same_json(described.get(name), theirs.get(name)):
            yield Finding(f"pretrained_cfg.{name}", described.get(name), theirs.get(name), _effect(name))


def _effect(name: str) -> Effect:
    return "outputs" if name in PIXELS else "opens" if name in LOADING else "none"


def builds_alike(expected: Mapping[str, object], found: Mapping[str, object]) -> bool:
    """Whether timm may be given the folder: it builds what a conversion of this source builds, and nothing larger."""
    return all(same_json(expected.get(name), found.get(name)) for name in BUILDING)
