"""The largest published model, DINOv3's 7B: converted and proven by outputs, on a machine that does not hold it.

One file of 26.9 GB is made in the folder, and as much is written beside it. What the process read from the disk and
the anonymous memory that it held at most are the kernel's figures (`/proc`); the page cache is not counted, since the
kernel gives it back.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import material
import timing
from dinoport.formats.torch.writer import write_torch_file
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.tensor import Array, TensorSpec

V3_7B = RotaryViT(
    4096, 40, 32, 8192, 16, feed_forward="swiglu", registers=4, qkv_bias=False, local_cls_norm=True, rope_rounded=True
)
V3_QUICK = RotaryViT(256, 2, 4, 512, 16, feed_forward="swiglu", registers=4, qkv_bias=False, rope_rounded=True)

MAX_READ_GB = 95
MAX_MINUTES = 5.0
MAX_ANONYMOUS_GB = 8.0
PAUSE_S = 0.1


@dataclass(frozen=True)
class Periods:
    """The rotary periods as DINOv3 stores them: rounded to bfloat16, kept in float32."""

    target: TensorSpec
    architecture: RotaryViT

    def blocks(self) -> Iterator[Array]:
        import ml_dtypes

        exponents = np.arange(self.target.size) / (self.architecture.head_dim / 4)
        yield (self.architecture.rope_theta**exponents).astype(ml_dtypes.bfloat16).astype(np.float32)


def main() -> None:
    options = timing.arguments(__doc__, rounds=1).parse_args()
    architecture = V3_QUICK if options.quick else V3_7B
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        source = made(architecture, folder)
        command = [sys.executable, "-m", "dinoport", "convert", str(source), str(folder / "out"), "--quiet"]
        seconds, read_bytes, anonymous_bytes = watched([*command, "--num-heads", str(architecture.heads)])
        size = source.stat().st_size / 1e9
    print(f"## A model of {size:.1f} GB, converted and proven by outputs\n")
    rows = [
        ("read from the disk", *timing.judged(read_bytes / 1e9, MAX_READ_GB, " GB")),
        ("time", *timing.judged(seconds / 60, MAX_MINUTES, " minutes")),
        ("anonymous memory at most", *timing.judged(anonymous_bytes / 1e9, MAX_ANONYMOUS_GB, " GB")),
    ]
    print(timing.table(("what", "found", "limit", ""), rows))


def made(architecture: RotaryViT, folder: Path) -> Path:
    """A file as torch.save writes it, one block in memory at a time."""
    path = folder / "vit7b16.pth"
    float32 = np.dtype(np.float32)
    tensors = (TensorSpec(name, float32, shape) for name, shape in architecture.tensors().items())
    write_torch_file(
        path,
        [
            Periods(spec, architecture) if spec.name == "rope_embed.periods" else material.Noise(spec)
            for spec in tensors
        ],
    )
    return path


def watched(command: list[str]) -> tuple[float, int, int]:
    """Seconds, bytes read from the disk, and anonymous bytes at most, of a command that succeeds."""
    begun, read_bytes, anonymous_bytes = time.perf_counter(), 0, 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    proc = Path("/proc", str(process.pid))
    while process.poll() is None:
        try:
            read_bytes = int(field(proc / "io", "read_bytes"))
            anonymous_bytes = max(anonymous_bytes, int(field(proc / "status", "RssAnon").split()[0]) * 1024)
        except (OSError, StopIteration):
            break
        time.sleep(PAUSE_S)
    if process.wait():
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return time.perf_counter() - begun, read_bytes, anonymous_bytes


def field(path: Path, name: str) -> str:
    return next(line.partition(":")[2] for line in path.read_text().splitlines() if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
