"""`verify` of a graph that others exported: whether an ONNX file computes what its source holds."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dinoport.codebases.transformers.forms import class_name_of, is_known_class, own_interpolation
from dinoport.errors import CheckpointError, SettingError, UnknownModelError
from dinoport.exports.graph import Export
from dinoport.exports.reading import read_export
from dinoport.formats.values import announce
from dinoport.mapping.claims import claims_of_source
from dinoport.mapping.operations import Kind
from dinoport.mapping.plan import sources
from dinoport.model import Model
from dinoport.progress import COMPARING, Progress
from dinoport.proofs.case import Case, Side
from dinoport.proofs.exported.lookup import Known
from dinoport.proofs.exported.prove import Exported, all_constants, prove
from dinoport.proofs.verdict import Proofs, Verdict, Word, judge
from dinoport.report.report import Accounting, Line, Report
from dinoport.request import Checks, Request
from dinoport.work.conversion import Conversion
from dinoport.work.prepare import prepare
from dinoport.work.proving import case_of, pinned_sources
from dinoport.work.reporting import report_of, with_hashes


def verify_export(
    source: str | Path, graph: Path, request: Request | None, checks: Checks, on_progress: Progress
) -> Report:
    """Prove an ONNX file against the source that it was, or might have been, exported from.

    Raises SettingError for what cannot be asked of a graph.
    """
    request = request or Request()
    _refuse_unused(request, checks)
    export, written = read_export(graph)
    with written, _prepared(source, request, checks, on_progress) as conversion:
        _refuse_other_size(export, request, conversion.model.architecture.channels)
        _refuse_larger(export, conversion.model)
        announce(sources(conversion.plan.steps).values())
        with pinned_sources(conversion) as pinned:
            on_progress(COMPARING, 0, 0)
            proofs = _proofs(conversion, export, graph, checks)
            told = conversion
            if checks.processor is None:  # no part of a graph prepares pictures
                told = replace(conversion, target=replace(conversion.target, preprocessing=None))
            report = report_of(told, Verdict(Word.PLANNED), proofs, str(graph), (), pinned(), checks)
        conversion.check_unchanged()
        written.check_unchanged()
        assumed = told.assumed(resampled=proofs.at_other_sizes or _resampled(proofs))
        verdict = judge(proofs, assumed, (), conversion.model.family.whose)
        report = replace(
            report,
            verdict=replace(verdict, warnings=conversion.warnings),
            direction="to onnx",
            class_name=f"ONNX graph, opset {export.opset}",
            ends=(conversion.model.title, f"ONNX graph of {export.producer or 'an exporter that gives no name'}"),
            accounting=_accounting(conversion.model, proofs),
            command="",
            usage=(),
        )
        return with_hashes(report, conversion.checkpoint, written) if checks.pictures else report


def _refuse_unused(request: Request, checks: Checks) -> None:
    reasons = {
        "dtype": "the file itself says which dtype its weights have",
        "reference": "a graph is compared with the network's own forward pass",
    }
    for name, why in reasons.items():
        if getattr(request, name, None) is not None or getattr(checks, name, None) is not None:
            raise SettingError(f"`{name}` is not for an ONNX graph", cause=why, next_step=f"leave `{name}` out")
    for name in ("image_mean", "image_std"):
        if getattr(request, name) is not None and checks.processor is None:
            raise SettingError(
                f"`{name}` is not for an ONNX graph without its image processor",
                cause="no graph prepares pictures",
                next_step=f"add `processor=FOLDER`, or leave `{name}` out",
            )


def _refuse_other_size(export: Export, request: Request, channels: int) -> None:
    """Raise SettingError for a size of pictures that the graph does not take: it would not be looked at.

    Of pictures whose channels do not come before their sides nothing is said here.
    """
    sizes = next((each.sizes or () for each in export.graph.inputs), ())
    sides = [side for side in sizes[2:] if isinstance(side, int) and sizes[1] in (3, channels)]
    if request.image_size is not None and any(side != request.image_size for side in sides):
        raise SettingError(
            f"`image_size={request.image_size}` does not fit this graph, which takes pictures of one size",
            where=str(export.where),
            found="×".join(map(str, sides)) + " pixels",
            next_step="leave `image_size` out, or give the graph that was exported for this size",
        )


TIMES_THE_WEIGHTS, TABLES = 4, 1 << 28
"""How many numbers a graph may hold: each weight several times, and tables of any size."""


def _refuse_larger(export: Export, model: Model) -> None:
    """Raise CheckpointError for a graph with far more numbers than the original: none of them is read."""
    held = sum(tensor.size for tensor in all_constants(export).values())
    own = sum(tensor.size for tensor in model.tensors.values())
    if held > TIMES_THE_WEIGHTS * own + TABLES:
        raise CheckpointError(
            f"{export.where} is not a graph of {model.where}: it is far larger",
            expected=f"about {own} numbers, as the original has",
            found=f"{held} numbers",
            cause="a graph of another model, or one that was made to mislead",
            next_step="give the graph that was exported from this source",
        )


def _prepared(source: str | Path, request: Request, checks: Checks, on_progress: Progress) -> Conversion:
    """The source, planned for Transformers, whose forms of the weights exporters write; else for the original's own."""
    weigh = checks.level == "full"
    try:
        return prepare(source, replace(request, to="transformers"), on_progress, again=True, weigh_heads=weigh)
    except UnknownModelError:  # no class of Transformers: then the original's own code was exported
        return prepare(source, replace(request, to="original"), on_progress, again=True, weigh_heads=weigh)


def _proofs(conversion: Conversion, export: Export, graph: Path, checks: Checks) -> Proofs:
    model = conversion.model
    config = conversion.checkpoint.config or {}
    rule = own_interpolation(class_name_of(config)) if is_known_class(config) else None
    if rule is not None and model.architecture.positions:  # of a folder, its class says how a table is resampled
        model = replace(model, architecture=replace(model.architecture, interpolation=rule))
    side = Side(model)
    exported = Exported(
        export=export,
        path=graph,
        known=tuple(_forms(conversion)),
        preprocessing=conversion.target.preprocessing or model.preprocessing,
        processor=checks.processor,
    )
    case: Case = replace(case_of(conversion, side, side), cast=None, baked=None)
    return prove(exported, case, checks)


def _forms(conversion: Conversion) -> Iterator[Known]:
    """The original's tensors: under canonical names, as the source has them, and as Transformers does.

    Nothing is computed with a second name: its values do not count as weights.
    """
    decoding, rules = conversion.model.decoding, conversion.target.rules
    for name, tensor in decoding.tensors.items():
        if not any(claim.rule.alias for claim in claims_of_source(name, rules)):
            yield Known(tensor.renamed(name), (name,))
            yield from (Known(span.tensor, (name,)) for span in decoding.steps[name].spans)
    for step in conversion.plan.steps:
        parts = (
            tuple(dict.fromkeys(span.tensor.name for span in step.spans)) if step.kind is not Kind.SYNTHESISED else ()
        )
        yield Known(step.tensor(), parts)


def _resampled(proofs: Proofs) -> bool:
    return bool(proofs.outputs and proofs.outputs.table is not None)


def _accounting(model: Model, proofs: Proofs) -> Accounting:
    """Every tensor's fate, counted in the file's tensors."""
    exact, found = proofs.exact, proofs.exported
    counts = {Kind.BIJECTIVE.value: exact.found, Kind.RECOMPUTED.value: exact.recomputed} if exact else {}
    counts |= {Kind.SYNTHESISED.value: 0, Kind.DROPPED.value: exact.dropped if exact else 0}
    dropped: list[Line] = []
    if found and found.missing:
        words = "not in the file as it is: not used, or computed into others, which outputs alone show"
        dropped.append(Line(", ".join(found.missing), exact.dropped if exact else 0, words))
    size = exact.compared_bytes if exact else 0
    return Accounting(counts, size, (), (), tuple(dropped), ())
