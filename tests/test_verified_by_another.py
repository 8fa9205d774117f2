"""A folder verified against another file than the one that it was made from, which holds the same model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
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


SQUARE = {"size": {"height": 56, "width": 56}, "do_center_crop": False}


@pytest.mark.parametrize("source", ["the original's", "a folder", "a file with its report", "the same, of our record"])
@pytest.mark.parametrize("said", [{}, {"image_mean": [0.5, 0.4, 0.3]}, SQUARE], ids=["alike", "mean", "square"])
def test_a_transform_that_one_side_alone_states_is_named(said: dict[str, Any], source: str, tmp_path: Path) -> None:
    """Where both state one, two are not equal; where the source states none, it is the target's, by its word."""
    torch.save(
        {name: torch.from_numpy(each) for name, each in formula.state_dict(models.V2.tensors()).items()}, tmp_path / "p"
    )
    folder, theirs = tmp_path / "folder", tmp_path / "theirs"
    convert(tmp_path / "p", folder, level="none")
    convert(folder, tmp_path / "back", to="original", level="none")
    shutil.copytree(folder, theirs)
    (theirs / "dinoport.json").unlink()
    config = json.loads((theirs / "config.json").read_text())
    if source != "the same, of our record":
        config.pop("dinoport")
        (theirs / "config.json").write_text(json.dumps(config))
    processor = theirs / "preprocessor_config.json"
    processor.write_text(json.dumps({**json.loads(processor.read_text()), **said}))
    places = {"the original's": tmp_path / "p", "a folder": folder, "a file with its report": tmp_path / "back"}
    places["the same, of our record"] = tmp_path / "p"
    verdict = verify(places[source], theirs).verdict
    silent = source == "the original's"
    assert verdict.failed == (bool(said) and not silent), verdict
    assert ("transform of pictures = the target's" in str(verdict)) == (bool(said) and silent)
