"""MoCo v3 (facebookresearch/moco-v3): DINO's names, a fixed position table, and 12 heads of 32 in its ViT-S."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative
from dinoport.mapping.rule import drop
from dinoport.model import Family
from dinoport.networks.interpolation import TO_SIZE
from dinoport.networks.preprocessing import EVALUATION

PROJECTOR = "the projector of contrastive training; no class has a place for it"


def tells(clues: Clues) -> str | None:
    """A table of sines and cosines, rows first; or `arch` beside `state_dict`, as `main_lincls.py` writes it.

    timm's train.py writes `arch` too, beside `args`.
    """
    arch = clues.arguments.get("arch")
    if isinstance(arch, str) and arch.startswith("vit_") and "state_dict" in clues.keys and "args" not in clues.keys:
        return f"arch = {arch} beside state_dict"
    return "a position table of sines and cosines, rows first" if clues.fixed_table == "row" else None


RELATIVE = Relative(
    family=Family(
        name="moco_v3",
        title="MoCo v3 ViT",
        upstream="facebookresearch/moco-v3",
        drops=(drop("head.{k}.{p}", because=PROJECTOR), AVERAGED),
        preprocessing=replace(EVALUATION, resample="bilinear", reason="as in MoCo v3's eval transform"),
        classifiers=("head",),
    ),
    like="dino",
    facts=Facts(
        "MoCo v3",
        heads={(384, 12): 12},
        interpolation=TO_SIZE,
        rule="MoCo v3 takes no other size; as Transformers resamples",
        takes_one_size=True,
    ),
    signs=Signs(places=("base_encoder", "momentum_encoder"), tells=tells, files=("vit-s-300ep", "vit-b-300ep")),
    copies=("base_encoder",),
    why="what both of its own scripts evaluate",
)
