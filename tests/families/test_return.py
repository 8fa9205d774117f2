"""What cannot return is said; what the class has no tensor for returns as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dinoport.api import convert
from dinoport.report.report import Report
from tests import goldens
from tests.families.cases import CASES, V3, Case, dinov3

torch = pytest.importorskip("torch")

BY_NAME = {case.name: case for case in CASES}


def there_and_back(case: Case, folder: Path) -> Report:
    source, request = case.write(folder)
    convert(source, folder / "there", request, level="exact")
    return convert(folder / "there", folder / "back", to="original", level="exact")


@pytest.mark.parametrize(
    ("case", "lost"),
    [
        (BY_NAME["vit-training-checkpoint"], ("head",)),
        (BY_NAME["dinov2-teacher"], ("dino_head", "ibot_head")),
        (BY_NAME["dinov3-teacher"], ("dino_head", "ibot_head")),
        (dinov3("sat", replace(V3, local_cls_norm=True)), ("local_cls_norm",)),
        (BY_NAME["vit"], ()),
        (BY_NAME["dinov3-convnext"], ()),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else None,
)
def test_what_was_dropped_for_good_is_named(case: Case, lost: tuple[str, ...], tmp_path: Path) -> None:
    remarks = there_and_back(case, tmp_path).remarks
    named = {
        remark.partition(" ")[0] for remark in remarks if remark.endswith("not in the folder, and does not return")
    }
    assert named == set(lost)


def test_a_masked_key_bias_returns_as_zeros_and_is_said(tmp_path: Path) -> None:
    said = "part 2 of 3 of blocks.{0…1}.attn.qkv.bias returns as zeros: the mask beside it switches the keys' bias off"
    assert any(remark.startswith(said) for remark in there_and_back(BY_NAME["dinov3"], tmp_path).remarks)
    live = there_and_back(BY_NAME["dinov3-live-key-bias"], tmp_path / "live").remarks
    assert not any("zeros" in remark for remark in live)


def test_periods_that_training_rounded_return_rounded(tmp_path: Path) -> None:
    source = goldens.FOLDER / "dinov3/trained_a/teacher_checkpoint.pth"
    convert(source, tmp_path / "there", level="exact")
    convert(tmp_path / "there", tmp_path / "back", to="original", level="exact")
    returned = torch.load(tmp_path / "back" / "checkpoint.pth", weights_only=True)["rope_embed.periods"]
    trained = torch.load(source, weights_only=True)["teacher"]["backbone.rope_embed.periods"]
    assert trained.dtype == torch.bfloat16
    assert np.array_equal(returned.numpy(), trained.float().numpy())
