"""What version 5 calls tensors in memory, where that is not what it saves (`conversion_mapping.py`).

Lightning, PEFT, accelerate and `torch.save(model.state_dict())` write these. Version 5 loads a folder of either names.
"""

from collections.abc import Iterable, Sequence

from dinoport.codebases.transformers.signs import INNER
from dinoport.mapping.rule import Rule, split_rows

# fmt: off
PAIRS: tuple[tuple[str, str], ...] = (
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key",   "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense",    "attention.o_proj"),
    ("attention.output.dense",    "attention.out_proj"),  # EoMT
    ("}.intermediate.dense",      "}.mlp.fc1"),
    ("}.output.dense",            "}.mlp.fc2"),
    ("mlp.weights_out",           "mlp.down_proj"),
)
GATE = split_rows("blocks.{i}.mlp.w12.{p}", ("encoder.layer.{i}.mlp.gate_proj.{p}",
                                             "encoder.layer.{i}.mlp.up_proj.{p}"))
# fmt: on

LAYERS = ("encoder.layer.", "layers.")
"""Where blocks are counted, on disk and in memory."""

OF_DINOV3 = ("layer.", "stages.")
"""Beginnings of names of DINOv3's classes that have an `INNER` module in memory."""


def spelled(rules: Iterable[Rule], names: Iterable[str], pairs: Sequence[tuple[str, str]] = PAIRS) -> tuple[Rule, ...]:
    """The rules with those names in memory in the place of names on disk that a file has: versions write either."""
    used = [(disk, memory) for disk, memory in pairs if any(f".{memory.lstrip('}.')}." in name for name in names)]

    def change(template: str) -> str:
        for disk, memory in used:
            template = template.replace(disk, memory)
        return template

    return tuple(rule.spelled(change) for rule in rules)


def as_held(rules: Iterable[Rule], names: Iterable[str]) -> tuple[Rule, ...]:
    """The rules of names on disk for a file of these `names`, whichever it has."""
    disk, memory = LAYERS
    names = tuple(names)
    on_disk = any(f".{disk}" in f".{name}" for name in names)
    moved = not on_disk and any(f".{memory}" in f".{name}" for name in names)
    inner = any(name.startswith(tuple(INNER + part for part in OF_DINOV3)) for name in names)
    inner = inner and not all(name.startswith(INNER) for name in names)  # which is a model around all of it

    def change(template: str) -> str:
        if inner and template.startswith(OF_DINOV3):
            return INNER + template
        return template.replace(disk, memory) if moved else template

    # Beside the names of another model there may be.
    layered = [name for name in names if ".layer." in f".{name}" or ".layers." in f".{name}"]
    halves = any(f".mlp.{half}_proj." in name for half in ("gate", "up") for name in layered)
    found = _gated(rules) if halves else rules
    return tuple(rule.spelled(change) for rule in spelled(found, layered))


def _gated(rules: Iterable[Rule]) -> Iterable[Rule]:
    """The rules with two layers for a joint gate."""
    for rule in rules:
        joint = rule.source is not None and ".w12." in rule.source.template
        yield GATE.under(rule.names[0].partition(LAYERS[0])[0]) if joint else rule
