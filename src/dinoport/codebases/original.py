"""A model under the names of the codebase that trains it: one torch file, which that codebase loads."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dinoport.codebases.catalogue import naming_of
from dinoport.codebases.codebase import canonical_rules
from dinoport.codebases.target import Order, Target
from dinoport.errors import SettingError
from dinoport.files.disk_errors import disk_errors
from dinoport.files.output_file import WrittenFile
from dinoport.formats.torch.writer import write_torch_file
from dinoport.formats.transformers_folder import ORIGINAL_FILE
from dinoport.mapping.plan import Plan
from dinoport.model import Model
from dinoport.request import Request

HAS_CARD = False

MADE = "made for the original's code, which loads strictly: the folder has lost this norm, which evaluation never uses"


def refuse_unheld(request: Request, names: Iterable[str], place: str) -> None:
    """Raise SettingError for fields of a request that this place has no room for."""
    if unheld := [name for name in names if getattr(request, name) is not None]:
        raise SettingError(f"`{unheld[0]}` has no place in {place}", found=", ".join(unheld), next_step="leave it out")


def target_of(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """The file of a model. Raises SettingError for a request that such a file has no place for."""
    refuse_unheld(request, ("image_size", "labels", "image_mean", "image_std"), "a file of the original's")
    architecture, own = model.architecture, model.classifier or (*model.family.classifiers, "classifier")[0]
    naming = naming_of(model.family.name)
    written = naming.written if naming else canonical_rules
    complete, hub_file = (getattr(naming and naming.code, name, None) for name in ("completed", "hub_file"))
    whole, made = complete(architecture, model.lost, MADE) if complete else (architecture, ())
    return Target(
        form=model.title,
        title=str(model.family),
        rules=(*written(architecture.tensors(), own if architecture.classifier else None), *made),
        hub_entry=hub_file(whole) if hub_file else None,
        image_size=architecture.image_size,
        channels=architecture.channels,
        classifies=architecture.classifier is not None,
    )


def documents(target: Target, plan: Plan, lost: Sequence[str], licence: str | None) -> dict[str, dict[str, object]]:
    """A state dict is all that an original's code loads."""
    return {}


def write(target: Target, order: Order) -> list[WrittenFile]:
    """Write the weights into one file, however large. Raises FolderError where the disk refuses.

    One that torch.hub takes has the beginning of its hash in its name, as torch.hub wants it.
    """
    file = write_torch_file(order.folder / ORIGINAL_FILE, order.steps, on_bytes=order.on_bytes)
    if target.hub_entry is None:
        return [file]
    name = f"{target.hub_entry}-{file.sha256[:8]}.pth"
    with disk_errors(order.folder / name):
        (order.folder / ORIGINAL_FILE).rename(order.folder / name)
    return [replace(file, name=name)]


def runner(folder: Path, form: str, *, pooler: bool | None, without: Collection[str] = ()) -> None:
    """No class of a library runs it: the network's own forward pass does."""


def classes(target: Target) -> tuple[str, ...]:
    """None: see `runner`."""
    return ()


def usage(target: Target, folder: str) -> tuple[str, ...]:
    """Lines of Python that load the file."""
    name = json.dumps(str(Path(folder) / (target.file or ORIGINAL_FILE)), ensure_ascii=False)
    if target.hub_entry and target.file:
        checkout = f'CHECKOUT = "…"  # of {_codebase(target)}'
        return (
            "import torch",
            checkout,
            f'model = torch.hub.load(CHECKOUT, "{target.hub_entry}", source="local", weights={name})',
        )
    return (
        "import torch",
        f"weights = torch.load({name}, weights_only=True)",
        f"model.load_state_dict(weights)  # a model of {_codebase(target) or 'the code that it came from'}",
    )


def _codebase(target: Target) -> str:
    """The repository in a family's title; empty where nothing tells whose the model is."""
    named = target.title.rpartition("(")[2].rstrip(")")
    return named if "/" in named else ""
