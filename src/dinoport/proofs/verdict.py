"""The verdict: one word, what it rests on, and never more than was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from dinoport.mapping.folding import fold_names
from dinoport.model import Origin, Setting
from dinoport.networks.network import ROTATION_GATE
from dinoport.request import option_of
from dinoport.shown.lines import figure, limit_text
from dinoport.shown.text import counted, listed

if TYPE_CHECKING:
    from dinoport.codebases.running import LoadingProof
    from dinoport.proofs.diagnosis.diagnosis import Diagnosis
    from dinoport.proofs.exact import ExactProof
    from dinoport.proofs.exported.findings import ExportedProof
    from dinoport.proofs.genuine import GenuineProof
    from dinoport.proofs.outputs import OutputsProof
    from dinoport.proofs.pictures import Pictures
    from dinoport.proofs.pixels import PixelsProof

GATE = 1e-9
"""Largest relative difference of outputs in float64 that counts as equal."""

RUNTIME_GATE = 5e-6
"""Of ONNX Runtime: what counts as float32's rounding. It reached 1.4e-6 in all right files that were measured; a
LayerNorm's eps of 1e-12 for 1e-6 stays below it too, so this proves nothing more."""


class Word(str, Enum):
    EQUAL = "equal"
    EQUAL_EXCEPT = "equal except"
    NOT_EQUAL = "not equal"
    TRANSPORTED = "transported exactly"
    """Every tensor is where the rules say; what the class computes with them was not looked at."""
    RECOMPUTED = "computed again"
    """As TRANSPORTED, of a target that holds mostly other values than the source, as rounded ones are: they are equal
    to what was computed again from the source."""
    NOT_VERIFIED = "not verified"
    PLANNED = "planned"


class Blamed(Enum):
    """Why the source, and not the folder, is likely at fault where the two are unequal."""

    SOURCE_CHANGED = "the source is damaged, or was changed"
    ANOTHER_SOURCE = "the source is another file than the one that was converted"


RESAMPLED = "position tables are resampled by another rule"

WHERE_USED = "where the graph uses each tensor: they are found by their content, and two that are swapped are found too"


@dataclass(frozen=True)
class Proofs:
    """The proofs that were tried; None for one that was not.

    `diagnosis` says why one failed, `pictures` is what a page draws, where one was asked for. `rounded_periods` says
    that the original stores its rotary periods as bfloat16 rounds them: known of its tensors, whatever was computed.
    `exported` is what else is known of a graph that others exported, `unrun` says why nothing could be run,
    `sizes_left` that the model takes other input sizes, at which nothing was compared. `on_top` are tensors that the
    target has beside the model, and that outputs of its own come from.
    """

    exact: ExactProof | None = None
    loading: LoadingProof | None = None
    outputs: OutputsProof | None = None
    pixels: PixelsProof | None = None
    diagnosis: Diagnosis | None = None
    pictures: Pictures | None = None
    genuine: GenuineProof | None = None
    exported: ExportedProof | None = None
    rounded_periods: bool = False
    unrun: str | None = None
    sizes_left: bool = False
    on_top: tuple[str, ...] = ()

    @property
    def at_other_sizes(self) -> bool:
        """Whether outputs were compared at sizes that a position table is resampled for."""
        return bool(self.outputs and self.outputs.other_sizes)


@dataclass(frozen=True)
class Verdict:
    word: Word
    shown: str = ""
    exceptions: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    not_shown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What the weights contradict, whoever says it; and what is not as it was when the folder was made, and makes no
    other model."""
    named: tuple[str, ...] = ()
    """The assumptions that the first line names: given, claimed, contradicted, or other in other candidates."""
    upstream: str = "the original"
    """Whose code the other assumptions are taken from."""
    told: int = 0
    """How many of the others the file says besides its tensors, or a config beside it."""
    otherwise: bool = False
    """Whether the first failures are options that the conversion had otherwise."""
    blamed: Blamed | None = None
    """Set where the source, and not the folder, is evidently at fault."""

    @property
    def failed(self) -> bool:
        return self.word is Word.NOT_EQUAL

    def __str__(self) -> str:
        text = self.word.value if self.word is not Word.EQUAL_EXCEPT else Word.EQUAL.value
        text += f" {self.shown}" if self.shown else ""
        text += ", except " + "; ".join(self.exceptions) if self.exceptions else ""
        text += ": " + "; ".join(self.failures[:3]) if self.failures else ""
        return f"{text}, {self.assuming}" if self.assuming and not self.failed else text

    @property
    def assuming(self) -> str:
        """The assumptions in one line: the named ones, and how many others there are."""
        counts = {"from the file or its config": self.told}
        counts[f"as in {self.upstream}"] = len(self.assumptions) - len(self.named) - self.told
        counted = [f"{count} value{'' if count == 1 else 's'} {words}" for words, count in counts.items() if count]
        *others, last = [*self.named, *counted] or [""]
        return f"assuming {', '.join(others)} and {last}" if others else f"assuming {last}" if last else ""


def judge(
    proofs: Proofs, assumed: Sequence[Setting[object]], problems: Sequence[str] = (), upstream: str = "the original"
) -> Verdict:
    """The strongest word that the proofs allow.

    `problems` are faults of the folder that no proof looks at, `upstream` is whose code tells what is assumed.
    """
    named = tuple(str(setting) for setting in assumed if setting.named)
    told = sum(setting.origin is not Origin.ASSUMED and not setting.named for setting in assumed)
    judged = _judged(proofs, tuple(map(str, assumed)), problems)
    return replace(judged, named=named, upstream=upstream, told=told)


def _judged(proofs: Proofs, assumptions: tuple[str, ...], problems: Sequence[str]) -> Verdict:
    failures = (*problems, *_failures(proofs))
    if failures:
        return Verdict(Word.NOT_EQUAL, failures=failures, assumptions=assumptions)
    if proofs.exact is None:
        return Verdict(Word.NOT_VERIFIED, assumptions=assumptions, not_shown=("anything",))
    exceptions, not_shown = _exceptions(proofs)
    unseen = ("outputs", *([WHERE_USED] if proofs.exported else []))
    if proofs.loading is None or proofs.outputs is None:
        not_shown = (*(() if proofs.loading else ("loading",)), *unseen, "pixels")
        return _of_tensors(proofs.exact, proofs.unrun, exceptions, assumptions, not_shown)
    if proofs.outputs.unshown:
        not_shown = (*unseen, *not_shown)
        return _of_tensors(proofs.exact, proofs.outputs.unshown, exceptions, assumptions, not_shown)
    word = Word.EQUAL_EXCEPT if exceptions else Word.EQUAL
    equal = [size for size, difference in proofs.outputs.other_sizes.items() if difference.relative <= GATE]
    sizes = [f"{height}×{width}" for height, width in (proofs.outputs.size, *equal)]
    shown = f"at {', '.join(sizes[:-1])} and {sizes[-1]} pixels" if sizes[1:] else f"at {sizes[0]} pixels"
    return Verdict(word, shown, exceptions, assumptions, (), not_shown)


def _of_tensors(
    exact: ExactProof,
    unshown: str | None,
    exceptions: tuple[str, ...],
    assumptions: tuple[str, ...],
    not_shown: tuple[str, ...],
) -> Verdict:
    """The verdict where nothing is known of outputs: `unshown` says why."""
    shown = f"(outputs not shown: {unshown})" if unshown else "(outputs not shown)"
    word = Word.TRANSPORTED
    if exact.recomputed > exact.found:
        word, shown = Word.RECOMPUTED, f"from the source and equal {shown}"
    return Verdict(word, shown, exceptions, assumptions, (), not_shown)


def _failures(proofs: Proofs) -> tuple[str, ...]:
    failures: list[str] = []
    if proofs.exact:
        failures += proofs.exact.problems
    loading = proofs.loading
    if loading and not loading.passed:
        failures += [loading.failure] if loading.failure else []
        for kind in ("missing", "unexpected", "mismatched"):
            names = getattr(loading, kind)
            failures += [f"{counted(len(names), f'{kind} key')} ({listed(names, 3)})"] if names else []
    outputs = proofs.outputs
    if outputs and outputs.failure:
        failures.append(outputs.failure)
    elif outputs and not outputs.unknown and outputs.worst > GATE:
        failures.append(f"outputs differ by {figure(outputs.worst, GATE)}, where {limit_text(GATE)} is allowed")
    if outputs and outputs.rotation and not outputs.rotation.passed:
        failures.append(f"rotary positions differ by {figure(outputs.rotation.difference, outputs.rotation.limit)}")
    genuine = proofs.genuine
    if genuine and not genuine.passed:
        differ = f"outputs differ by {figure(genuine.worst, GATE)}"
        if genuine.worst <= GATE:
            differ = f"rotary positions differ by {figure(genuine.rotation or 0.0, ROTATION_GATE)}"
        failures.append(f"the genuine code, {genuine.code}, says otherwise: {genuine.failure or differ}")
    failures += proofs.exported.failures if proofs.exported else ()
    failures += proofs.pixels.failures if proofs.pixels else ()
    return tuple(failures)


def _exceptions(proofs: Proofs) -> tuple[tuple[str, ...], tuple[str, ...]]:
    exceptions: list[str] = []
    not_shown: list[str] = []
    outputs, pixels = proofs.outputs, proofs.pixels
    if proofs.exact and proofs.exact.nonfinite:
        count = sum(proofs.exact.nonfinite.values())
        exceptions.append(f"that {count} value{' is' if count == 1 else 's are'} not finite, as in the original")
    if proofs.exact and proofs.exact.mostly_zero:
        exceptions.append(f"that {proofs.exact.zero_share} zero throughout, as in the original")
    if proofs.exact and proofs.exact.unheld:
        names = listed(fold_names(proofs.exact.unheld))
        exceptions.append(f"for {names}, which the source has no place for, and no output depends on: not compared")
    if proofs.on_top:
        names = ", ".join(fold_names(proofs.on_top))
        exceptions.append(f"for {names}, which the folder has on top: what comes out of them was not compared")
    if proofs.exact and proofs.exact.recomputed and (outputs is None or outputs.unshown):
        share = f"{proofs.exact.recomputed} of {proofs.exact.recomputed + proofs.exact.found} tensors"
        anew = "computed anew (rounded, merged, or resampled for another size), whose effect is not shown"
        exceptions.append(f"for {share}, {anew}")
    rounded = "rope periods (stored as bfloat16 rounds them, computed in float32 here"
    if outputs and outputs.rotation and outputs.rotation.stored is not None:
        moved = f"outputs move by {outputs.rotation.stored:.1e}"
        trained = f"by {outputs.rotation.in_bfloat16:.1e} where all of RoPE runs in bfloat16, as in training"
        exceptions.append(f"{rounded}: {moved}, {trained})")
    elif proofs.rounded_periods:
        exceptions.append(f"{rounded}; how far outputs move was not measured)")
    if outputs and outputs.drowned:
        names = ", ".join(fold_names(outputs.drowned))
        little = "too little to what passes them, or the same everywhere"
        exceptions.append(f"for {names}, which add {little}, for anything to be shown of them")
    if outputs and outputs.merged:
        moved = f"outputs move by {outputs.merged.relative:.1e} from those of adapters that are not merged"
        exceptions.append(f"for adapters, merged and rounded once ({moved})")
    if outputs and outputs.rounding:
        exceptions.append(f"for rounding (outputs move by {outputs.rounding.relative:.1e})")
    if outputs:
        for (height, width), difference in outputs.other_sizes.items():
            if difference.relative > GATE:
                baked = outputs.table is not None
                known = "the table, baked for one size, is moved" if baked else RESAMPLED
                exceptions.append(f"at {height}×{width} ({difference.relative:.1e}: {known})")
        for (height, width), why in outputs.uncomputed.items():
            exceptions.append(f"at {height}×{width}, which the file claims and cannot compute ({why})")
    exceptions += proofs.exported.exceptions if proofs.exported else ()
    exceptions += pixels.exceptions if pixels else ()
    if proofs.sizes_left and outputs and not outputs.unshown:
        not_shown.append(f"outputs at other input sizes ({option_of('all_sizes')})")
    not_shown += proofs.exported.not_shown if proofs.exported else ()
    if pixels is None or pixels.status == "not shown":
        not_shown.append("pixels" + (f": {pixels.reason}" if pixels and pixels.reason else ""))
    return tuple(exceptions), tuple(not_shown)
