"""The proofs of a graph in order: its tensors by content, its outputs in float64, its runtime, and pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dinoport.exports.evaluation import OPSETS, BrokenGraphError, Healing, UnshownError
from dinoport.exports.graph import Export, ends_of_blocks
from dinoport.exports.runner import GraphRunner, rotation_tables
from dinoport.mapping.folding import fold_names
from dinoport.networks.preprocessing import Preprocessing
from dinoport.proofs.comparison import TABLE_GATE, Comparison, noise_of
from dinoport.proofs.diagnosis.diagnosis import module_order
from dinoport.proofs.exported.contents import Contents, look_up
from dinoport.proofs.exported.findings import ExportedProof
from dinoport.proofs.exported.lookup import Known
from dinoport.proofs.exported.runtime import Runtime, runtime_of
from dinoport.proofs.exported.sizes import Size, Sizes, refused, sizes_of, sizes_of_tables
from dinoport.proofs.verdict import Proofs
from dinoport.request import Checks
from dinoport.tensor import FLOAT_DTYPES, Array, TensorRef

if TYPE_CHECKING:
    from dinoport.proofs.case import Case
    from dinoport.proofs.outputs import OutputsProof

MAX_HEADS = 64

ROUNDED = 5e-6
"""What may remain of a difference that a mistake explains, where weights were folded by that mistake and rounded: no
fold of the original's gives them without. 3e-8 of it remains of a ResNet-50 whose BatchNorms were filled wrongly."""

QUANTIZING = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")
"""A graph with one of these operators holds whole numbers where the original has weights."""


@dataclass(frozen=True)
class Exported:
    """A graph to be proven. `path` is its file, `known` are the original's tensors in all their forms.

    `processor` is a folder whose image processor goes before the graph, where the user named one; `preprocessing` is
    the transform that it should have.
    """

    export: Export
    path: Path
    known: Sequence[Known]
    preprocessing: Preprocessing
    processor: Path | None = None


def prove(exported: Exported, case: Case, checks: Checks) -> Proofs:
    """Try the proofs that are asked for. `case` has the original on its source's side."""
    export, architecture = exported.export, case.source.model.architecture
    picture = export.graph.inputs[0] if len(export.graph.inputs) == 1 else None
    why_not = refused(picture, architecture)
    sizes = sizes_of(picture, architecture, case.image_size) if picture and not why_not else Sizes((0, 0), (), 1)
    constants = all_constants(export)
    contents = look_up(constants, exported.known, architecture, _tables(constants, architecture, sizes.main))
    quantized = tuple(dict.fromkeys(node.title for node in export.graph.walk() if node.operator in QUANTIZING))
    found = ExportedProof(
        producer=export.producer,
        opset=export.opset,
        any_size=bool(sizes.others),
        folded={name: fold.words for name, fold in contents.folded.items()},
        tables=contents.tables,
        remaining=contents.remaining,
        missing=tuple(fold_names(contents.missing)),
        quantized=quantized,
    )
    rounded = getattr(architecture, "rope_rounded", False)
    proofs = Proofs(contents.proof, exported=found, rounded_periods=rounded)
    if checks.level != "full":
        return proofs
    if why_not is None and export.opset not in OPSETS:
        why_not = f"opset {export.opset} is not read, only {OPSETS[0]} to {OPSETS[-1]}"
    return _run(exported, case, checks, proofs, found, contents, sizes, why_not)


def all_constants(export: Export) -> dict[str, TensorRef]:
    """Every tensor of the file: those beside its nodes, and those within nodes."""
    within = {
        node.name: value
        for node in export.graph.walk()
        if node.operator == "Constant"
        for value in node.attributes.values()
        if isinstance(value, TensorRef)
    }
    return {**within, **export.graph.constants}


def _tables(constants: Mapping[str, TensorRef], architecture: Any, size: Size) -> tuple[str, ...]:
    """The tensors that are tables of positions for a size: rotary ones, and resampled ones."""
    patches = (size[0] // architecture.cell) * (size[1] // architecture.cell)
    if architecture.network.rotation:
        periods = (
            name for name, each in constants.items() if each.is_float and each.size == architecture.head_dim // 4
        )
        return (*rotation_tables(constants, patches * architecture.head_dim), *periods)
    if architecture.positions is None or size == (architecture.image_size,) * 2:
        return ()
    own = {(rows, architecture.width) for rows in (patches, patches + 1)}
    return tuple(
        name
        for name, tensor in constants.items()
        if tensor.is_float and tuple(side for side in tensor.shape if side != 1) in own
    )


def _run(
    exported: Exported,
    case: Case,
    checks: Checks,
    proofs: Proofs,
    beside: ExportedProof,
    contents: Contents,
    sizes: Sizes,
    why_not: str | None,
) -> Proofs:
    import torch

    from dinoport.proofs import outputs, pixels
    from dinoport.proofs.picture import load_picture, picture_tensor, synthetic_picture
    from dinoport.proofs.prove import diagnosed

    image = checks.image
    picture, name = (load_picture(image), str(image)) if image else (synthetic_picture(), "a synthetic picture")
    architecture, export = case.source.model.architecture, exported.export
    shown = pixels.PixelsProof("not shown", reason="no processor was named for the graph: give `processor`")
    if exported.processor is not None:
        shown = pixels.prove(exported.processor, exported.preprocessing, picture, name, architecture.channels)
    cast = _cast(contents, export.graph.constants)
    runner = _runner(exported, case, contents, cast)
    loading = runner.load("float32")
    nothing = outputs.OutputsProof(sizes.main, name, torch.__version__)
    if why_not is not None:
        return replace(proofs, loading=loading, outputs=replace(nothing, unknown=why_not), pixels=shown)
    comparison = Comparison(
        architecture=architecture,
        tensors=case.source.model.tensors,
        runner=runner,
        image_size=case.image_size,
        cast=cast,
        kept=contents.unrounded,
        zeros=bool(proofs.exact and proofs.exact.zero_matrices),
        table_limit=max(TABLE_GATE, outputs.ROUNDINGS[cast.name] if cast is not None else 0),
    )
    size = sizes.main
    values: Array
    if architecture.channels == 3 and size[0] == size[1]:
        transform = exported.preprocessing.for_image_size(size[0])
        values = picture_tensor(picture, transform)
    else:
        values, name = noise_of(architecture.channels, size), "noise"
    values = np.repeat(values, sizes.batch, axis=0)
    try:
        computed, values = _compared(runner, comparison, values, name, sizes)
    except UnshownError as error:
        return replace(proofs, loading=loading, outputs=replace(nothing, unknown=str(error)), pixels=shown)
    except BrokenGraphError as error:
        broken = replace(nothing, failure=f"the graph cannot be computed: {error}")
        return replace(proofs, loading=loading, outputs=broken, pixels=shown)
    comparison = replace(comparison, has_tables=computed.table is not None)
    cause = None
    if computed.differs:
        whole = proofs.exact is None or proofs.exact.passed
        cause = diagnosed(case, comparison, values, computed, proofs, rounding=0 if whole else ROUNDED)
        cause = replace(cause, cause=cause.cause and cause.cause.replace("the folder", "the graph"))
    found = _beside(beside, runner, values, computed)
    return replace(proofs, loading=loading, outputs=computed, pixels=shown, diagnosis=cause, exported=found)


def _runner(exported: Exported, case: Case, contents: Contents, cast: np.dtype[np.generic] | None) -> GraphRunner:
    from dinoport.proofs.weights import Weights, floats

    architecture, export = case.source.model.architecture, exported.export
    state = Weights(floats(case.source.model.tensors), cast, contents.unrounded)
    order, module = module_order(case.source.model.tensors)
    held = {**contents.found, **{name: fold.parts for name, fold in contents.folded.items()}}
    modules = {name: {module[part] for part in parts if part in module} for name, parts in held.items()}
    placed = {name: next(iter(found)) for name, found in modules.items() if len(found) == 1}
    code = architecture.network.code
    table_of = None
    if architecture.positions is not None:

        def table_of(images: Any, embedding: Any) -> Any:
            return code.positions_within(state, architecture, images, embedding)

    picture = export.graph.inputs[0] if export.graph.inputs else None
    return GraphRunner(
        export=export,
        architecture=architecture,
        ends=ends_of_blocks(export.graph, placed, order),
        meant={name: fold.values for name, fold in contents.folded.items()},
        kept=frozenset(contents.found),
        rounding=cast is None,
        table_of=table_of,
        runtime=runtime_of(exported.path, picture.element_type) if picture else None,
        healing=Healing(head_widths(architecture)),
    )


def head_widths(architecture: Any) -> frozenset[int]:
    """The widths that a head may have, with a wrong number of heads too; none without attention."""
    width = architecture.width if hasattr(architecture, "heads") else 0
    return frozenset(width // heads for heads in range(1, MAX_HEADS + 1) if width and width % heads == 0)


def _cast(contents: Contents, constants: Mapping[str, TensorRef]) -> np.dtype[np.generic] | None:
    """The dtype that the file's weights were rounded to, if they were."""
    if not contents.rounded:
        return None
    bytes_of: dict[str, int] = {}
    for name in contents.found:
        if name in constants:
            dtype = constants[name].dtype.name
            bytes_of[dtype] = bytes_of.get(dtype, 0) + constants[name].size
    return FLOAT_DTYPES[max(bytes_of, key=lambda name: bytes_of[name])] if bytes_of else None


def _compared(
    runner: GraphRunner, comparison: Comparison, values: Array, name: str, sizes: Sizes
) -> tuple[OutputsProof, Array]:
    """The outputs at the graph's own size; at that of a table in it, where it claims a size that it cannot compute."""
    from dinoport.proofs import outputs

    architecture, claimed = comparison.architecture, values.shape[-2:]

    def proof_on(values: Array, name: str, others: tuple[Size, ...]) -> OutputsProof:
        tables = runner.table_of is not None and values.shape[-2:] != (architecture.image_size,) * 2
        return outputs.prove(replace(comparison, has_tables=tables), values, name, others)

    try:
        return proof_on(values, name, sizes.others), values
    except BrokenGraphError as error:
        picture = runner.export.graph.inputs[0]
        free = picture.sizes is not None and all(isinstance(side, str) for side in picture.sizes[2:])
        tried: list[tuple[OutputsProof, Array]] = []
        for size in sizes_of_tables(runner.export.graph.constants, architecture) if free else ():
            noise = np.repeat(noise_of(architecture.channels, size), len(values), axis=0)
            with suppress(BrokenGraphError):
                found = proof_on(noise, "noise", ())
                tried.append((replace(found, uncomputed={(claimed[0], claimed[1]): str(error)}), noise))
                if not found.differs:
                    break
        if not tried:
            raise
        return next((each for each in tried if not each[0].differs), tried[0])


def _beside(found: ExportedProof, runner: GraphRunner, values: Array, computed: OutputsProof) -> ExportedProof:
    """What was healed and what it changes, and what the runtime makes of the file."""
    import torch

    from dinoport.proofs.difference import compare, largest

    unhealed = None
    if runner.healing.healed or runner.meant:
        with torch.inference_mode():
            written = runner.as_written(torch.from_numpy(values).double())
        unhealed = largest(compare(runner.first, written.outputs))
    runtime: Runtime | None = runner.runtime
    unshown = None
    if runtime is None:
        unshown = "onnxruntime is not installed"
    elif runtime.failure:
        unshown = f"ONNX Runtime {runtime.version}: {runtime.failure}"
    single = largest(computed.float32) if computed.float32 else None
    return replace(
        found,
        healed=dict(runner.healing.healed),
        unhealed=unhealed,
        runtime=f"ONNX Runtime {runtime.version}" if runtime else None,
        runtime_difference=single,
        runtime_unshown=unshown,
        uncompared=tuple(runner.uncompared),
        rounds=runner.export.graph.inputs[0].element_type in (10, 16),
    )
