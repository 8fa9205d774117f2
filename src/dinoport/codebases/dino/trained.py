"""What tells that `main_dino.py` of facebookresearch/dino wrote a file."""

from dinoport.codebases.clues import Signs

SIGNS = Signs(
    names=("head.mlp.", "head.last_layer."),
    keys=(frozenset({"dino_loss"}), frozenset({"teacher", "student"})),
    arguments=("teacher_temp", "local_crops_number"),
    tells=lambda clues: f"config.json, {clues.architecture}" if clues.architecture.endswith(".dino") else None,
    files=("dino_",),
)
"""What `main_dino.py` writes beside a backbone. iBOT writes it too, and more."""
