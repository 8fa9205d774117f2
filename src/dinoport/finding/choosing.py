"""Which of a checkpoint's state dicts is converted, and by whose names it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dinoport.codebases import catalogue
from dinoport.codebases.codebase import Naming
from dinoport.codebases.dino.signs import is_xcit
from dinoport.errors import SettingError, UnknownModelError
from dinoport.finding.unwrap import StateDict
from dinoport.mapping.folding import fold_names
from dinoport.tensor import Shape


@dataclass(frozen=True)
class Found:
    """The state dict that will be converted, how its tensors are named, and the others of the file."""

    naming: Naming
    state: StateDict
    others: tuple[StateDict, ...]


def choose(where: str, candidates: Sequence[StateDict], key: str | None) -> Found:
    """Choose the state dict to convert: the one under `key`, else the preferred one whose names are known.

    Raises SettingError for a key that the file does not have, UnknownModelError where no names are known.
    """
    chosen = [state for state in candidates if key in (state.branch, state.path)] if key else list(candidates)
    if not chosen:
        keys = [repr(state.label) for state in candidates if state.branch or state.path]
        raise SettingError(
            f"{where} has nothing under the key {key!r}",
            expected=f"one of {', '.join(keys)}" if keys else "no key: the file is a bare state dict",
            found=f"`checkpoint_key={key}`",
            next_step=f"{'give one of these, or ' if keys else ''}leave `checkpoint_key` out",
        )
    for state in chosen:
        shapes = {name: tensor.shape for name, tensor in state.tensors.items()}
        _refuse_known(where, shapes)
        naming = next((naming for naming in catalogue.NAMINGS if naming.recognises(shapes)), None)
        if naming is not None:
            return Found(naming, state, tuple(other for other in candidates if other is not state))
    names = list(chosen[0].tensors)
    families = [str(naming.code.FAMILY) for naming in catalogue.NAMINGS if naming.family]
    raise UnknownModelError(
        f"{where} is not a model of the DINO family",
        where=chosen[0].label,
        expected="; ".join(families),
        found=f"{len(names)} tensors: " + ", ".join(fold_names(names)[:8]) + (" …" if len(names) > 8 else ""),
        cause="another model, a head without its backbone, or names that another codebase changed",
        next_step=_advice(where, names),
    )


def _advice(where: str, names: Sequence[str]) -> str:
    """What to do with a file of these tensors, whose names are not known."""
    if "embeddings.cls_token" in names:
        folder = where.rpartition("/")[0] or "."
        return f"give the folder, with its config.json: dinoport convert {folder} FOLDER --to original"
    if len(names) == 2 and {name.rpartition(".")[2] for name in names} == {"weight", "bias"}:
        return f"give it as the head of its backbone: dinoport convert BACKBONE FOLDER --head {where}"
    return f"dinoport inspect {where}"


def _refuse_known(where: str, shapes: Mapping[str, Shape]) -> None:
    if is_xcit(shapes):
        raise UnknownModelError(
            f"{where} is an XCiT, and Transformers has no class for it",
            expected="a ViT or a ResNet-50",
            found="cross-covariance attention (attn.temperature, local_mp, cls_attn_blocks)",
            cause="DINO published four XCiT models beside its ViTs; timm has an XCiT, Transformers has none",
            next_step="load the file in timm (xcit_small_12_p16_224.fb_dino …), or convert one of the ViTs",
        )
