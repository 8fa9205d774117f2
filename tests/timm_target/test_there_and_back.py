"""From Transformers to timm and back: the same bytes, but for what timm has no place for."""

from pathlib import Path

import numpy as np
import pytest

from dinoport.api import convert, verify
from dinoport.formats.opening import open_checkpoint
from dinoport.proofs.verdict import Word
from tests.timm_target.models import CASES, asked, write

LOST = {
    "dinov2": {"embeddings.mask_token"},
    "dinov2 registers": {"embeddings.mask_token", "embeddings.cls_token", "embeddings.position_embeddings"},
    "dinov3": {"embeddings.mask_token"},
    "convnext": set(),
    "resnet": set(),
    "dino": set(),
}
"""By the beginning of a case's name: the tensors of the Transformers folder that return otherwise."""

NO_CLASS = ("dinov2 classifier", "dinov3 classifier")
"""What no class of Transformers computes, and timm's do."""


def lost(case: str) -> set[str]:
    return LOST.get(case) or LOST[case.split()[0]]


@pytest.mark.parametrize("case", [case for case in CASES if case not in NO_CLASS])
def test_the_same_bytes_return(case: str, tmp_path: Path) -> None:
    there, timm, back = (tmp_path / name for name in ("there", "timm", "back"))
    convert(write(case, tmp_path / "weights.pth"), there, level="none", **asked(case))
    convert(there, timm, to="timm", level="exact")
    report = convert(timm, back, level="exact")
    assert report.verdict.word is Word.TRANSPORTED
    for path in there.iterdir():
        if path.name in ("README.md", "dinoport.json") or (path.name == "model.safetensors" and lost(case)):
            continue
        assert path.read_bytes() == (back / path.name).read_bytes(), path.name
    with open_checkpoint(there) as one, open_checkpoint(back) as other:
        assert one.tensors.keys() == other.tensors.keys()
        differ = {
            name for name, each in one.tensors.items() if not np.array_equal(each.read(), other.tensors[name].read())
        }
    assert differ == lost(case)


@pytest.mark.parametrize("case", ["dinov2 registers", "dinov3"])
def test_what_does_not_return_is_listed_by_name(case: str, tmp_path: Path) -> None:
    report = convert(write(case, tmp_path / "weights.pth"), tmp_path / "out", to="timm", level="exact", **asked(case))
    assert any("mask_token" in each.names for each in report.accounting.dropped)
    assert any("cls_token" in remark for remark in report.remarks) == ("registers" in case)


@pytest.mark.parametrize("case", ["dino classifier", "dinov2 registers", "dinov2 without one bias", "dinov3 open mask"])
def test_both_directions_verify(case: str, tmp_path: Path) -> None:
    source, timm, back = write(case, tmp_path / "weights.pth"), tmp_path / "timm", tmp_path / "back"
    convert(source, timm, to="timm", level="none", **asked(case))
    convert(timm, back, level="none")
    assert verify(source, timm, level="exact").verdict.word is Word.TRANSPORTED
    assert verify(timm, back, level="exact").verdict.word is Word.TRANSPORTED


def test_a_classifier_over_the_cls_token_returns_from_timm(tmp_path: Path) -> None:
    for case in NO_CLASS:
        folder = tmp_path / case
        folder.mkdir()
        source = write(case, folder / "weights.pth")
        convert(source, folder / "timm", to="timm", level="exact", **asked(case))
        report = convert(folder / "timm", folder / "back", to="original", level="exact")
        assert report.verdict.word is Word.TRANSPORTED
        with open_checkpoint(source) as one, open_checkpoint(folder / "back" / "checkpoint.pth") as other:
            own, returned = ({**each.tree} for each in (one, other))  # type: ignore[dict-item]  # a bare state dict
            for name in ("linear_head.weight", "linear_head.bias"):
                assert np.array_equal(own[name].read(), returned[name].read())


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("num_classes", 3, "config.json: num_classes is 3, expected 0"),
        ("model_args", {}, "config.json: model_args.depth is 12, expected 2"),
        ("pretrained_cfg.crop_pct", 0.5, "config.json: pretrained_cfg.crop_pct is 0.5, expected 0.86"),
        (
            "pretrained_cfg.url",
            "https://x",
            'config.json: pretrained_cfg.url is "https://x", by which timm may open',
        ),
    ],
)
def test_a_changed_config_is_found(field: str, value: object, what: str, tmp_path: Path) -> None:
    import json

    source, folder = write("dino", tmp_path / "weights.pth"), tmp_path / "timm"
    convert(source, folder, to="timm", level="none", **asked("dino"))
    config = json.loads((folder / "config.json").read_text())
    outer, _, inner = field.partition(".")
    config[outer] = {**config[outer], inner: value} if inner else value
    (folder / "config.json").write_text(json.dumps(config))
    verdict = verify(source, folder, level="exact").verdict
    assert verdict.word is Word.NOT_EQUAL
    assert verdict.failures[0].startswith(what), verdict.failures


def test_a_field_without_effect_is_listed(tmp_path: Path) -> None:
    import json

    source, folder = write("dino", tmp_path / "weights.pth"), tmp_path / "timm"
    convert(source, folder, to="timm", level="none", **asked("dino"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_features": 32}))
    verdict = verify(source, folder, level="exact").verdict
    assert verdict.word is Word.TRANSPORTED
    assert "config.json: num_features is 32, and moves no output" in verdict.warnings
