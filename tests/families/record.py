"""Record folders and their outputs, for `test_versions.py` to load in another version of Transformers.

`python -m tests.families.record build/recorded` converts every case, runs each folder's class in float64, and keeps
the folder and the outputs. `make test-transformers-4` calls it.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.api import convert
from dinoport.codebases.running import LoadingProof
from dinoport.codebases.transformers.running import ClassRunner
from tests import formula
from tests.families.cases import CASES, Case

RECORDED = Path(__file__).parents[2] / "build" / "recorded"
VERSION = "version.json"


def load_case(case: Case, folder: Path) -> tuple[LoadingProof, Any]:
    """What a case's class says when it loads a folder in float64, and the model."""
    runner = ClassRunner(folder, case.class_name, pooler=case.request.pooler != "none")
    return runner.load(), runner.model


def outputs(model: Any, pixels: formula.Array | None = None) -> dict[str, formula.Array]:
    """Every tensor that a model gives for a fixed input, in float64."""
    import torch

    size = getattr(model.config, "image_size", 224)
    if pixels is None:
        pixels = formula.noise("pixels", (1, model.config.num_channels, size, size)).astype(np.float64)
    with torch.inference_mode():
        result = model(torch.from_numpy(pixels), output_hidden_states=True)
    found = {name: value for name, value in result.items() if isinstance(value, torch.Tensor)}
    found |= {f"hidden_states.{index}": value for index, value in enumerate(result.hidden_states)}
    return {name: value.numpy() for name, value in found.items()}


def record(root: Path) -> None:
    import transformers

    shutil.rmtree(root, ignore_errors=True)
    for case in CASES:
        source, wishes = case.write(root / case.name)
        convert(source, root / case.name / "out", wishes, level="exact")
        for path in (root / case.name).glob("*.pth*"):
            path.unlink()  # made again from the case, where it is needed
        proof, model = load_case(case, root / case.name / "out")
        assert proof.passed, proof
        np.savez(root / case.name / "outputs.npz", **outputs(model))
    (root / VERSION).write_text(json.dumps({"transformers": transformers.__version__}))


if __name__ == "__main__":
    record(Path(sys.argv[1]))
