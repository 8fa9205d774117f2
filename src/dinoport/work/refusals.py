"""Options that mean nothing for this source or this target, and sources that are the target's own already."""

from collections.abc import Collection, Sequence
from itertools import chain

from dinoport.codebases.catalogue import NAMINGS, RELATIVES
from dinoport.codebases.peft.low_rank_parts import strength
from dinoport.codebases.transformers.forms import CLASSES, OF_LAYERS, is_known_class, is_read_as_another
from dinoport.errors import SettingError, UsageError
from dinoport.finding.models import Provenance
from dinoport.formats.checkpoint import Checkpoint
from dinoport.model import FIELDS, Model
from dinoport.request import TARGETS, Request
from dinoport.shown.calls import FOLDER, runnable

CHANGES = ("dtype", "image_size", "class_name")
"""What can be asked of a folder that is of the target's codebase already."""

OF_THE_SOURCE = (
    *("checkpoint_key", "prefix", "head", "head_name"),
    *("num_heads", "decoder_heads", "layer_norm_eps", "interpolation", "lora_alpha", "base"),
)
"""What config.json says of a folder, or what a folder has not."""


OF_TRANSFORMERS = {
    "max_shard_bytes": "no other target is read from several files by an index",
    "pooler": "only the classes of Transformers have a pooler",
    "class_name": "it names a class of Transformers",
}
"""Options that no other target has a use for, and why."""


PARTS = {
    "num_heads": "attention heads",
    "decoder_heads": "a decoder in the class that is written",
    "layer_norm_eps": "a LayerNorm",
    "interpolation": "a table of positions that could be resampled",
    "lora_alpha": "LoRA adapters in a state dict that does not say how strong they are",
}
"""Options that are about a part of the model, and that part."""


def refuse_together(request: Request) -> None:
    """Raise UsageError for what no source makes right: options that exclude each other, and names that nobody has."""
    asked = request.to_dict()
    if request.checkpoint_key is not None and request.prefix is not None:
        raise UsageError(
            "`checkpoint_key` and `prefix` both say where the model lies",
            next_step="give one of the two",
        )
    if request.head_name is not None and request.head is None:
        raise UsageError(
            "`head_name` says which layer of the file that `head` gives",
            next_step="add `head=FILE`, or leave `head_name` out",
        )
    if request.to != "transformers" and (unlike := [name for name in OF_TRANSFORMERS if name in asked]):
        raise UsageError(
            f"`{unlike[0]}` goes with a conversion to Transformers, not `to={request.to!r}`",
            cause=OF_TRANSFORMERS[unlike[0]],
            next_step=f"leave `{unlike[0]}` out",
        )
    if request.to != "training" and (of_training := [name for name in ("config", "ranks") if name in asked]):
        raise UsageError(
            f"`{of_training[0]}` goes with `to='training'`",
            found=f"`to={request.to!r}`",
            next_step=f"add `to='training'`, or leave `{of_training[0]}` out",
        )
    for name, known, what in (
        ("codebase", codebases(), "a codebase"),
        ("class_name", [*CLASSES, *OF_LAYERS], "a class"),
    ):
        if (given := getattr(request, name)) not in (None, *known):
            raise unknown_name(name, given, known, what)


def codebases() -> list[str]:
    """The names that `codebase` takes."""
    return list(dict.fromkeys([*(naming.family for naming in NAMINGS if naming.family), *chain(*RELATIVES.values())]))


def unknown_name(field: str, given: str, known: Sequence[str], what: str) -> UsageError:
    """The error for a name that is nobody's, with the one that is nearest to it."""
    from difflib import get_close_matches

    close = get_close_matches(given, known, n=1)
    return UsageError(
        f"{given} is not {what} that dinoport knows",
        expected=", ".join(known),
        found=f"`{field}={given}`",
        did_you_mean=f"`{field}={close[0]!r}`" if close else None,
        next_step=f"leave `{field}` out",
    )


def refuse_unused(checkpoint: Checkpoint, request: Request, claimed: Collection[str] = ()) -> None:
    """Raise SettingError for options that this source leaves undone."""
    asked = request.to_dict()
    of_folder = is_known_class(checkpoint.config or {})
    if request.base is not None and checkpoint.adapter is None and not of_folder:
        raise SettingError(
            "`base` goes with an adapter of PEFT's: a folder with adapter_config.json",
            found=f"a {checkpoint.format}",
            next_step="leave `base` out, or give the adapter's folder",
        )
    names = (*OF_THE_SOURCE, "labels", "image_mean", "image_std", "pooler", "image_size")
    untaken = {"original": names, "training": OF_THE_SOURCE}.get(request.to, OF_THE_SOURCE)
    unused = [name for name in untaken if name in asked and name not in claimed]
    if of_folder and unused:
        step = "leave them out; convert the original again for another folder"
        raise SettingError(
            "the way back follows from the folder alone, and takes no options of a conversion"
            if request.to == "original"
            else "a folder of Transformers says itself what these options say of a checkpoint",
            found=", ".join(f"`{name}`" for name in unused),
            next_step="give the original's checkpoint as SOURCE: a head goes with that alone" if request.head else step,
        )


def refuse_partless(model: Model, provenance: Provenance, request: Request, claimed: Collection[str] = ()) -> None:
    """Raise SettingError for an option about a part that the model does not have."""
    settled = {FIELDS.get(setting.name) for setting in model.settings}
    if request.lora_alpha is not None and any(strength(request.lora_alpha) in note for note in provenance.notes):
        settled.add("lora_alpha")
    for name, part in PARTS.items():
        if getattr(request, name) is not None and name not in settled and name not in claimed:
            raise SettingError(
                f"`{name}` is of no use for {model.where}",
                expected=part,
                found=f"a {model.title}",
                next_step=f"leave `{name}` out",
            )


def other_targets(where: str) -> tuple[str, ...]:
    """The calls that make something else of a folder of Transformers."""
    return tuple(runnable("convert", where, FOLDER, to=to) for to in TARGETS if to != "transformers")


def refuse_done(checkpoint: Checkpoint, model: Model, provenance: Provenance, request: Request) -> None:
    """Raise SettingError for a source that is the target's own already, where no change is asked for."""
    changes = any(getattr(request, name) is not None for name in CHANGES)
    if is_known_class(checkpoint.config or {}):
        if request.to == "transformers" and not changes and not is_read_as_another(checkpoint.config or {}):
            raise SettingError(
                f"{checkpoint.where} is a folder of Transformers already",
                expected="a checkpoint of an original codebase, or `dtype`, `image_size` or `class_name`",
                found="config.json and weights under the names of Transformers",
                next_step=other_targets(checkpoint.where),
            )
        return
    bare = not provenance.notes and not provenance.others and not model.decoding.aside and request.head is None
    if (
        request.to == "original"
        and not changes
        and bare
        and all(name == span.tensor.name for name, step in model.decoding.steps.items() for span in step.spans)
    ):
        raise SettingError(
            f"{checkpoint.where} has the original's names already",
            expected="a folder of Transformers, a training checkpoint, or another codebase's names",
            found=f"a {checkpoint.format} of {model.title}",
            next_step="leave `to='original'` out",
        )
