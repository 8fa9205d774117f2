"""DeiT (facebookresearch/deit): timm's ViT under DINO's names, with a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dinoport.codebases.clues import Signs
from dinoport.codebases.codebase import Facts, canonical_rules
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative
from dinoport.mapping.rule import Rule, copy
from dinoport.model import Family
from dinoport.networks.interpolation import TO_SIZE
from dinoport.networks.preprocessing import EVALUATION
from dinoport.tensor import Shape

DISTILLED = {f"head_dist.{leaf}" for leaf in ("weight", "bias")} | {
    f"classifier_dist.{leaf}" for leaf in ("weight", "bias")
}


def table(names: Mapping[str, Shape], classifier: str | None) -> tuple[Rule, ...]:
    """A distilled one has a second classifier, for the token that learns from a teacher."""
    others = [name for name in names if name not in DISTILLED and not name.startswith("classifier.")]
    second = (copy("classifier_dist.{p}", "head_dist.{p}"),) if DISTILLED & names.keys() else ()
    return (*canonical_rules(others, classifier), *second)


RELATIVE = Relative(
    family=Family(
        name="deit",
        title="DeiT ViT",
        upstream="facebookresearch/deit",
        drops=(AVERAGED,),
        preprocessing=replace(EVALUATION, reason="as in DeiT's eval transform"),
        classifiers=("head",),
    ),
    like="dino",
    facts=Facts("DeiT", interpolation=TO_SIZE, rule="as in DeiT's fine-tuning for another size"),
    signs=Signs(
        names=("dist_token", "head_dist."), builders=("deit_",), files=("deit_tiny_", "deit_small_", "deit_base_")
    ),
    copies=("model",),
    why="what its own main.py evaluates and publishes",
    table=table,
    sizes={
        "deit_tiny_patch16": (192, 12, 3, 16),
        "deit_small_patch16": (384, 12, 6, 16),
        "deit_base_patch16": (768, 12, 12, 16),
    },
)
