"""What a training keeps beside its backbone under names of a model, and no target has a place for."""

from __future__ import annotations

from dinoport.mapping.rule import drop

AVERAGED = drop(
    "n_averaged", because="how many models torch's AveragedModel has averaged; no output depends on it once it is done"
)
"""Labs keep averages by it: the model under `module.`, and one buffer more (`torch/optim/swa_utils.py`)."""

PROJECTION_HEAD = "a projection head of self-distillation, which only training uses"

HEAD_ANEW = "a projection head of self-distillation, which this training starts anew"
"""Of a start for training, where the trainer takes the backbone alone."""

OF_DINO = (
    drop("head.mlp.{k}.{p}", because=PROJECTION_HEAD),
    drop("head.last_layer.{p}", because=PROJECTION_HEAD),
    AVERAGED,
)

CENTER = "dino_loss.center"
"""Where `main_dino.py` keeps the center of its teacher's outputs, beside the models in its checkpoint."""

OF_DINOV2 = (
    drop("dino_head.mlp.{k}.{p}", because=PROJECTION_HEAD),
    drop("dino_head.last_layer.{p}", because=PROJECTION_HEAD),
    drop("ibot_head.mlp.{k}.{p}", because=PROJECTION_HEAD),
    drop("ibot_head.last_layer.{p}", because=PROJECTION_HEAD),
    drop("head.{p}", because="a classifier of another codebase's: what it looks at is not known"),
    AVERAGED,
)

OF_DINOV3 = (
    *(
        drop(f"{head}.{rest}.{{p}}", because=PROJECTION_HEAD)
        for head in ("dino_head", "ibot_head")
        for rest in ("mlp.{k}", "last_layer")
    ),
    AVERAGED,
)
