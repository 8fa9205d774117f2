"""The proofs in order, each on files read afresh: exact, loading, outputs, pixels."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dinoport.mapping.claims import claims_of_source
from dinoport.mapping.folding import numbered_module
from dinoport.networks.network import Architecture
from dinoport.networks.observing import EMBEDDING
from dinoport.progress import BLOCKS, COMPARING, IMPORTING, LOADING, PIXELS, Bar, Progress, aside, silent
from dinoport.proofs import exact
from dinoport.proofs.aside import half_of_the_threads, importing
from dinoport.proofs.case import Case, as_run, with_periods, with_sums
from dinoport.proofs.comparison import (
    Comparison,
    NetworkRunner,
    noise_of,
    own_pass,
    state_as_written,
    table_distance,
)
from dinoport.proofs.diagnosis import diagnosis
from dinoport.proofs.difference import compare, largest
from dinoport.proofs.verdict import GATE, Proofs
from dinoport.request import Checks
from dinoport.tensor import Array

if TYPE_CHECKING:
    from PIL.Image import Image

    from dinoport.proofs import outputs, pixels


def prove(case: Case, checks: Checks, on_progress: Progress = silent) -> Proofs:
    """Try the proofs that are asked for, and find out why where one fails.

    Outputs are computed even where tensors differ, if the class loads: they show where the difference begins.
    """
    if checks.level == "none":
        return Proofs()
    case = with_periods(case)
    summed = with_sums(case)
    source, target = summed.source.model.decoding, summed.target.model.decoding
    bar = Bar(COMPARING, sum(tensor.size_bytes for tensor in target.stored.values()), on_progress)
    found = exact.prove(source, target, bar.add, cast=case.cast, anew=case.anew, known=case.known, unused=case.unused)
    by_content = None
    if not found.passed:
        by_content = diagnosis.of_tensors(case.source.model.tensors, target.stored, case.rules, case.others, case.cast)
    loading = case.target.loads() if case.target.loads else None
    rounded = _computes_rounded_periods(case)
    proofs = Proofs(found, loading, diagnosis=by_content, rounded_periods=rounded, on_top=case.target.on_top)
    if checks.level == "exact":
        return proofs
    return _run(as_run(case, summed) if found.passed else case, checks, proofs, on_progress)


def _computes_rounded_periods(case: Case) -> bool:
    """Whether rotary periods that training rounded are computed anew by one side, and not carried over as they are."""
    rotation = case.source.model.architecture.network.rotation_code
    if rotation is None or not case.source.model.architecture.rope_rounded:  # type: ignore[attr-defined]  # it rotates
        return False
    sides = (case.source.model.decoding, case.target.model.decoding)
    return not all(rotation.stores_periods(side.tensors, side.declared) for side in sides)


def _run(case: Case, checks: Checks, proofs: Proofs, on_progress: Progress) -> Proofs:
    """Load, run and compare."""
    on_progress(IMPORTING, 0, 0)
    importing(()).result()
    import torch

    from dinoport.proofs import genuine, outputs
    from dinoport.proofs.picture import load_picture, picture_tensor, synthetic_picture

    runner = case.theirs.runner or NetworkRunner(case.theirs.model)
    if runner.absent:
        return replace(proofs, unrun=runner.absent)
    image = checks.image
    picture, name = (load_picture(image), str(image)) if image else (synthetic_picture(), "a synthetic picture")
    architecture = case.source.model.architecture
    transform = (case.preprocessing or case.source.model.preprocessing).for_image_size(case.image_size)
    rgb = architecture.channels == 3
    if rgb:
        values: Array = picture_tensor(picture, transform)
    else:
        values = noise_of(architecture.channels, (case.image_size, case.image_size))
        name = f"noise of {architecture.channels} channels"
    comparison = Comparison(
        architecture=case.ours.model.architecture,
        tensors=case.ours.model.tensors,
        runner=runner,
        image_size=case.image_size,
        cast=case.cast if case.ours is case.source else None,
        baked=case.target.model.tensors.get(architecture.positions or "") if case.baked else None,
        as_stored=case.as_stored,
        zeros=bool(proofs.exact and proofs.exact.zero_matrices),
        on_block=_counted(case.ours.model.architecture, on_progress),
    )
    with half_of_the_threads():
        own = aside(lambda: own_pass(comparison, values))  # while the class is imported and loaded
        if case.theirs.runner:
            importing(case.theirs.runner.imports).result()
        on_progress(LOADING, 0, 0)
        held = {tensor.dtype for tensor in case.theirs.model.decoding.stored.values()}
        loaded = runner.load("float64" if np.dtype(np.float64) in held else "float32")  # which rounds no weights
    if not loaded.passed:
        wait([own])
    if loaded.absent:
        return replace(proofs, unrun=loaded.absent)
    if proofs.loading is None or not loaded.passed:
        proofs = replace(proofs, loading=loaded)
    if not loaded.passed:
        return proofs
    processed = aside(lambda: _pixels(case, picture, name))  # while the class runs
    sizes = tuple(dict.fromkeys((*_notable_sizes(case), *(_other_sizes(case) if checks.all_sizes else ()))))
    if case.genuine is not None:
        backbone = architecture.tensors()  # a start for training carries heads along
        beside = {name for name in comparison.tensors if name not in backbone or _is_beside(case, name)}
        images = torch.from_numpy(values).double()
        reference = genuine.Reference(checks.reference or "", case.genuine)
        proofs = replace(proofs, genuine=genuine.prove(reference, comparison, beside, images))
    computed = outputs.prove(comparison, values, name, sizes, own)
    wait([own])
    cause = proofs.diagnosis if not computed.differs else diagnosed(case, comparison, values, computed, proofs)
    on_progress(PIXELS, 0, 0)
    shown = processed.result()
    taken = None
    if checks.pictures:
        from dinoport.proofs.pictures import take_pictures

        shows = case.preprocessing and case.target.processor and rgb
        taken = take_pictures(
            comparison,
            values,
            case.target.processor,
            picture if shows else None,
            case.preprocessing,
            case.target.load_processor,
        )
    left = not checks.all_sizes and bool(_other_sizes(case))
    return replace(proofs, outputs=computed, pixels=shown, diagnosis=cause, pictures=taken, sizes_left=left)


def _counted(architecture: Architecture, on_progress: Progress) -> Callable[[str], None]:
    """Tell of every block that a pass comes out of which it is; every pass begins with the embedding."""
    total = len({numbered_module(name) for name in architecture.tensors()} - {""})
    done = 0

    def tell(name: str) -> None:
        nonlocal done
        done = 0 if name == EMBEDDING else done + 1
        on_progress(BLOCKS, min(done, total), total)

    return tell


def _pixels(case: Case, picture: Image, name: str) -> pixels.PixelsProof:
    """What the target's image processor makes of the picture of this name, if there is one."""
    from dinoport.proofs import pixels

    channels = case.source.model.architecture.channels
    if case.target.processor and case.preprocessing:
        load = case.target.load_processor
        return pixels.prove(case.target.processor, case.preprocessing, picture, name, channels, load)
    if case.target.runner and channels != 3:
        return pixels.PixelsProof(
            "not shown", reason=f"no image processor is written for a model of {channels} channels"
        )
    what = "the folder" if case.target.runner else "a file of the original's"
    return pixels.PixelsProof("not shown", reason=f"{what} has no image processor")


def _is_beside(case: Case, name: str) -> bool:
    """Whether a tensor is not a part of the backbone: a classifier, or what the target has no place for."""
    step = case.target.model.decoding.steps.get(name)
    dropped = any(not claim.rule.targets for claim in claims_of_source(name, case.rules))
    return name.startswith("classifier.") or dropped or step is None


def diagnosed(
    case: Case,
    comparison: Comparison,
    values: Array,
    computed: outputs.OutputsProof,
    proofs: Proofs,
    rounding: float = 0,
) -> diagnosis.Diagnosis:
    """Where both sides part, and which of the usual mistakes explains it.

    `rounding` is the share of the difference that may remain: what the other side has rounded is not known exactly.
    """
    import torch

    from dinoport.proofs import outputs
    from dinoport.proofs.weights import Weights, floats

    architecture, by_content = case.source.model.architecture, proofs.diagnosis

    def completed(found: diagnosis.Diagnosis) -> diagnosis.Diagnosis:
        rules = diagnosis.rules_of(found.block, case.source.model.tensors, case.rules)
        return diagnosis.completed(found, by_content, rules)

    # Kept in memory: every mistake that is tried runs on them again.
    source, state = dict(Weights(floats(comparison.tensors))), dict(state_as_written(comparison))
    if computed.table is not None and computed.failure and comparison.baked is not None:
        found = diagnosis.of_table(
            lambda other, table: table_distance(comparison, source, table, (comparison.image_size,) * 2, other),
            state[architecture.positions or ""],
            architecture,
            outputs.ROUNDINGS[comparison.baked.dtype.name],
        )
        return completed(found)
    images = torch.from_numpy(values).double()
    theirs = comparison.runner.run(images)
    shared = comparison.shared(theirs)
    if computed.table is not None and computed.table > comparison.table_limit and "positions" in shared:
        found = diagnosis.of_table(
            lambda other, table: table_distance(comparison, source, table, computed.size, other),
            shared["positions"],
            architecture,
            comparison.table_limit,
        )
        return completed(found)
    if computed.worst <= GATE and shared and computed.failure is None:
        return diagnosis.of_rotation(shared["rotation"], architecture, values.shape[-2:])
    forward = architecture.network.code.forward
    sides = diagnosis.Sides(
        forward=lambda state, other, watch: forward(state, other, images, watch, **comparison.shared(theirs, other)),
        outputs=theirs.outputs,
        blocks=theirs.blocks,
        compare=lambda ours, written: largest(compare(ours, written)).relative,
        gate=max(GATE, rounding * min(computed.worst, 1.0)),
    )
    others = {label: dict(Weights(floats(tensors))) for label, tensors in case.others.items()}
    held = None
    if by_content:
        own = {name: tensor for name, tensor in case.target.model.tensors.items() if name in state}
        held = by_content.cause or "the folder's weights are not the original's", {**state, **Weights(floats(own))}
    found = diagnosis.of_outputs(sides, state, comparison.architecture, others, held)
    return completed(found)


def _notable_sizes(case: Case) -> list[tuple[int, int]]:
    """Sizes to say something of, where they are not the one that outputs match at.

    They are the one that the written processor makes of a picture, and the one that a baked table was stored for.
    """
    architecture = case.source.model.architecture
    sizes = [case.preprocessing.size] if case.preprocessing and architecture.channels == 3 else []
    if case.baked:
        sizes.append(architecture.image_size)
    return [(size, size) for size in sizes if size != case.image_size]


def _other_sizes(case: Case) -> tuple[tuple[int, int], ...]:
    """Two sizes beside the model's own, one of them not square, in whole patches."""
    if getattr(case.source.model.architecture, "takes_one_size", False):
        return ()
    cell: int = case.source.model.architecture.cell
    patches = max(case.image_size // cell, 2)
    larger = (patches + max(patches // 3, 1)) * cell
    return (larger, larger), (case.image_size, max(patches - max(patches // 4, 1), 1) * cell)
