"""One feature vector for each picture of a folder: `python features.py CHECKPOINT PICTURES OUT.npz`.

CHECKPOINT is anything that dinoport reads. It is converted and proven once; the next run finds the folder in the cache.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import dinoport

ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}
BATCH = 32


def main(checkpoint: str, pictures: Path, out: Path, **asked: Any) -> None:
    model, processor = dinoport.load(checkpoint, **asked)
    paths = sorted(path for path in pictures.rglob("*") if path.suffix.lower() in ENDINGS)
    features = np.concatenate(list(batches(model, processor, paths)))
    np.savez(out, names=[str(path.relative_to(pictures)) for path in paths], features=features)
    print(f"{len(paths)} pictures, {features.shape[1]} numbers each: {out}")


@torch.inference_mode()
def batches(model: torch.nn.Module, processor: Any, paths: list[Path]) -> Iterator[np.ndarray]:
    for start in range(0, len(paths), BATCH):
        opened = [Image.open(path).convert("RGB") for path in paths[start : start + BATCH]]
        outputs = model(**processor(opened, return_tensors="pt"))
        yield outputs.last_hidden_state[:, 0].numpy()  # the CLS token


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
