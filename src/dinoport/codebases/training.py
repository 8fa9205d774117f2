"""A start for training as a target: one file in the form that the original's own trainer loads, and a config beside it.

Whose trainer it is follows from the family of the model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from dinoport import __version__
from dinoport.codebases.original import HAS_CARD as HAS_CARD
from dinoport.codebases.original import classes as classes
from dinoport.codebases.original import documents as documents  # the config is YAML, as its trainer reads it
from dinoport.codebases.original import refuse_unheld
from dinoport.codebases.original import runner as runner
from dinoport.codebases.run import shown
from dinoport.codebases.running import LoadingProof
from dinoport.codebases.start import MAX_SHOWN, Start, loaded, shapes_in
from dinoport.codebases.target import Order, Target, baked_from, input_size, position_rule
from dinoport.errors import CheckpointError, SettingError, UnknownModelError
from dinoport.files.output_file import WrittenFile
from dinoport.formats.run_config import START, read_run_config
from dinoport.formats.torch.writer import write_torch_file
from dinoport.model import Model
from dinoport.request import Request, option_of
from dinoport.shown.text import counted, with_article

TRAINERS = {
    **dict.fromkeys(("dino", "vit", "dino_resnet", "resnet"), "dino"),
    **dict.fromkeys(("dinov2", "xray_dino", "cell_dino"), "dinov2"),
    **dict.fromkeys(("dinov3", "dinov3_convnext"), "dinov3"),
}
"""Whose trainer each family is given to; a model of an unknown codebase to DINO's."""


def target_of(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """The start of a model.

    Raises UnknownModelError where no trainer is known, SettingError where a request or a config does not fit.
    """
    refuse_unheld(request, ("labels", "image_mean", "image_std"), "a start for training")
    codebase = TRAINERS.get(model.family.name)
    if codebase is None:
        raise UnknownModelError(
            f"no trainer is known for {with_article(model.family.title)}",
            expected="a model of facebookresearch/dino, dinov2 or dinov3",
            found=str(model.family),
            next_step="`to='original'` writes it under the names of the code that it came from",
        )
    architecture: Any = model.architecture
    size = architecture.image_size
    if architecture.positions:
        size = input_size(request, size, architecture.cell)
    elif request.image_size is not None:
        raise SettingError(
            "`image_size` resamples a table of positions, and this model has none",
            found=f"image_size={request.image_size}",
            next_step="leave it out: the trainer takes pictures of any size",
        )
    config = read_run_config(request.config) if request.config else None
    start: Start = import_module(f"dinoport.codebases.{codebase}.start").start(model, request, size, config)
    start = replace(start, warnings=(*start.warnings, *_unknown(model, start.trainer)))
    own = architecture.positions
    rules = (
        position_rule(own, architecture, size) if own and rule.source and rule.source.template == own else rule
        for rule in start.rules
    )
    return Target(
        form=f"a start for {start.trainer.rpartition(' of ')[2]}",
        title=f"a start for {start.trainer}",
        rules=tuple(rules),
        image_size=size,
        channels=architecture.channels,
        baked_from=baked_from(size, architecture.image_size) if own else None,
        interpolation=architecture.interpolation if own else None,
        start=start,
    )


def _unknown(model: Model, trainer: str) -> Iterator[str]:
    """A word where nothing tells whose the model is, and the trainer takes its own values for granted."""
    if model.family.values:
        heads = getattr(model.architecture, "heads", None)
        whose, option = model.family.values, option_of("codebase")
        yield (
            f"nothing tells whose this ViT is: it is read as {whose}'s, and {trainer} trains on with "
            f"{counted(heads or 0, 'head')}, its own eps and its own transforms, whatever it was trained with; "
            f"{option} dino says that it is one"
        )


def write(target: Target, order: Order) -> list[WrittenFile]:
    """Write the file, and the config where the trainer has one. Raises FolderError where the disk refuses."""
    from dinoport.files.json_file import write_text

    start = _start_of(target)
    if start.file:
        weights = [write_torch_file(order.folder / start.file, order.steps, keys=start.keys, on_bytes=order.on_bytes)]
    else:
        from dinoport.formats.distributed.writer import write_distributed

        names = {name: keys[0][0] for name, keys in start.keys.items()}
        weights = write_distributed(order.folder, order.steps, names, on_bytes=order.on_bytes)
    return [*weights, *([write_text(order.folder / START, config_text(start))] if start.config else [])]


def _start_of(target: Target) -> Start:
    """The start that each target of this module has. Raises TypeError for another module's."""
    if target.start is None:
        raise TypeError(f"{target.form} is not a start for training")
    return target.start


def config_text(start: Start) -> str:
    """The options of a start as a config of its trainer, in YAML."""
    import yaml

    nested: dict[str, dict[str, object]] = {}
    for name, value in start.options.items():
        group, _, own = name.partition(".")
        nested.setdefault(group, {})[own] = value
    head = f"# What has to agree with the weights, for {start.trainer}. Options of your own go beside it.\n"
    return f"{head}{yaml.safe_dump(nested, sort_keys=False)}"


def loads(start: Start, tree: object, beside: Path) -> LoadingProof:
    """What the trainer makes of a file that was read, and of the config beside it."""
    proof = loaded(start, shapes_in(tree), __version__)
    wrong = [*_misfits(start, beside)] if start.config else []
    return replace(proof, failure="; ".join(wrong)) if wrong else proof


def _misfits(start: Start, path: Path) -> Iterator[str]:
    try:
        config = read_run_config(path)
    except CheckpointError as error:
        yield f"{START}: {error.found or error.what}"
        return
    for name, value in start.options.items():
        found = config.value(name, None)
        if found != value or isinstance(found, bool) != isinstance(value, bool):
            yield f"{START} says {name} = {shown(found)[:MAX_SHOWN]}, and the weights need {shown(value)}"


def usage(target: Target, folder: str) -> tuple[str, ...]:
    """The command that trains on from the folder."""
    from dinoport.shown.text import as_word

    return tuple(line.replace("FOLDER", as_word(str(Path(folder).absolute()))) for line in _start_of(target).use)
