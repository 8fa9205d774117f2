"""A folder verified against another file than the one that it was made from, which holds the same model."""

from pathlib import Path

import torch

from dinoport.api import convert, verify
from tests import formula, models


def test_what_one_source_holds_another_leaves_to_be_made(tmp_path: Path) -> None:
    """The periods and masks of DINOv3 are stored in its file, and follow from the config of a Transformers folder."""
    own = {name: torch.from_numpy(each) for name, each in formula.state_dict(models.V3.tensors()).items()}
    torch.save(own, tmp_path / "own.pth")
    convert(tmp_path / "own.pth", tmp_path / "folder", level="none", num_heads=2)
    convert(tmp_path / "folder", tmp_path / "back", to="original", level="exact")
    [made] = (tmp_path / "back").glob("*.pth")
    torch.save({"teacher": torch.load(made)}, tmp_path / "run.pth")
    verdict = verify(tmp_path / "run.pth", tmp_path / "back", level="exact").verdict
    assert not verdict.failed, verdict
