"""Low-rank parts inside a state dict: merged into the layers that carry them, under the names of these.

Three ways to write them are known. PEFT's (`peft/tuners/lora/layer.py`): `q_proj.base_layer.weight` and
`q_proj.lora_{A,B}.default.weight`, and `modules_to_save` beside `original_module`. loralib's: `q_proj.lora_{A,B}`.
SAMed's, for a joint layer: `qkv.qkv.weight` and `qkv.linear_{a,b}_{q,v}.weight`, without a scale; LoRA-ViT has one.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from dinoport.errors import SettingError, UnknownModelError
from dinoport.mapping.computation import LowRank, merged
from dinoport.mapping.folding import fold_names
from dinoport.model import Origin, Setting
from dinoport.request import option_of
from dinoport.shown.text import counted
from dinoport.tensor import TensorRef, shape_text

LORA = re.compile(r"(.+)\.lora_([AB])(?:\.(\w+))??(?:\.weight)?")
"""A layer, which of its two matrices, and of which adapter it is."""

JOINT = re.compile(r"(.+)\.linear_([ab])_([qv])\.weight")

SAVED = re.compile(r"(.+)\.modules_to_save\.(\w+)\.(.+)")

ORIGINAL = re.compile(r"(.+)\.original_module\.(.+)")

OWN_BIAS = re.compile(r"\.lora_[AB](\.\w+)?\.bias$")

OTHERS = {
    "lora_magnitude_vector": "DoRA",
    "lora_embedding_A": "LoRA of an embedding",
    "lora_E": "AdaLoRA",
    "ia3_l": "IA3",
    "hada_w1_a": "LoHa",
    "lokr_w1": "LoKr",
    "lokr_w1_a": "LoKr",
    "vera_lambda_b": "VeRA",
    "oft_R": "OFT",
    "oft_r": "OFT",
    "boft_R": "BOFT",
    "fourierft_spectrum": "FourierFT",
    "hra_u": "HRA",
}
"""Adapters that are not merged here, by a part of the names that they alone have."""

MERGE = "merge it where it was trained (merge_and_unload()), save_pretrained, and convert that folder"


NOT_YET = "loralib adds them to the weights in eval mode, and keeps them in the file"


UNSCALED = "as SAMed does; LoRA-ViT multiplies them by lora_alpha / r"


class Merging(NamedTuple):
    """A state dict without adapters. `renamed` leads from new names to those in the file, `notes` say what was done.

    `doubts` are for the verdict: what nothing in the file tells.
    """

    tensors: Mapping[str, TensorRef]
    renamed: Mapping[str, str]
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    doubts: tuple[Setting[str], ...] = ()


UNKNOWN_PARTS = re.compile(r"(?:^|[._/])(?:lora|w_[AB]s)(?:$|[._/])", re.IGNORECASE)

OF_TEXT = re.compile(r"(?:^|[._])(?:text|lang\w*|llm|lm|decoder)(?:$|[._])", re.IGNORECASE)


def refuse_unmerged(where: str, names: Iterable[str], leads: Collection[str] = ()) -> None:
    """Raise UnknownModelError for low-rank parts by names that are not known: the base alone would be left.

    Those of a language model belong to that one. `leads` stand in front of whole models, whatever they are called:
    LoRA-ViT's is `lora_vit`.
    """
    rests = {name: name[max((len(lead) for lead in leads if name.startswith(lead)), default=0) :] for name in names}
    found = [name for name, rest in rests.items() if UNKNOWN_PARTS.search(rest) and not OF_TEXT.search(name)]
    if found:
        raise not_merged(where, "low-rank parts under names that are not known", ", ".join(fold_names(found)[:4]))


def carries_adapters(tensors: Mapping[str, TensorRef]) -> bool:
    """Whether any name says so."""
    parts = (".lora_", ".linear_a_q.", ".base_layer.", ".modules_to_save.", *(f".{sign}" for sign in OTHERS))
    return any(part in name for name in tensors for part in parts)


def merge_within(where: str, tensors: Mapping[str, TensorRef], alpha: float | None) -> Merging:
    """Merge the low-rank parts of a state dict into its layers. Nothing is read.

    Raises UnknownModelError for adapters of another kind, and for several; SettingError where `alpha`, which no state
    dict of PEFT's holds, is not given.
    """
    refuse_others(where, tensors)
    kept = _without_saved_copies(tensors)
    halves: dict[str, dict[str, TensorRef]] = {}
    joint: dict[str, dict[str, TensorRef]] = {}
    adapters: set[str] = set()
    base: dict[str, TensorRef] = {}
    renamed: dict[str, str] = {}
    for name, (tensor, original) in kept.items():
        if found := LORA.fullmatch(name):
            halves.setdefault(found[1], {})[found[2]] = tensor
            adapters.add(found[3] or "")
        elif found := JOINT.fullmatch(name):
            joint.setdefault(found[1], {})[found[2] + found[3]] = tensor
        else:
            base[name], renamed[name] = tensor, original
    if len(adapters) > 1:
        raise _several(where, adapters)
    by_loralib = any(f"{layer}.lora_A" in tensors for layer in halves)
    for layer in [*halves, *joint]:
        inner = "base_layer" if layer in halves else layer.rpartition(".")[2]
        for leaf in ("weight", "bias"):
            if (old := f"{layer}.{inner}.{leaf}") in base:
                base[f"{layer}.{leaf}"], renamed[f"{layer}.{leaf}"] = base.pop(old), renamed.pop(old)
    for layer in (*halves, *joint):
        _weight(where, layer, base)
    for layer, pair in halves.items():
        weight = _weight(where, layer, base)
        rank = pair["A"].shape[0] if "A" in pair else 0
        low = _low_rank(where, layer, pair.get("B"), pair.get("A"), weight, (alpha or 0) / max(rank, 1))
        base[f"{layer}.weight"] = merged(weight, low)
    if halves and alpha is None:
        raise SettingError(
            f"{where} carries LoRA adapters, and does not say how strong they are",
            where=", ".join(fold_names(sorted(halves))[:4]),
            expected="`lora_alpha`: what is added is lora_alpha / r times the product of both matrices",
            found=f"r = {next(iter(halves.values()))['A'].shape[0] if 'A' in next(iter(halves.values())) else '?'}",
            cause="a state dict of PEFT's; only adapter_config.json and the code hold lora_alpha",
            next_step="add `lora_alpha=N`; for rank-stabilised adapters (use_rslora) give N times the root of r",
            missing="lora_alpha",
        )
    for layer, four in joint.items():
        weight, third = _weight(where, layer, base), base[f"{layer}.weight"].shape[0] // 3
        rows = weight if not third else TensorRef(weight.name, weight.dtype, (third, *weight.shape[1:]), weight.values)
        rank = four["aq"].shape[0] if "aq" in four else 1
        strong = 1.0 if alpha is None else alpha / max(rank, 1)
        lows = [
            _low_rank(where, layer, four.get(f"b{part}"), four.get(f"a{part}"), rows, strong, first)
            for part, first in (("q", 0), ("v", 2 * third))
        ]
        base[f"{layer}.weight"] = merged(weight, *lows)
    count = len(halves) + len(joint)
    scale = strength(alpha) if alpha is not None else "without a scale"
    notes = (f"low-rank parts of {counted(count, 'layer')} merged ({scale})",) if count else ()
    doubts = {"not merged yet": NOT_YET} if by_loralib else {}
    doubts |= {"added as they are": f"{UNSCALED}; {option_of('lora_alpha')} decides"} if joint and alpha is None else {}
    named = [Setting("low-rank parts", what, Origin.ASSUMED, why, doubted=True) for what, why in doubts.items()]
    return Merging(base, renamed, notes, remarks(count, scale) if count else (), tuple(named))


def strength(alpha: float) -> str:
    """How notes name the strength that adapters were merged with."""
    return f"lora_alpha {alpha:g}"


def remarks(count: int, scale: str) -> tuple[str, ...]:
    return (
        f"LoRA: {'1 matrix was' if count == 1 else f'{count} matrices were'} merged ({scale}), in float64, and rounded "
        "once; PEFT's own merge differs in the last bit where it sums in the weights' dtype",
    )


def refuse_others(where: str, names: Mapping[str, object]) -> None:
    """Raise UnknownModelError for adapters that are not merged here, by their name."""
    for name in names:
        kind = next((OTHERS[part] for part in name.split(".") if part in OTHERS), None)
        kind = "LoRA with biases of its own (lora_bias)" if OWN_BIAS.search(name) else kind
        if kind:
            raise not_merged(where, kind, name)


def not_merged(where: str, kind: str, found: str) -> UnknownModelError:
    return UnknownModelError(
        f"{where} carries {kind}, which is not merged here",
        expected="LoRA of linear layers: W + scale · B @ A",
        found=found,
        cause="an adapter of PEFT's of another kind",
        next_step=MERGE,
    )


def _several(where: str, adapters: set[str]) -> UnknownModelError:
    return UnknownModelError(
        f"{where} carries several adapters, and nothing says which of them is active",
        found=", ".join(sorted(adapters)),
        next_step="merge the one that is meant (merge_and_unload()), save_pretrained, and convert that folder",
    )


def _without_saved_copies(tensors: Mapping[str, TensorRef]) -> dict[str, tuple[TensorRef, str]]:
    """The tensors with their names in the file: a module that was trained whole takes the place of its original."""
    saved = {f"{found[1]}.{found[3]}": name for name in tensors if (found := SAVED.fullmatch(name))}
    kept = {}
    for name, tensor in tensors.items():
        original = ORIGINAL.fullmatch(name)
        if SAVED.fullmatch(name) or (original and f"{original[1]}.{original[2]}" in saved):
            continue
        kept[f"{original[1]}.{original[2]}" if original else name] = (tensor, name)
    return kept | {name: (tensors[old], old) for name, old in saved.items()}


def _weight(where: str, layer: str, base: Mapping[str, TensorRef]) -> TensorRef:
    if f"{layer}.weight" not in base:
        raise UnknownModelError(
            f"{where} holds an adapter without the layer that it is for",
            where=f"{layer}.weight",
            cause="an adapter alone, whose base lies elsewhere",
            next_step="give the adapter's folder, with its adapter_config.json and, by `base`, its base",
        )
    return base[f"{layer}.weight"]


def _low_rank(
    where: str,
    layer: str,
    up: TensorRef | None,
    down: TensorRef | None,
    weight: TensorRef,
    scale: float,
    first: int = 0,
) -> LowRank:
    """Both matrices, once they fit the layer's rows. Raises UnknownModelError where they don't."""
    shapes = [shape_text(each.shape) if each is not None else "nothing" for each in (up, down)]
    if up is not None and down is not None and len(up.shape) >= 2 and len(down.shape) >= 2:
        inner = weight.size // max(weight.shape[0], 1)
        if (
            up.shape[0] == weight.shape[0]
            and up.size == up.shape[0] * down.shape[0]
            and down.size == down.shape[0] * inner
        ):
            return LowRank(up, down, scale, first)
    raise UnknownModelError(
        f"the low-rank parts of {layer} do not fit it",
        where=where,
        expected=f"(rows, rank) and (rank, columns) for {shape_text(weight.shape)}",
        found=" and ".join(shapes),
        cause="an adapter of another kind, such as loralib's MergedLinear, or a file that was cut",
        next_step=MERGE,
    )
