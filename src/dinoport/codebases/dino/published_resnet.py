"""The ResNet-50 of facebookresearch/dino, and its linear classifier."""

from __future__ import annotations

from dinoport.codebases.dino.published import BASE, LICENCE
from dinoport.codebases.published import Published

RUNNING_STATISTICS = 53_120
"""Of 53 batch norms: numbers in the file that are not parameters."""

PUBLISHED = (
    Published(
        "dino_resnet50",
        "dino_resnet",
        f"{BASE}/dino_resnet50_pretrain/dino_resnet50_pretrain.pth",
        23_508_032 + RUNNING_STATISTICS,
        LICENCE,
        head_url=f"{BASE}/dino_resnet50_pretrain/dino_resnet50_linearweights.pth",
    ),
)
