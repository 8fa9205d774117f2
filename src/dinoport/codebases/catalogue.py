"""All families, and the models that are known and have no place in Transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dinoport.codebases.dialect import Dialect
from dinoport.codebases.dino.resnet import FAMILY as DINO_RESNET
from dinoport.codebases.dino.vit import FAMILY as DINO
from dinoport.codebases.dinov2.vit import FAMILY as DINOV2
from dinoport.codebases.dinov3.convnext import FAMILY as DINOV3_CONVNEXT
from dinoport.codebases.dinov3.vit import FAMILY as DINOV3
from dinoport.codebases.family import Family
from dinoport.errors import SettingError, UnknownModelError
from dinoport.finding.unwrap import StateDict
from dinoport.mapping.folding import fold_names
from dinoport.tensor import Shape

FAMILIES: tuple[Family, ...] = (DINO, DINO_RESNET, DINOV2, DINOV3, DINOV3_CONVNEXT)


@dataclass(frozen=True)
class Found:
    """The state dict that will be converted, and its family; `dialect` if the names are another codebase's."""

    family: Family
    state: StateDict
    others: tuple[StateDict, ...]
    dialect: Dialect | None = None


def find(where: str, candidates: Sequence[StateDict], key: str | None) -> Found:
    """Choose the state dict to convert: the one under `key`, else the preferred one that a family recognises.

    Raises SettingError for a key that the file does not have, UnknownModelError where no family fits.
    """
    chosen = [state for state in candidates if key in (state.branch, state.path)] if key else list(candidates)
    if not chosen:
        keys = [repr(state.label) for state in candidates if state.branch or state.path]
        raise SettingError(
            f"{where} has nothing under the key {key!r}",
            expected=f"one of {', '.join(keys)}" if keys else "no key: the file is a bare state dict",
            found=f"--checkpoint-key {key}",
            next_step=f"{'give one of these, or ' if keys else ''}leave --checkpoint-key out",
        )
    for state in chosen:
        shapes = {name: tensor.shape for name, tensor in state.tensors.items()}
        _refuse_known(where, shapes)
        others = tuple(other for other in candidates if other is not state)
        for family in FAMILIES:
            # A dialect shares names with its family, and with others: it is the closer look.
            dialect = next((dialect for dialect in family.dialects if dialect.recognises(shapes)), None)
            if dialect:
                return Found(family, state, others, dialect)
        for family in FAMILIES:
            if family.recognises(shapes):
                return Found(family, state, others)
    names = list(chosen[0].tensors)
    raise UnknownModelError(
        f"{where} is not a model of the DINO family",
        where=chosen[0].label,
        expected="; ".join(f"{family.title} ({family.upstream})" for family in FAMILIES),
        found=f"{len(names)} tensors: " + ", ".join(fold_names(names)[:8]) + (" …" if len(names) > 8 else ""),
        cause="another model, a head without its backbone, or names that another codebase changed",
        next_step=_advice(where, names),
    )


def _advice(where: str, names: Sequence[str]) -> str:
    """What to do with a file of these tensors, which no family recognises."""
    if "embeddings.cls_token" in names:
        folder = where.rpartition("/")[0] or "."
        return f"give the folder, with its config.json: dinoport convert {folder} FOLDER --to original"
    if len(names) == 2 and {name.rpartition(".")[2] for name in names} == {"weight", "bias"}:
        return f"give it as the head of its backbone: dinoport convert BACKBONE FOLDER --head {where}"
    return f"dinoport inspect {where}"


def _refuse_known(where: str, shapes: Mapping[str, Shape]) -> None:
    if any(".attn.temperature" in name or ".local_mp." in name or "cls_attn_blocks." in name for name in shapes):
        raise UnknownModelError(
            f"{where} is an XCiT, and Transformers has no class for it",
            expected="a ViT or a ResNet-50",
            found="cross-covariance attention (attn.temperature, local_mp, cls_attn_blocks)",
            cause="DINO published four XCiT models beside its ViTs; timm has an XCiT, Transformers has none",
            next_step="load the file in timm (xcit_small_12_p16_224.fb_dino …), or convert one of the ViTs",
        )
