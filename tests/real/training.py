"""Small ViTs, trained on pictures of handwritten digits that scikit-learn ships."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

from tests.real.models import Array

STEPS = (0, 50, 100, 200, 400, 600)
LAYERS, BATCH = 4, 32


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: torch.Tensor) -> Any:
        batch, count, width = tokens.shape
        joined = self.qkv(self.norm1(tokens)).reshape(batch, count, 3, self.heads, width // self.heads)
        queries, keys, values = joined.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(queries, keys, values)
        tokens = tokens + self.proj(seen.transpose(1, 2).reshape(batch, count, width))
        return tokens + self.mlp(self.norm2(tokens))


class ViT(nn.Module):
    """16 patches of 2×2 pixels, and the mean of what comes out of them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.patches, self.positions = nn.Linear(4, width), nn.Parameter(0.02 * torch.randn(16, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, pictures: torch.Tensor) -> Any:
        patches = pictures.reshape(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
        return self.head(self.norm(self.blocks(self.patches(patches) + self.positions)).mean(dim=1))


def states(width: int, heads: int, steps: tuple[int, ...] = STEPS) -> Iterator[list[tuple[Array, Array]]]:
    """W_v and W_o of every layer, after so many steps each."""
    torch.manual_seed(0)
    digits = load_digits()
    pictures, labels = torch.tensor(digits.images, dtype=torch.float32) / 16, torch.tensor(digits.target)
    model: Any = ViT(width, heads)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for step in range(steps[-1] + 1):
        if step in steps:
            layers = [(block.qkv.weight[2 * width :], block.proj.weight) for block in model.blocks]
            yield [(values.detach().numpy().copy(), outputs.detach().numpy().copy()) for values, outputs in layers]
        chosen = torch.randint(len(pictures), (BATCH,))
        loss: Any = nn.functional.cross_entropy(model(pictures[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
