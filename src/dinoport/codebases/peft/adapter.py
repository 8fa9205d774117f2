"""A PEFT folder: low-rank parts by the names of the model that they are for, and how strong they are.

Its names are those that the model had in memory; the base may have others, on disk or of another codebase. Both lead to
canonical names, and are merged there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

from dinoport.codebases.peft.low_rank_parts import LORA, not_merged, refuse_others, remarks
from dinoport.errors import UnknownModelError
from dinoport.mapping.claims import Claim, claims_of_target
from dinoport.mapping.computation import LowRank, merged
from dinoport.mapping.decoding import Decoding, second_names
from dinoport.mapping.folding import fold_names
from dinoport.mapping.operations import Kind, Rows
from dinoport.mapping.plan import Span, Step
from dinoport.mapping.rule import Rule
from dinoport.shown.text import counted
from dinoport.tensor import TensorRef, TensorSpec, shape_text

CONFIG = "adapter_config.json"

PLAIN = re.compile(r"[\w.]+")
"""A pattern of layers that is their name: no other is followed."""

REFUSED = (
    "use_dora", "use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config", "kasa_config",
    "monteclora_config", "trainable_token_indices", "layer_replication", "target_parameters", "fan_in_fan_out",
    "lora_bias",
)  # fmt: skip
"""Fields that change what is computed, where they are set."""

CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin (`init_lora_weights`) by which PEFT changes the base too."""

OUTER = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """`pairs` are the two matrices of each layer with its scale, `saved` whole tensors that were trained, by name."""

    where: str
    pairs: Mapping[str, tuple[TensorRef, TensorRef, float]]
    saved: Mapping[str, TensorRef]
    scales: str


def read_adapter(where: str, config: Mapping[str, Any], tensors: Mapping[str, TensorRef]) -> Adapter:
    """Raises UnknownModelError for an adapter that is not merged here, by its name."""
    kind = str(config.get("peft_type"))
    if kind != "LORA":
        raise not_merged(where, kind[:40], f"peft_type in {CONFIG}")
    for field in REFUSED:
        if config.get(field):
            raise not_merged(where, "DoRA" if field == "use_dora" else f"LoRA with {field}", f"{field} in {CONFIG}")
    begun = str(config.get("init_lora_weights")).lower()
    if begun.startswith(CHANGING):
        raise not_merged(
            where, f"LoRA that begins by {begun[:20]}, which changes the base", f"init_lora_weights in {CONFIG}"
        )
    refuse_others(where, tensors)
    halves: dict[str, dict[str, TensorRef]] = {}
    saved: dict[str, TensorRef] = {}
    for name, tensor in tensors.items():
        own = name.removeprefix(OUTER)
        if ".original_module." in own:  # beside one that was trained whole; `bias="all"` keeps it too
            continue
        own = own.replace(".modules_to_save.", ".")
        if found := LORA.fullmatch(own):
            halves.setdefault(found[1], {})[found[2]] = tensor
        else:
            saved[own.replace(".base_layer.", ".")] = tensor
    scales: dict[float, int] = {}
    pairs = {}
    for layer, pair in halves.items():
        if pair.keys() != {"A", "B"}:
            raise not_merged(where, "half of a LoRA", layer)
        _refuse_untargeted(where, config, layer)
        scale = _scale(where, config, layer, pair["A"].shape[0])
        scales[scale] = scales.get(scale, 0) + 1
        pairs[layer] = (pair["B"], pair["A"], scale)
    return Adapter(where, pairs, saved, "scale " + ", ".join(f"{scale:g}" for scale in scales))


def _refuse_untargeted(where: str, config: Mapping[str, Any], layer: str) -> None:
    """Raise UnknownModelError for a layer that PEFT passes over, whose two matrices it then ignores.

    Where a field is a pattern, and no list of names, it is not followed.
    """
    targets, excluded = config.get("target_modules"), config.get("exclude_modules")
    numbers = config.get("layers_to_transform")
    numbers = [numbers] if type(numbers) is int else numbers
    counted = None if config.get("layers_pattern") else re.match(r".*\.[^.]*\.(\d{1,9})\.", layer)  # as PEFT counts
    found = {
        "target_modules": isinstance(targets, list) and not _is_named(layer, targets),
        "exclude_modules": isinstance(excluded, list) and _is_named(layer, excluded),
        "layers_to_transform": isinstance(numbers, list) and numbers and counted and int(counted[1]) not in numbers,
    }
    if field := next((name for name, is_passed_over in found.items() if is_passed_over), None):
        raise not_merged(where, f"LoRA of {layer}, which its own {field} leaves out", f"{field} in {CONFIG}")


def _is_named(layer: str, names: Sequence[object]) -> bool:
    return any(layer == name or layer.endswith(f".{name}") for name in names)


def _scale(where: str, config: Mapping[str, Any], layer: str, rank: int) -> float:
    """lora_alpha / r, or over the root of r; a layer's own alpha before the common one."""
    alpha: object = config.get("lora_alpha")
    patterns = config.get("alpha_pattern") or {}
    fitting: dict[str, object] = {}
    for pattern, own in patterns.items() if isinstance(patterns, Mapping) else ():
        if not PLAIN.fullmatch(str(pattern)):
            raise not_merged(
                where, "LoRA with a pattern of layers that is not a name", f"alpha_pattern in {CONFIG}: {pattern}"
            )
        if re.fullmatch(rf"(.*\.)?({pattern})", layer):  # as PEFT looks for it: a dot stands for any character
            fitting[str(pattern)] = own
    if len({str(own) for own in fitting.values()}) > 1:
        listed = " and ".join(f"{pattern} {own}" for pattern, own in fitting.items())
        raise not_merged(
            where,
            "LoRA with two strengths for one layer, of which PEFT takes the first in an order that no file keeps",
            f"alpha_pattern in {CONFIG}: {listed}, for {layer}",
        )
    alpha = next(iter(fitting.values()), alpha)
    if type(alpha) not in (int, float) or not rank:
        raise not_merged(where, "LoRA without a scale", f"lora_alpha in {CONFIG}")
    return float(alpha) / (sqrt(rank) if config.get("use_rslora") else rank)  # type: ignore[arg-type]  # checked above


def adapted(decoding: Decoding, adapter: Adapter, tables: Sequence[Sequence[Rule]]) -> tuple[Decoding, tuple[str, ...]]:
    """The canonical tensors of the base with the adapter merged into them, and remarks.

    `tables` are those that its names may be read by, first those of the base itself. Raises UnknownModelError where the
    base lacks a layer.
    """
    parts: dict[str, list[LowRank]] = {}
    for layer, (up, down, scale) in adapter.pairs.items():
        claim = _claim(f"{layer}.weight", tables)
        source = claim.source if claim else None
        step = decoding.steps.get(source or "")
        if claim is None or source is None or step is None:
            raise _stranger(adapter, layer)
        rows = step.target.shape[0] // claim.rule.operation.parts
        inner = step.target.size // max(step.target.shape[0], 1)
        if up.shape[0] != rows or up.size != rows * down.shape[0] or down.size != down.shape[0] * inner:
            raise _stranger(
                adapter, layer, f"{shape_text(up.shape)} and {shape_text(down.shape)} for {step.target.shape}"
            )
        parts.setdefault(source, []).append(LowRank(up, down, scale, claim.part * rows))
    steps = dict(decoding.steps)
    for name, lows in parts.items():
        steps[name] = _whole(merged(steps[name].tensor(), *lows))
    steps |= dict(_saved(steps, adapter, tables))
    steps |= second_names(decoding.rules, steps)
    told = (
        [
            f"{counted(len(adapter.saved), 'tensor')}, trained whole, took the place of the base's: "
            + ", ".join(fold_names(adapter.saved)[:4])
        ]
        if adapter.saved
        else []
    )
    return replace(decoding, steps=steps), (*remarks(len(adapter.pairs), adapter.scales), *told)


def _whole(tensor: TensorRef) -> Step:
    spec = TensorSpec(tensor.name, tensor.dtype, tensor.shape)
    return Step(spec, (Span(tensor, 0, tensor.size),), Rows(), Kind.RECOMPUTED, tensor.shape, "merged with an adapter")


def _saved(steps: Mapping[str, Step], adapter: Adapter, tables: Sequence[Sequence[Rule]]) -> Iterator[tuple[str, Step]]:
    """Whole tensors that were trained: each is one of the base's, or rows of one, as a bias of the queries alone is."""
    parts: dict[str, dict[int, Span]] = {}
    for name, tensor in adapter.saved.items():
        claim = _claim(name, tables)
        step = steps.get((claim and claim.source) or "")
        if claim is None or step is None:
            raise _stranger(adapter, name)
        rows = step.target.shape[0] // claim.rule.operation.parts
        if tensor.shape != (rows, *step.target.shape[1:]):
            raise _stranger(
                adapter, name, f"{shape_text(tensor.shape)} for {shape_text((rows, *step.target.shape[1:]))}"
            )
        parts.setdefault(step.target.name, {})[claim.part * tensor.size] = Span(tensor, 0, tensor.size)
    for source, own in parts.items():
        base = steps[source].tensor()
        spans, done = [], 0
        for begin, span in sorted(own.items()):
            spans += [Span(base, done, begin), span]
            done = begin + span.size
        spans = [span for span in (*spans, Span(base, done, base.size)) if span.size]
        kind = steps[source].kind if any(span.tensor is base for span in spans) else Kind.BIJECTIVE
        spec = TensorSpec(source, base.dtype, base.shape)
        yield source, Step(spec, tuple(spans), Rows(), kind, base.shape)


def _claim(name: str, tables: Sequence[Sequence[Rule]]) -> Claim | None:
    """The place of a name in the first table that has it, without what stands in front of it there."""
    parts = name.split(".")
    for rules in tables:
        for first in range(len(parts)):
            claims = claims_of_target(".".join(parts[first:]), rules)
            if len(claims) == 1:
                return claims[0]
    return None


def _stranger(adapter: Adapter, layer: str, found: str = "") -> UnknownModelError:
    return UnknownModelError(
        f"{adapter.where} is for another model than its base",
        where=layer,
        found=found or "no such layer in the base",
        cause="another base, or one that was saved after the adapter was merged",
        next_step="put the model that it was trained on in the base's place",
    )
