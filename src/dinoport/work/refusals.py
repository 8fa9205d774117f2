"""Options that mean nothing for this source or this target, and sources that are the target's own already."""

from __future__ import annotations

from collections.abc import Collection

from dinoport.codebases.peft.low_rank_parts import strength
from dinoport.codebases.transformers.forms import hands_out_layers, is_known_class
from dinoport.errors import SettingError, UsageError
from dinoport.finding.models import Provenance
from dinoport.formats.checkpoint import Checkpoint
from dinoport.model import FIELDS, Model
from dinoport.request import Request
from dinoport.shown.packages import runnable
from dinoport.shown.text import as_word

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


def refuse_unused(checkpoint: Checkpoint, request: Request, claimed: Collection[str] = ()) -> None:
    """Raise UsageError for options that a folder of Transformers leaves undone."""
    asked = request.to_dict()
    of_folder = is_known_class(checkpoint.config or {})
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
    if request.base is not None and checkpoint.adapter is None and not of_folder:
        raise UsageError(
            "`base` goes with an adapter of PEFT's: a folder with adapter_config.json",
            found=f"a {checkpoint.format}",
            next_step="leave `base` out, or give the adapter's folder",
        )
    names = (*OF_THE_SOURCE, "labels", "image_mean", "image_std", "pooler", "image_size")
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
    untaken = {"original": names, "training": OF_THE_SOURCE}.get(request.to, OF_THE_SOURCE)
    unused = {name: asked[name] for name in untaken if name in asked}
    if of_folder and unused and unused.keys() <= {*claimed}:  # nobody gave them
        raise UsageError(
            f"{checkpoint.where}, given as SOURCE, is a converted folder, and FOLDER was made from a checkpoint",
            found=f"{', '.join(f'`{name}`' for name in unused)}, which FOLDER's dinoport.json says of its source",
            cause="SOURCE and FOLDER are swapped",
            next_step=f"give the checkpoint first, then the folder: {runnable('dinoport verify SOURCE FOLDER')}",
        )
    if of_folder and unused:
        raise UsageError(
            "the way back follows from the folder alone, and takes no options of a conversion"
            if request.to == "original"
            else "a folder of Transformers says itself what these options say of a checkpoint",
            found=", ".join(f"`{name}`" for name in unused),
            next_step="leave them out; convert the original again for another folder",
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


def refuse_done(checkpoint: Checkpoint, model: Model, provenance: Provenance, request: Request) -> None:
    """Raise SettingError for a source that is the target's own already, where no change is asked for."""
    changes = any(getattr(request, name) is not None for name in CHANGES)
    if is_known_class(checkpoint.config or {}):
        if request.to == "transformers" and not changes and not hands_out_layers(checkpoint.config or {}):
            command = f"dinoport convert {as_word(checkpoint.where)} FOLDER --to"
            raise SettingError(
                f"{checkpoint.where} is a folder of Transformers already",
                expected="a checkpoint of an original codebase, or `dtype`, `image_size` or `class_name`",
                found="config.json and weights under the names of Transformers",
                next_step=tuple(runnable(f"{command} {to}") for to in ("original", "timm", "training")),
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
