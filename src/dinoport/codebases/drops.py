"""What a training keeps beside its backbone under names of a model, and no target has a place for; or has left out."""

from collections.abc import Mapping, Sequence

from dinoport.codebases.codebase import canonical_rules
from dinoport.mapping.constants import Count, zeros
from dinoport.mapping.rule import Rule, drop
from dinoport.tensor import Shape

AVERAGED = drop(
    "n_averaged", because="how many models torch's AveragedModel has averaged; no output depends on it once it is done"
)
"""Labs keep averages by it: the model under `module.`, and one buffer more (`torch/optim/swa_utils.py`)."""


def projection_heads(*names: str, parts: tuple[str, ...] = ("mlp.{k}.{p}", "last_layer.{p}")) -> tuple[Rule, ...]:
    """Heads of self-distillation of these names. A trainer that takes the backbone alone starts them anew."""
    head = "a projection head of self-distillation, which"
    return tuple(
        drop(f"{name}.{part}", because=f"{head} only training uses", anew=f"{head} this training starts anew")
        for name in names
        for part in parts
    )


RELATIONS = drop("relation_blocks.{r}", because="blocks over groups of pictures, which only Mugs's training uses")
"""They lie in the backbone (`src/vision_transformer.py` of sail-sg/mugs), and no feature passes them."""

OF_DINO = (*projection_heads("head"), AVERAGED)

OF_DINO_VIT = (*OF_DINO, RELATIONS)

CENTER = "dino_loss.center"
"""Where `main_dino.py` keeps the center of its teacher's outputs, beside the models in its checkpoint."""

OF_DINOV3 = (*projection_heads("dino_head", "ibot_head"), AVERAGED)

OF_DINOV2 = (
    *OF_DINOV3[:-1],
    drop("head.{p}", because="a classifier of another codebase's: what it looks at is not known"),
    AVERAGED,
)

COUNT = "num_batches_tracked"
UNCOUNTED = "a frozen BatchNorm counts no batches, and no output depends on how many"


def with_frozen_norms(names: Mapping[str, Shape] | Sequence[str], classifier: str | None) -> tuple[Rule, ...]:
    """The canonical names of a ResNet. Frozen BatchNorms, which compute the same, have no counts, none of them."""
    return (*canonical_rules(names, classifier), *uncounted(names, _counts(names)))


def uncounted(names: Mapping[str, Shape] | Sequence[str], canonical: Sequence[str]) -> tuple[Rule, ...]:
    """What stands for the `canonical` counts of a ResNet whose `names`, whoever gave them, have none."""
    are_frozen = not any(count in names for count in _counts(names))
    return tuple(drop(count, UNCOUNTED, returns=Count((), 0)) for count in canonical if are_frozen)


def _counts(names: Mapping[str, Shape] | Sequence[str]) -> list[str]:
    return [f"{name.rpartition('.')[0]}.{COUNT}" for name in names if name.endswith("running_var")]


def with_or_without_mask(names: Mapping[str, Shape], classifier: str | None) -> tuple[Rule, ...]:
    """The canonical names of a DINOv3 ViT. Fine-tuning may delete the mask token, which gets no gradient there."""
    width = names["cls_token"][-1] if names.get("cls_token") else 0
    return (*canonical_rules(names, classifier), *(() if "mask_token" in names else (unmasked(width),)))


def unmasked(width: int) -> Rule:
    """What stands for a mask token that is not there."""
    return drop("mask_token", because="it is used for training alone", returns=zeros(1, width))
