"""From a folder of Transformers to a plan of the original that it holds. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from dinoport.codebases.catalogue import FAMILIES
from dinoport.codebases.family import Evidence, Family, Reading
from dinoport.codebases.refusal import refusal
from dinoport.codebases.transformers.original import LOSSES, Return, way_back
from dinoport.codebases.transformers.stated_sizes import refuse_larger
from dinoport.errors import SettingError, UsageError
from dinoport.finding.unwrap import CHUNKS_FLATTENED
from dinoport.formats.checkpoint import Checkpoint
from dinoport.mapping.folding import fold_names
from dinoport.mapping.plan import Plan
from dinoport.mapping.resolve import backwards
from dinoport.mapping.rule import Rule
from dinoport.proofs.foreign import refuse_foreign
from dinoport.request import DTYPES, Request, options_of
from dinoport.tensor import TensorRef


@dataclass
class PreparedReturn:
    """A way back that is planned: the open folder, the original that it holds, and the plan of its tensors."""

    checkpoint: Checkpoint
    family: Family
    back: Return
    tensors: Mapping[str, TensorRef]
    reading: Reading
    plan: Plan


def refuse_options(request: Request | None) -> None:
    """Raise UsageError for a request that asks for anything: a way back would leave it undone, and say nothing."""
    asked = options_of(request.to_dict()) if request else {}
    if asked:
        raise UsageError(
            "the way back follows from the folder alone, and takes no options of a conversion",
            found=", ".join(asked),
            next_step="leave them out; convert the original again for another folder",
        )


def prepare_return(checkpoint: Checkpoint) -> PreparedReturn:
    """Plan the way from a folder of Transformers to the original's names. Raises DinoportError."""
    where = checkpoint.where
    if checkpoint.config is None:
        raise SettingError(
            f"{where} is no folder of Transformers",
            expected="a folder with config.json and weights, for --to original",
            found=f"a {checkpoint.format}",
            next_step="leave --to original out: a checkpoint of the original codebase has its names already",
        )
    tensors = folder_tensors(checkpoint)
    back = way_back(where, checkpoint.config)
    refuse_larger(where, checkpoint.config, tensors)
    refuse_foreign(where, checkpoint.config, tensors)
    family = next(family for family in FAMILIES if family.name == back.family)
    resolution = backwards(tensors, back.rules)
    originals = {step.target.name: step.tensor() for step in resolution.plan.steps}
    if resolution.problems:
        raise refusal(where, family, None, resolution.problems)
    reading = family.read(Evidence(where, originals, {}, back.wishes))
    if reading.problems:
        raise refusal(where, family, None, reading.problems)
    lost = [f"{name} ({LOSSES[name]}) is not in the folder, and does not return" for name in back.lost]
    zeroed = _zeroed(resolution.plan, back.rules)
    reading = replace(reading, remarks=(*reading.remarks, *zeroed, *_unlike(checkpoint, reading), *lost))
    return PreparedReturn(
        checkpoint=checkpoint, family=family, back=back, tensors=tensors, reading=reading, plan=resolution.plan
    )


def _zeroed(plan: Plan, rules: Iterable[Rule]) -> list[str]:
    """What returns as zeros, because the folder has no place for it."""
    remarks = []
    for rule in rules:
        parts = [part for part, target in enumerate(rule.targets, start=1) if target is None]
        names = [step.target.name for step in plan.steps if rule.source and rule.source.match(step.target.name)]
        if parts and names:
            what = f"part {parts[0]} of {len(rule.targets)} of {' '.join(fold_names(names))}"
            remarks.append(f"{what} returns as zeros: {rule.reason}")
    return remarks


def _unlike(checkpoint: Checkpoint, reading: Reading) -> Iterator[str]:
    """What returns otherwise than the original had it, as far as the folder tells: in words of ours, not in its own."""
    report, config = checkpoint.report or {}, checkpoint.config or {}
    source, asked, record = (
        found if isinstance(found, Mapping) else {}
        for found in (report.get("source"), report.get("request"), config.get("dinoport"))
    )
    notes = source.get("stripped")
    if isinstance(notes, list) and any(str(note).startswith(CHUNKS_FLATTENED) for note in notes):
        yield "blocks return as blocks.{i}; in the original they were grouped, as blocks.{chunk}.{i} (block_chunks)"
    if type(baked_from := record.get("baked_from")) is int:
        size = getattr(reading.architecture, "image_size", None)
        yield (
            f"pos_embed returns as the folder has it, resampled for {size} pixels; the original's own table, for "
            f"{baked_from}, is not in the folder"
        )
    if asked.get("dtype") in DTYPES:
        yield f"the folder was made with --dtype {asked['dtype']}: weights return so, whatever the original stored"
    if getattr(reading.architecture, "rope_rounded", False):
        yield (
            "rope_embed.periods returns in float32, with the values that bfloat16 rounds: "
            "in which dtype the original stored them the folder does not say"
        )


def folder_tensors(checkpoint: Checkpoint) -> dict[str, TensorRef]:
    """The tensors of a folder of Transformers, under the names on disk."""
    tree = checkpoint.tree
    return (
        {name: tensor for name, tensor in tree.items() if isinstance(tensor, TensorRef)}
        if isinstance(tree, dict)
        else {}
    )
