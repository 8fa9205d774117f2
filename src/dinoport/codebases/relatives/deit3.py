"""DeiT III (facebookresearch/deit): a ViT with layer scale, whose CLS token has no position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative
from dinoport.codebases.relatives.layer_scale import own_scales, scaled
from dinoport.codebases.shapes import square_side
from dinoport.mapping.rule import Rule, drop_cls_row
from dinoport.model import Family
from dinoport.networks.interpolation import TO_SIZE
from dinoport.networks.preprocessing import EVALUATION
from dinoport.tensor import Shape, TensorRef


def table(names: Mapping[str, Shape], classifier: str | None) -> tuple[Rule, ...]:
    """The CLS token joins behind the positions (`models_v2.py`): a row of zeros in front of them computes the same."""
    others = {name: shape for name, shape in names.items() if name != "pos_embed"}
    return (*scaled(others, classifier), drop_cls_row("pos_embed", "pos_embed"))


def arranged(tensors: Mapping[str, TensorRef]) -> tuple[Mapping[str, TensorRef], tuple[str, ...]]:
    """`deit3_*` in timm."""
    return own_scales(tensors, "DeiT III")


SCALED = "layer scales, and no position of the CLS token"


def tells(clues: Clues) -> str | None:
    """Layer scales, and a position table without a row for the CLS token."""
    rows = clues.shapes.get("pos_embed", (0, 0))[1]
    scaled = {"blocks.0.gamma_1", "blocks.0.ls1.gamma"} & clues.shapes.keys() and "cls_token" in clues.shapes
    bare = not {"mask_token", "register_tokens"} & clues.shapes.keys()
    return SCALED if scaled and bare and square_side(rows) else None


def alike(clues: Clues) -> str | None:
    """A RoPE-ViT with a table (naver-ai/rope-vit) is trained by this code, and turns queries and keys besides."""
    named = clues.architecture or clues.arguments or clues.file_name.startswith("deit_3_")
    renamed = "blocks.0.gamma_1" not in clues.shapes  # as timm names these, and no RoPE-ViT
    return None if named or renamed else "a RoPE-ViT with a table, whose attention rotates too"


RELATIVE = Relative(
    family=Family(
        name="deit3",
        title="DeiT III ViT",
        upstream="facebookresearch/deit",
        drops=(AVERAGED,),
        preprocessing=replace(EVALUATION, resize=224, reason="as in DeiT III's evaluation, which crops no margin"),
        classifiers=("head",),
    ),
    like="dino",
    facts=Facts(
        "DeiT III",
        heads={(1280, 32): 16},
        interpolation=TO_SIZE,
        rule="DeiT III takes no other size; as Transformers resamples",
        takes_one_size=True,
    ),
    signs=Signs(builders=("deit3_",), tells=tells, files=("deit_3_",)),
    copies=("model",),
    why="what its own main.py evaluates and publishes",
    table=table,
    arrange=arranged,
    always_told=SCALED,
    alike=alike,
)
