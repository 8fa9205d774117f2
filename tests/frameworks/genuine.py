"""What the frameworks write, held against what they compute: a fresh file is converted, proven and run beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dinoport.api import convert
from dinoport.report.report import Report

TOLERANCE = 2e-5
"""float32 against float32, in other kernels. Another copy of a model, a step of training apart, is 100 times as far."""


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """A module with values of its own in every tensor, so that no two can be confused."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, each in module.named_parameters():
            noise = torch.randn(each.shape, generator=chance) * (0.05 if "weight" in name else 0.1)
            each.copy_(noise + 1 if "norm" in name and name.endswith("weight") else noise)
    return module.eval()


def pixels(size: int, seed: int = 7) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def proven(source: Path, out: Path, genuine: Callable[[torch.Tensor], torch.Tensor], size: int, **asked: Any) -> Report:
    """Convert with all proofs, and hold the written class against the genuine module's tokens."""
    from transformers import AutoModel

    report = convert(source, out, **asked)
    assert not report.verdict.failed, report
    with torch.inference_mode():
        expected = genuine(pixels(size))
        found = AutoModel.from_pretrained(out).eval()(pixels(size)).last_hidden_state
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < TOLERANCE, report
    return report
