"""What the output of Transformers' former `convert_dino_to_pytorch.py` differs by, measured: eps, statistics, crop.

`python benchmarks/classic_script.py` prints Markdown. The models are the ViT of the test material that DINO's own code
trained, and a ViT-S/16 with made-up weights; the picture is the synthetic one that proofs use.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import goldens

from dinoport.networks.preprocessing import EVALUATION
from dinoport.networks.vit.architecture import ViT
from dinoport.networks.vit.forward import forward
from dinoport.proofs.picture import picture_tensor, synthetic_picture

TRAINED = ViT(width=32, depth=4, heads=2, mlp_hidden=128, patch_size=16, image_size=224)
MADE_UP = ViT(width=384, depth=12, heads=6, mlp_hidden=1536, patch_size=16, image_size=224)

CLASSIC_EPS = 1e-12
"""What ViTConfig has where nobody sets it."""


def main() -> None:
    from transformers import ViTImageProcessor

    picture = synthetic_picture()
    genuine = torch.from_numpy(picture_tensor(picture, EVALUATION)).double()
    processor = ViTImageProcessor()
    classic = processor(picture, return_tensors="pt")["pixel_values"].double()
    squashed = torch.from_numpy(
        picture_tensor(picture, replace(EVALUATION, resize=224, crop=None, resample="bilinear"))
    )
    halves = torch.from_numpy(picture_tensor(picture, EVALUATION.with_statistics((0.5,) * 3, (0.5,) * 3)))
    print("| input values | mean difference | largest |\n|---|---|---|")
    for name, pixels in (
        ("mean and std of 0.5 instead of ImageNet's", halves),
        ("a bilinear square of 224 instead of 256 bicubic, then the centre", squashed),
        ("both: the processor of the classic script", classic),
    ):
        print(f"| {name} | {_mean(pixels, genuine):.2f} | {_largest(pixels, genuine):.2f} |")
    print("\n| CLS token, relative to its largest value | trained ViT, width 32 | made-up ViT-S/16 |\n|---|---|---|")
    trained = goldens.state_in_checkpoint("dino1/tiny32/checkpoint.pth", "teacher", "backbone.")
    made_up = goldens.state_by_formula("dino1/full/keys_vit_small16.json")
    states = [
        (TRAINED, {name: tensor.double() for name, tensor in trained.items()}),
        (MADE_UP, {name: torch.from_numpy(array).double() for name, array in made_up.items()}),
    ]
    rows = (("LayerNorm eps 1e-12 instead of 1e-6", CLASSIC_EPS, genuine), ("the processor", 1e-6, classic))
    for name, eps, pixels in (*rows, ("both", CLASSIC_EPS, classic)):
        cells = []
        for architecture, state in states:
            own = _cls(state, architecture, genuine)
            other = _cls(state, replace(architecture, layer_norm_eps=eps), pixels)
            cells.append(f"{_largest(other, own) / float(own.abs().max()):.1e}")
        print(f"| {name} | {' | '.join(cells)} |")


def _cls(state: dict[str, torch.Tensor], architecture: ViT, pixels: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return forward(state, architecture, pixels)["tokens"][:, 0]


def _mean(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().mean())


def _largest(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max())


if __name__ == "__main__":
    main()
