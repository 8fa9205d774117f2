"""Transformers to timm, back, to a start for training, and back again: the same bytes, for every network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dinoport.api import convert
from dinoport.errors import SettingError
from dinoport.formats.opening import open_checkpoint
from dinoport.proofs.verdict import Word
from dinoport.report.report import Report
from tests import goldens
from tests.timm_target.models import CASES, asked, write
from tests.timm_target.test_there_and_back import lost

HEADS = {"head_hidden_dim": 16, "head_bottleneck_dim": 8, "head_n_prototypes": 24}

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "dino run": ("dino1/tiny32/checkpoint.pth", {"num_heads": 2}),
    "dinov2 run": ("dinov2/trained_a/teacher_checkpoint.pth", {"num_heads": 2}),
    "dinov3 run": ("dinov3/trained_a/teacher_checkpoint.pth", {}),
}
"""Files that hold heads of training too, which the first folder says that it has lost."""

NO_CLASSIFIER = [case for case in CASES if "classifier" not in case]
"""Training has none."""


def said(report: Report) -> str:
    """All that a report lists of what did not come along, or was not there."""
    dropped = [f"{each.names}: {each.reason}" for each in report.accounting.dropped]
    made = [f"{each.names}: {each.reason}" for each in report.accounting.synthesised]
    return "\n".join([*report.remarks, *dropped, *made])


@pytest.mark.parametrize("case", [*NO_CLASSIFIER, *RUNS])
def test_the_same_bytes_come_round(case: str, tmp_path: Path) -> None:
    first, timm, second, start, last = (tmp_path / name for name in ("first", "timm", "second", "start", "last"))
    sizes = tmp_path / "heads.yaml"
    sizes.write_text(yaml.safe_dump({head: dict(HEADS) for head in ("dino", "ibot")}))
    source, request = (goldens.FOLDER / RUNS[case][0], RUNS[case][1]) if case in RUNS else (None, asked(case))
    convert(source or write(case, tmp_path / "weights.pth"), first, level="none", **request)
    there = convert(first, timm, to="timm", level="none")
    back = convert(timm, second, level="none")
    made = {"config": sizes} if case.startswith(("dinov3", "convnext")) else {}
    convert(second, start, to="training", level="exact", **made)
    report = convert(start, last, level="exact")
    assert report.verdict.word is Word.TRANSPORTED
    other = lost(case.replace(" run", ""))
    other |= {"embeddings.cls_token", "embeddings.position_embeddings"} if "reg" in RUNS.get(case, "") else set()
    names = {path.name for path in first.iterdir()} - {"README.md", "dinoport.json"}
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} - names <= (
        {"preprocessor_config.json"} if "channel" in case else set()
    )
    for name in sorted(names - ({"model.safetensors"} if other else set())):
        assert (first / name).read_bytes() == (last / name).read_bytes(), name
    with open_checkpoint(first) as one, open_checkpoint(last) as two:
        assert one.tensors.keys() == two.tensors.keys()
        differ = {n for n, each in one.tensors.items() if each.read().tobytes() != two.tensors[n].read().tobytes()}
    assert differ == other
    for name in ("mask_token", *(("cls_token", "pos_embed") if len(other) > 1 else ())) if other else ():
        assert name in said(there), name
        assert name in said(back), name


def test_heads_that_were_trained_are_not_taken_for_made_ones(tmp_path: Path) -> None:
    """Heads that a conversion made are not part of the original; one trained value, and they are."""
    import torch

    source = write("dinov3", tmp_path / "weights.pth")
    sizes = tmp_path / "heads.yaml"
    sizes.write_text(yaml.safe_dump({head: dict(HEADS) for head in ("dino", "ibot")}))
    convert(source, tmp_path / "start", to="training", level="none", config=sizes)
    tree = torch.load(tmp_path / "start" / "start.pth", weights_only=True)
    tree["teacher"]["ibot_head.last_layer.weight"][0, 0] += 1e-3
    torch.save(tree, tmp_path / "trained.pth")
    lost_parts = {}
    for name, path in (("made", tmp_path / "start"), ("trained", tmp_path / "trained.pth")):
        lost_parts[name] = convert(path, tmp_path / name, level="exact").lost
    assert lost_parts == {"made": (), "trained": ("ibot_head",)}
    assert np.count_nonzero(tree["teacher"]["dino_head.mlp.0.bias"].numpy()) == 0


@pytest.mark.parametrize("case", ["dino", "dinov2 registers", "dinov3", "convnext", "resnet"])
def test_a_transform_of_ones_own_comes_round(case: str, tmp_path: Path) -> None:
    """Timm's config has a place for it, a start for training none: our report beside the file keeps it."""
    first, timm, start, last = (tmp_path / name for name in ("first", "timm", "start", "last"))
    sizes = tmp_path / "heads.yaml"
    sizes.write_text(yaml.safe_dump({head: dict(HEADS) for head in ("dino", "ibot")}))
    own = {"image_mean": (0.1, 0.2, 0.3), "image_std": (0.4, 0.5, 0.6)}
    convert(write(case, tmp_path / "weights.pth"), first, level="none", **asked(case), **own)
    convert(first, timm, to="timm", level="none")
    described = json.loads((timm / "config.json").read_text())["pretrained_cfg"]
    assert (described["mean"], described["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    made = {"config": sizes} if case in ("dinov3", "convnext") else {}
    convert(timm, start, to="training", level="none", **made)
    convert(start, last, level="exact")
    for name in ("config.json", "preprocessor_config.json"):
        assert (first / name).read_bytes() == (last / name).read_bytes(), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": {"height": 30, "width": 40}, "do_center_crop": False}, "size = {'height': 30, 'width': 40}"),
        ({"do_normalize": False}, "do_normalize = False"),
        ({"resample": 0}, "resample = 0"),
        ({"image_processor_type": "CLIPImageProcessor"}, "image_processor_type = 'CLIPImageProcessor'"),
    ],
)
def test_a_processor_of_another_kind_is_said_not_to_be_taken(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    convert(write("dino", tmp_path / "weights.pth"), tmp_path / "first", level="none", **asked("dino"))
    file = tmp_path / "first" / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    report = convert(tmp_path / "first", tmp_path / "timm", to="timm", level="none")
    assert f"the transform of preprocessor_config.json is not taken: {said}" in report.remarks


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        {"resize": 0, "crop": None, "filter": "bicubic", "mean": [0.5], "std": [0.5]},
        {"resize": 32, "crop": 64, "filter": "bicubic", "mean": [0.5], "std": [0.5]},
        {"resize": 32, "crop": None, "filter": "lanczos", "mean": [0.5], "std": [0.5]},
        {"resize": 32, "crop": None, "filter": "bicubic", "mean": [], "std": []},
        {"resize": 32, "crop": None, "filter": "bicubic", "mean": ["a"], "std": [0.5]},
        {"resize": 32, "crop": None, "filter": "bicubic", "mean": [0.5], "std": [0.0]},
        {"resize": True, "crop": None, "filter": "bicubic", "mean": [0.5], "std": [0.5]},
    ],
)
def test_a_report_beside_a_file_that_cannot_be_is_not_believed(told: object, tmp_path: Path) -> None:
    convert(write("dino", tmp_path / "weights.pth"), tmp_path / "start", to="training", level="none", num_heads=2)
    usual = convert(tmp_path / "start", tmp_path / "usual", level="none")
    path = tmp_path / "start" / "dinoport.json"
    report = json.loads(path.read_text())
    heads = [{"name": "heads", "value": value, "origin": "given"} for value in ("x", "-1", "9" * 30, None, "1")]
    wrong = {"settings": [None, *heads[:-1], {}], "lost": ["/etc/passwd", 3], "transform": told}
    path.write_text(json.dumps({**report, "model": {**report["model"], **wrong}}))
    found = convert(tmp_path / "start", tmp_path / "out", level="none", num_heads=2)
    assert found.transform == usual.transform
    assert found.lost == ()
    with pytest.raises(SettingError, match="number of attention heads"):
        convert(tmp_path / "start", tmp_path / "again", level="none")


def test_a_report_beside_another_file_is_not_believed(tmp_path: Path) -> None:
    """A trainer writes over its checkpoint.pth, and the report stays."""
    source = write("dino", tmp_path / "weights.pth")
    convert(source, tmp_path / "start", to="training", level="none", num_heads=2)
    file = tmp_path / "start" / "checkpoint.pth"
    file.write_bytes(source.read_bytes())
    with pytest.raises(SettingError, match="number of attention heads"):
        convert(tmp_path / "start", tmp_path / "out", level="none")


def test_a_tensor_under_the_names_of_several_configs_is_not_lost_with_the_others(tmp_path: Path) -> None:
    convert(write("dino", tmp_path / "weights.pth"), tmp_path / "start", to="training", level="none", num_heads=2)
    report = convert(tmp_path / "start", tmp_path / "out", level="none")
    assert report.lost == ()
    assert "the same tensors also lie under teacher.module.backbone., student.module.backbone." in report.remarks
