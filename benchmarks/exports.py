"""The proof of an exported graph against the two forward passes of a folder's proof, in float64.

`python benchmarks/exports.py [--rounds N] [--folder DIR] [--quick]` prints Markdown. It needs onnx and onnxscript.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import material
import timing
from dinoport import convert, verify
from dinoport.request import Request

LIMIT = 4
"""Times the two passes."""

PASSES, TENSORS, WHOLE = "two forward passes", "--verify exact", "--verify full"


def main() -> None:
    options = timing.arguments(__doc__, rounds=5).parse_args()
    rounds = 1 if options.quick else options.rounds
    architecture = material.VIT_TINY if options.quick else material.VIT_BASE
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        source = material.checkpoint(architecture, folder)
        convert(source, folder / "folder", level="none")
        graph = exported(folder / "folder", folder / "model.onnx", architecture.image_size)
        candidates: dict[str, Callable[[], object]] = {
            PASSES: two_passes(source, folder / "folder", architecture.image_size),
            TENSORS: lambda: verify(source, graph, Request(), level="exact"),
            WHOLE: lambda: verify(source, graph, Request()),
        }
        for run in candidates.values():  # imports, and files in memory
            run()
        found = timing.interleaved({name: sampled(run) for name, run in candidates.items()}, rounds)
        size_mb = graph.stat().st_size / timing.MB
    rows = [
        [
            name,
            f"{timing.seconds(samples):.2f}",
            f"{timing.cpu_seconds(samples):.2f}",
            *([] if name == PASSES else [timing.amount(timing.ratio(samples, found[PASSES]), " ×")]),
            *(timing.judged(timing.ratio(samples, found[PASSES]), LIMIT)[1:] if name == WHOLE else []),
        ]
        for name, samples in found.items()
    ]
    print(f"## The proof of an exported graph ({size_mb:.0f} MB)\n")
    print(f"Medians of {rounds} interleaved rounds in one process. The two passes are the original's own and that of")
    print("Transformers' class, in float64, at the model's own size; the full proof of a folder makes both.\n")
    print(timing.table(["what", "median s", "CPU s", "ratio", "limit", ""], rows))


def sampled(run: Callable[[], object]) -> Callable[[], timing.Sample]:
    def sample() -> timing.Sample:
        begun, used = time.perf_counter(), time.process_time()
        run()
        return timing.Sample(time.perf_counter() - begun, time.process_time() - used)

    return sample


def exported(folder: Path, path: Path, size: int) -> Path:
    """A graph by torch's TorchScript exporter, which takes a second."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.zeros(1, 3, size, size),), path, dynamo=False, opset_version=17)
    return path


def two_passes(source: Path, folder: Path, size: int) -> Callable[[], None]:
    import torch

    from dinoport.codebases.transformers.running import ClassRunner
    from dinoport.networks.observing import ignore
    from dinoport.proofs.weights import Weights, floats
    from dinoport.work.prepare import prepare

    images = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, size, size)))

    def run() -> None:
        with prepare(source, Request()) as conversion, torch.inference_mode():
            model: Any = conversion.model
            code = model.architecture.network.code
            code.forward(Weights(floats(model.tensors)), model.architecture, images, ignore)
        runner = ClassRunner(folder, "ViTModel")
        runner.load("float64")
        runner.run(images)

    return run


if __name__ == "__main__":
    main()
