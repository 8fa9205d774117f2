"""What a conversion cannot do without, each measured alone on one core: what the figures are bound by.

`python benchmarks/bounds.py [--rounds N] [--folder DIR] [--quick]` prints Markdown.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np

import material
import timing
from dinoport.files.census import take_census
from dinoport.files.checksums import crc32
from dinoport.networks.vit.architecture import ViT
from dinoport.tensor import BLOCK_BYTES

LEVELS = ("none", "exact", "full")

TIMES = {
    "read the file from the page cache": (2, 4, 5),
    "write it into the page cache": (1, 1, 1),
    "CRC-32, which the source holds": (1, 1, 1),
    "SHA-256, for the report": (1, 1, 1),
    "look for NaN and infinities": (1, 2, 2),
    "compare bits": (0, 1, 1),
    "a forward pass in float64": (0, 0, 2),
    "a forward pass in float32": (0, 0, 1),
}
"""How often each happens at a level of proof. Read twice without one: the source, and the target to hash it."""


def main() -> None:
    options = timing.arguments(__doc__, rounds=5).parse_args()
    rounds = 1 if options.quick else options.rounds
    architecture = material.VIT_SMALL if options.quick else material.VIT_BASE
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = material.checkpoint(architecture, Path(folder))
        size_mb = path.stat().st_size / timing.MB
        passes = [forward_pass(architecture, dtype) for dtype in ("float64", "float32")]
        steps = dict(zip(TIMES, (*file_steps(path), *passes), strict=True))
        seconds = {name: cpu_seconds(step, rounds) for name, step in steps.items()}
    rows = [[name, f"{seconds[name]:.3f}", *(f"{count} ×" if count else "" for count in TIMES[name])] for name in TIMES]
    sums = [sum(seconds[name] * counts[level] for name, counts in TIMES.items()) for level in range(len(LEVELS))]
    rows.append(["together", "", *(f"{total:.2f} s" for total in sums)])
    cores = os.cpu_count() or 1
    rows.append([f"on {cores} cores, at least", "", *(f"{total / cores:.2f} s" for total in sums)])
    print(f"## What bounds these figures ({size_mb:.0f} MB)\n")
    print(f"Processor seconds on one core, medians of {rounds} rounds, and how often each level of proof does it.")
    print("No proof is left out for speed: what is over its limit is so where these sums are.\n")
    print(timing.table(["what", "CPU s", *(f"--verify {level}" for level in LEVELS)], rows))


def cpu_seconds(step: Callable[[], object], rounds: int) -> float:
    step()
    found = []
    for _ in range(rounds):
        begun = time.thread_time()
        step()
        found.append(time.thread_time() - begun)
    return median(found)


def file_steps(path: Path) -> tuple[Callable[[], object], ...]:
    """The six steps on a file's bytes, in blocks as a conversion takes them."""
    values = np.fromfile(path, dtype=np.float32, count=path.stat().st_size // 4)
    target = path.with_suffix(".copy")

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, values.size, BLOCK_BYTES // 4):
            yield values[start : start + BLOCK_BYTES // 4]

    def read() -> None:
        buffer = bytearray(BLOCK_BYTES)
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    def write() -> None:
        with target.open("wb", buffering=0) as file:
            for block in blocks():
                file.write(block.data)
        target.unlink()

    def check() -> None:
        found = 0
        for block in blocks():
            found = crc32(block.data, found)

    def sha256() -> None:
        digest = hashlib.sha256()
        for block in blocks():
            digest.update(block.data)

    def look() -> None:
        for block in blocks():
            take_census(block)

    def compare() -> None:
        for block in blocks():
            (block.view(np.uint32) == block.view(np.uint32)).all()

    return read, write, check, sha256, look, compare


def forward_pass(architecture: ViT, dtype: str) -> Callable[[], object]:
    """Transformers' class on one picture; the weights do not matter for the time."""
    import torch
    from transformers import ViTConfig, ViTModel

    torch.set_num_threads(1)
    config = ViTConfig(
        hidden_size=architecture.width,
        num_hidden_layers=architecture.depth,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.mlp_hidden,
    )
    model = ViTModel(config).eval().to(getattr(torch, dtype))
    pixels = torch.zeros(1, 3, 224, 224, dtype=getattr(torch, dtype))
    return torch.inference_mode()(lambda: model(pixels))


if __name__ == "__main__":
    main()
