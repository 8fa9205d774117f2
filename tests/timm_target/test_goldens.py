"""Written folders against lists of right tensors, made by the genuine code of the originals and of timm.

`fixtures/timm/targets.json` holds, by source, the builder and the digest of every tensor, kept only where timm's class
gave the genuine class's tokens in float64.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.api import convert
from dinoport.formats.opening import open_checkpoint
from dinoport.tensor import TensorRef
from tests import formula, goldens
from tests.families.cases import tensors
from tests.with_timm import needs_timm

torch = pytest.importorskip("torch")

TARGETS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "fixtures" / "timm" / "targets.json").read_text())

TOLERANCE = 3e-5
"""Float32 on both sides; timm's classes are at most 5e-6 from these on one machine."""

ROUNDED_PERIODS = 1e-4
"""A run's own periods are rounded to bfloat16; timm computes exact ones."""


def written(name: str, folder: Path) -> Path:
    """The folder that a source becomes."""
    wanted = TARGETS[name]
    source = goldens.FOLDER / wanted["source"]
    if source.suffix == ".json":
        source = folder / "weights.pth"
        torch.save(tensors(goldens.state_by_formula(wanted["source"])), source)
    convert(source, folder / "out", to="timm", level="exact", **wanted["request"])
    return folder / "out"


def digest(tensor: TensorRef) -> str:
    values = tensor.read()
    sha256 = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return f"{tensor.dtype.name} {'×'.join(map(str, tensor.shape))} {sha256[:16]}"


@pytest.mark.parametrize("name", TARGETS)
def test_a_folder_holds_the_right_tensors(name: str, tmp_path: Path) -> None:
    with open_checkpoint(written(name, tmp_path)) as checkpoint:
        assert (checkpoint.config or {})["architecture"] == TARGETS[name]["architecture"]
        assert {tensor.name: digest(tensor) for tensor in checkpoint.tensors.values()} == TARGETS[name]["tensors"]


@needs_timm
@pytest.mark.parametrize("name", [name for name, wanted in TARGETS.items() if wanted["outputs"]])
def test_timm_gives_the_originals_outputs(name: str, tmp_path: Path) -> None:
    import timm

    from dinoport.codebases.timm.running import TimmRunner, outputs_of

    wanted = TARGETS[name]
    architecture = wanted["architecture"]
    folder = written(name, tmp_path)
    if absent := TimmRunner(folder, architecture).absent:
        pytest.skip(absent)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    stored = goldens.outputs(wanted["golden"])[wanted["outputs"]]
    size = wanted["outputs"].split("/")[-2]
    pixels = torch.from_numpy(formula.pixel_values(*map(int, size.split("x"))))
    with torch.inference_mode():
        found = outputs_of(model, pixels)
    ours = found["pooled" if wanted["outputs"].endswith("pooled") else "tokens"].numpy()
    ours = ours[: stored.shape[0]] if ours.ndim == 2 else ours[: stored.shape[0], : stored.shape[1], : stored.shape[2]]
    stored = stored.reshape(len(stored), -1) if ours.ndim == 2 else stored  # a ResNet's one token, where timm pools
    assert ours.shape == stored.shape
    limit = ROUNDED_PERIODS if wanted["outputs"].startswith("fp32rope") else TOLERANCE
    assert float(np.abs(ours - stored).max()) < limit
