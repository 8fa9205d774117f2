"""A timm folder as the source of a verification: its config.json counts before what a target's report says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dinoport.api import convert, verify
from tests import formula, models


@pytest.mark.parametrize(
    ("model", "asked", "name", "value", "said"),
    [
        (
            models.VIT,
            {"num_heads": 2},
            "num_heads",
            4,
            "2 is followed, where the file has 4 (num_heads in config.json)",
        ),
        (
            models.CONVNEXT,
            {"layer_norm_eps": 1e-6},
            "norm_eps",
            1e-3,
            "1e-06 is followed, where the file has 0.001 (layer_norm_eps in config.json)",
        ),
    ],
    ids=("heads", "eps"),
)
def test_a_source_that_states_another_value_is_not_equal(
    model: Any, asked: dict[str, Any], name: str, value: float, said: str, tmp_path: Path
) -> None:
    own = {key: torch.from_numpy(each) for key, each in formula.state_dict(model.tensors()).items()}
    torch.save(own, tmp_path / "bare.pth")
    convert(tmp_path / "bare.pth", tmp_path / "folder", level="exact", **asked)
    convert(tmp_path / "bare.pth", tmp_path / "timm", to="timm", level="exact", **asked)
    assert not verify(tmp_path / "timm", tmp_path / "folder", level="exact").verdict.failed
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    config["model_args"][name] = value
    (tmp_path / "timm" / "config.json").write_text(json.dumps(config))
    verdict = verify(tmp_path / "timm", tmp_path / "folder", level="exact").verdict
    assert any(failure.endswith(said) for failure in verdict.failures), verdict
