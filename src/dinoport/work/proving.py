"""From a conversion and its target to the proofs: both are sides of a case, which is proven as it is written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dinoport.codebases.catalogue import naming_of
from dinoport.codebases.codebase import HubEntry, canonical_rules, classifier_of
from dinoport.codebases.names import Names
from dinoport.codebases.record import record_of
from dinoport.codebases.start import Start, tensors_in
from dinoport.codebases.training import loads
from dinoport.codebases.transformers.forms import is_known_class, table_of
from dinoport.codebases.transformers.poolers import is_pooler, without_own_pooler
from dinoport.errors import UnknownModelError
from dinoport.files.byte_sources import LocalFile
from dinoport.files.memory import total_bytes
from dinoport.files.output_file import WrittenFile
from dinoport.finding.models import model_in
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_bytes, open_checkpoint
from dinoport.formats.pinning import SourceFile, pinning
from dinoport.formats.run_config import START
from dinoport.formats.transformers_folder import PROCESSOR
from dinoport.formats.values import byte_ranges
from dinoport.mapping.claims import claims_of_source
from dinoport.mapping.decoding import Decoding, decode
from dinoport.mapping.plan import carried_whole, computed, sources
from dinoport.mapping.rule import Rule
from dinoport.model import Model, Setting, Wishes
from dinoport.progress import Progress
from dinoport.proofs.aside import importing
from dinoport.proofs.case import Case, Side
from dinoport.proofs.compared import Compared
from dinoport.proofs.exact import compare_whole
from dinoport.proofs.genuine import entry_of
from dinoport.proofs.prove import prove
from dinoport.proofs.verdict import Proofs
from dinoport.request import Checks
from dinoport.tensor import TensorRef
from dinoport.work.conversion import Conversion
from dinoport.work.stated import computing_as


def written_and_proven(
    conversion: Conversion,
    workspace: Path,
    checks: Checks,
    on_progress: Progress,
    write: Callable[[Callable[[Path], None]], list[WrittenFile]],
) -> tuple[list[WrittenFile], tuple[SourceFile, ...], Proofs]:
    """Let the target be written, and prove it. Each of several weight files is compared while it is still in memory."""
    known: dict[str, Compared] = {}
    entry = entry_of(conversion.model, conversion.target.image_size, checks)
    with pinned_sources(conversion) as pinned, ExitStack() as stack:
        if checks.level == "full":
            importing(conversion.writing.classes(conversion.target))
        source = stack.enter_context(source_side(conversion, checks))
        files = write(lambda shard: known.update(_compared(conversion, shard, workspace)))
        start = conversion.target.start
        whole = conversion.writing.HAS_CARD or (start is not None and not start.file)
        place = workspace if whole else workspace / files[0].name
        written = stack.enter_context(open_checkpoint(place))
        case = case_of(conversion, source, decoded_target(conversion, written, workspace), entry)
        proofs = prove(replace(case, known=known), checks, on_progress)
        return files, pinned(), proofs


def _compared(conversion: Conversion, shard: Path, workspace: Path) -> dict[str, Compared]:
    with open_bytes(LocalFile(shard)) as written:
        part = decoded_target(conversion, replace(written, config=conversion.documents["config.json"]), workspace)
        anew = {conversion.model.architecture.positions or "": conversion.baked} if conversion.baked else {}
        source, target = conversion.model.decoding, part.model.decoding
        found = compare_whole(source, target, cast=conversion.cast, anew=anew)
        if not _stays_in_memory(conversion):
            for side in (source, target):
                for tensor in sources([side.steps[name] for name in found]).values():
                    for held, begin, end in byte_ranges(tensor.values):
                        held.forget(begin, end)
        return found


def _stays_in_memory(conversion: Conversion) -> bool:
    """Whether the system can keep both files, so that the passes find them there.

    Where it cannot, bytes that were read twice keep those of the next file of weights from staying for a moment.
    """
    memory_bytes = total_bytes()
    return memory_bytes is None or 2 * conversion.checkpoint.size_bytes <= memory_bytes


def pinned_sources(conversion: Conversion) -> AbstractContextManager[Callable[[], tuple[SourceFile, ...]]]:
    """Hash what the exact proof does not compare."""
    return pinning(conversion.sources, carried_whole(conversion.plan.steps))


HAVE_RUNNERS = ("transformers", "timm")
"""Targets that a class runs: the source's own forward pass is the other side."""


@contextmanager
def source_side(conversion: Conversion, checks: Checks) -> Iterator[Side]:
    """The source as a side of the proof: one that a class of its own loads is run by that class.

    A folder of Transformers is on disk for as long as its class runs; any other source needs no place. Where weights
    are rounded or the table is resampled on the way, the network's own forward pass runs both sides: no class resamples
    as the original does.
    """
    config, model = conversion.checkpoint.config or {}, conversion.model
    changed = conversion.request.to in HAVE_RUNNERS or conversion.baked or conversion.cast
    if checks.level != "full" or not is_known_class(config) or changed:
        yield Side(model)
        return
    from dinoport.codebases.transformers.running import ClassRunner
    from dinoport.formats.remote.opening import on_disk
    from dinoport.proofs.known_folder import known_folder

    with ExitStack() as files:
        local = conversion.located.path or files.enter_context(on_disk(conversion.checkpoint))
        local = files.enter_context(known_folder(local, config, conversion.checkpoint.tensors))
        stored, aside = ([*filter(is_pooler, names)] for names in (model.decoding.stored, model.decoding.beside))
        # Self-supervised training has no classifier, and no original a pooler: what they give has no other side.
        without = {"logits"} if conversion.target.start else set()
        without |= {"pooled"} if aside else set()
        yield Side(model, ClassRunner(local, model.title, pooler=bool(stored or aside), without=without))


def case_of(conversion: Conversion, source: Side, target: Side, genuine: HubEntry | None = None) -> Case:
    """A source, and what was or should have been made of it."""
    others, anew = conversion.provenance.others or {}, conversion.target.anew
    return Case(
        source=replace(source, model=_with(source.model, anew)),
        as_stored={name: source.model.tensors[name] for name in anew},
        target=target,
        image_size=conversion.target.image_size,
        preprocessing=conversion.target.preprocessing,
        cast=conversion.cast,
        baked=conversion.baked,
        others={label: decode(tensors, source.model.decoding.rules).tensors for label, tensors in others.items()},
        genuine=genuine,
    )


def _with(model: Model, anew: Mapping[str, TensorRef]) -> Model:
    """The same model, with these tensors in the place of its own: they compute the same."""
    if not anew:
        return model
    steps = {**model.decoding.steps, **{name: computed(tensor) for name, tensor in anew.items()}}
    return replace(model, decoding=replace(model.decoding, steps=steps))


def decoded_target(
    conversion: Conversion, written: Checkpoint, folder: Path, stated: Sequence[Setting[Any]] = ()
) -> Side:
    """What was written, read afresh and decoded by its own table, as a side of the proof.

    `stated` is what a file says otherwise than the source: it is run by its own word.
    """
    form, pooler, writing = conversion.target.form, conversion.target.pooler, conversion.writing
    if (start := conversion.target.start) is not None:
        return _start(conversion, start, written, folder)
    if written.config is None:
        model = replace(conversion.model, decoding=_decoded_file(conversion, written), title=conversion.target.title)
        return Side(computing_as(model, stated))
    of_transformers = conversion.request.to == "transformers"
    rules, drops = _table(conversion, written) if of_transformers else (conversion.target.rules, ())
    model = replace(conversion.model, title=form, decoding=decode(written.tensors, rules, drops))
    on_top = tuple(model.decoding.beside)
    runner = writing.runner(folder, form, pooler=True if on_top else pooler, without={"pooled"} if on_top else ())
    there = not of_transformers or written.report is not None or (folder / PROCESSOR).exists()
    processor = folder if conversion.target.channels == 3 and there else None
    return Side(model, runner, processor, writing.processor, on_top=on_top)


def _decoded_file(conversion: Conversion, written: Checkpoint) -> Decoding:
    """A file by the names that it has: the original's, or another codebase's for the same network."""
    naming, tensors = model_in(written)
    own, architecture = conversion.model.tensors, conversion.model.architecture
    if naming is not None and isinstance(naming.code, Names):
        heads, base = (getattr(architecture, name, None) for name in ("heads", "rope_theta"))
        tensors, _ = naming.arranged(tensors)
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        return decode(tensors, naming.rules(shapes, Wishes(num_heads=heads, rope_theta=base)), naming.code.FAMILY.drops)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    family = conversion.model.family
    naming = naming_of(family.name)
    made = [rule for rule in conversion.target.rules if not rule.source and _names(rule) & shapes.keys()]
    held = {name: shape for name, shape in shapes.items() if name not in set().union(*map(_names, made))}
    table = naming.rules(held, Wishes()) if naming else canonical_rules(held, classifier_of(held, family))
    drops = [rule for rule in family.drops if not any(claims_of_source(name, [rule]) for name in own)]
    return decode(tensors, (*table, *made), drops)


def _names(rule: Rule) -> set[str]:
    return {target.template for target in rule.targets if target}


def _start(conversion: Conversion, start: Start, written: Checkpoint, folder: Path) -> Side:
    """A start for training: its table is the one way to name its tensors, wherever in the file they stand."""
    tensors, problems = tensors_in(start, written.tree)
    decoding = decode(tensors, conversion.target.rules)
    decoding = replace(decoding, problems=(*problems, *decoding.problems))
    architecture = conversion.model.architecture
    if conversion.baked:
        architecture = replace(architecture, image_size=conversion.target.image_size)
    model = replace(conversion.model, decoding=decoding, architecture=architecture, title=conversion.target.title)
    beside = (folder if folder.is_dir() else folder.parent) / START
    return Side(model, loads=lambda: loads(start, written.tree, beside))


def has_own_pooler(written: Checkpoint) -> bool:
    """Whether a folder that no conversion wrote has a pooler on top of the model."""
    return bool(_own_table(written)[1])


def _table(conversion: Conversion, written: Checkpoint) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """The table of a folder, by its own config, and what is left aside; by what it should be where that says nothing.

    A folder without a pooler, as was asked for, has nothing that is made for the class.
    """
    rules, drops = _own_table(written)
    made = conversion.target.pooler is not False
    return tuple(rule for rule in rules if rule.source or made) or conversion.target.rules, drops


def _own_table(written: Checkpoint) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """The same by the config alone. A pooler that is not an identity, and that no conversion wrote, is left aside.

    Nothing for a config that describes no model: what is wrong with it is said by itself.
    """
    config = written.config or {}
    with suppress(UnknownModelError):
        if is_known_class(config):
            rules = table_of("", config, written.tensors)[1]
            ours = written.report is not None or record_of(config)
            return (rules, ()) if ours else without_own_pooler(config, written.tensors, rules)
    return (), ()
