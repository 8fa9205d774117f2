"""Options of DINOv3's training that no class of Transformers or timm computes, each with the error it would cause."""

from collections.abc import Mapping

from dinoport.codebases.codebase import Evidence
from dinoport.codebases.run import text
from dinoport.errors import UnknownModelError
from dinoport.tensor import Shape

KEEP = "keep this model in its own code, or train without this option"

COORDINATES = {"max": 0.73, "min": 0.61}
"""Largest difference of one output at 224×160 pixels if they were normalised per axis instead; square ones agree."""


def measured(difference: float) -> str:
    """How large an error was where it was measured: how large it is in another model, nobody knows."""
    return f"(by about {difference} in the model that was measured)"


def refuse_what_no_class_computes(evidence: Evidence, shapes: Mapping[str, Shape]) -> None:
    """Raise UnknownModelError for norms that would be lost or computed otherwise."""
    if "cls_norm.weight" in shapes:
        raise _refusal(
            evidence,
            where="cls_norm.weight",
            found="a final norm of its own for CLS token and registers (untie_cls_and_patch_norms)",
            error=f"CLS token and registers would be off, patches would not {measured(1.9)}",
        )
    if "blocks.0.norm1.weight" in shapes and "blocks.0.norm1.bias" not in shapes:
        raise _refusal(
            evidence,
            where="blocks.0.norm1.weight",
            found="norms without bias: RMSNorm (norm_layer: rmsnorm)",
            error=f"a LayerNorm subtracts a mean that RMSNorm keeps: outputs would be off {measured(1.4)}",
        )


def refuse_coordinates(evidence: Evidence) -> None:
    """Raise UnknownModelError for rotary coordinates that the run's config has otherwise."""
    coordinates = text(evidence, "student.pos_embed_rope_normalize_coords")
    if coordinates in COORDINATES:
        error = f"outputs for pictures that are not square would be off {measured(COORDINATES[coordinates])}"
        found = f"rotary coordinates normalised by {coordinates} (pos_embed_rope_normalize_coords)"
        where = evidence.config.where if evidence.config else evidence.where
        raise _refusal(evidence, where, found, error)


def _refusal(evidence: Evidence, where: str, found: str, error: str) -> UnknownModelError:
    return UnknownModelError(
        f"{evidence.where} cannot be converted: no class of Transformers or timm computes what this model computes",
        where=where,
        expected="an option that DINOv3ViTModel of Transformers or timm's Eva has",
        found=found,
        cause=f"an option of the training; if it were left out, {error}",
        next_step=KEEP,
    )
