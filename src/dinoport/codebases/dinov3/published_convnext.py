"""The ConvNeXts of facebookresearch/dinov3: `dinov3/hub/backbones.py`."""

from __future__ import annotations

from dinoport.codebases.dinov3.published import dinov3
from dinoport.codebases.published import Published


def _convnext(size: str, parameters: int, suffix: str) -> Published:
    return dinov3(f"dinov3_convnext_{size}", "dinov3_convnext", parameters, f"lvd1689m-{suffix}")


PUBLISHED = (
    _convnext("tiny", 27_820_128, "21b726bb"),
    _convnext("small", 49_454_688, "296db49d"),
    _convnext("base", 87_566_464, "801f2ba9"),
    _convnext("large", 196_230_336, "61fa432d"),
)
