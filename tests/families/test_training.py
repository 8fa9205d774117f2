"""A start for training holds what the genuine trainers took, and a Transformers folder comes back from it."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dinoport.api import convert, verify
from dinoport.proofs.verdict import Word
from dinoport.report.report import Report
from dinoport.request import Request
from tests import formula, goldens
from tests.families.cases import BY_NAME, Case, tensors

torch = pytest.importorskip("torch")

ENTRIES: dict[str, Any] = json.loads((goldens.FOLDER / "targets/training.json").read_text())["entries"]

FILES = {
    "dino1-tiny32-teacher": ("dino1/tiny32/checkpoint.pth", Request(num_heads=2)),
    "dino1-tiny32-student": ("dino1/tiny32/checkpoint.pth", Request(num_heads=2, checkpoint_key="student")),
    "dinov2-trained-a-teacher": ("dinov2/trained_a/teacher_checkpoint.pth", Request(num_heads=2)),
    "dinov2-trained-a-full": ("dinov2/trained_a/model_final.rank_0.pth", Request(num_heads=2)),
    "dinov2-trained-2rank-teacher": ("dinov2/trained_2rank/teacher_checkpoint.pth", Request(num_heads=2)),
    "dinov3-trained-a-teacher": ("dinov3/trained_a/teacher_checkpoint.pth", Request()),
    "dinov3-dcp-teacher_1rank_t27": ("dinov3/dcp/teacher_1rank_t27", Request()),
    "dinov3-dcp-teacher_2rank_t27": ("dinov3/dcp/teacher_2rank_t27", Request()),
}
"""Entries of trained models. The tensors of all others follow from their names and shapes."""

OF_DINO_TINY = "dino1-tiny32-plain"
"""The teacher of a checkpoint above, in a file of its own."""

IN_CHUNKS = "mlp_chunks4_depth10"
"""A model whose file groups its blocks, and whose values follow from those names."""

HEADS = {"mlp_chunks0": 4, "mlp_reg4_chunks0": 3, "swiglu_chunks0_h1": 1, "narrow_e64_h1_p8": 1}
"""Attention heads of narrow models; two in all others."""

SMALL_HEADS = {"head_hidden_dim": 16, "head_bottleneck_dim": 8, "head_n_prototypes": 24}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A config by which made heads are small."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({head: dict(SMALL_HEADS) for head in ("dino", "ibot")}))
    return path


def source_of(name: str, folder: Path) -> tuple[Path, Request]:
    if name in FILES:
        return goldens.FOLDER / FILES[name][0], FILES[name][1]
    group, prefix = {"dino1": ("student", "module.backbone."), "dinov2": ("model", "")}.get(
        name.partition("-")[0], ("teacher", "backbone.")
    )
    rows = ENTRIES[name]["groups"][group]
    shapes = {key.removeprefix(prefix): tuple(row[1]) for key, row in rows.items()}
    path = folder / "source.pth"
    if name == OF_DINO_TINY:
        state = goldens.state_in_checkpoint("dino1/tiny32/checkpoint.pth", "teacher", "backbone.")
        torch.save({key: state[key] for key in shapes}, path)
    elif name.endswith(IN_CHUNKS):
        torch.save(tensors(goldens.state_by_formula(f"dinov2/narrow/{IN_CHUNKS}/keys.json")), path)
    else:
        torch.save(tensors(formula.state_dict(shapes)), path)
    narrow = re.split(r"-(?:narrow|formula)-", name)[-1]
    return path, Request() if name.startswith("dinov3") else Request(num_heads=HEADS.get(narrow, 2))


def digest(tensor: Any) -> list[object]:
    tensor = tensor.contiguous()
    values = tensor.view(torch.uint8).numpy().tobytes() if tensor.ndim else tensor.numpy().tobytes()
    dtype = str(tensor.dtype).removeprefix("torch.")
    return [dtype, list(tensor.shape), hashlib.sha256(values).hexdigest()]


def trained(folder: Path) -> Any:
    [file] = folder.glob("*.pth")
    return torch.load(file, weights_only=True)


def start(source: Path, folder: Path, *request: Request, **asked: Any) -> Report:
    return convert(source, folder, *request, to="training", **{"level": "exact", **asked})


@pytest.mark.parametrize("name", ENTRIES)
def test_a_start_holds_what_the_genuine_trainer_took(name: str, small: Path, tmp_path: Path) -> None:
    entry = ENTRIES[name]
    source, request = source_of(name, tmp_path)
    made = {"config": small} if name.startswith("dinov3") and not entry["heads_in_source"] else {}
    report = start(source, tmp_path / "start", request, **made)
    assert report.verdict.word is Word.TRANSPORTED
    assert report.proofs.loading is not None
    assert report.proofs.loading.passed
    held = trained(tmp_path / "start")
    for group, rows in entry["groups"].items():
        assert {key: digest(held[group][key]) for key in rows} == rows
        own = [key for key in held[group] if "head." not in key]
        assert set(own) - set(rows) == other_spellings(name, rows, group)
    for part, row in entry.get("heads_in_source", {}).items():
        there = [tensor for group in held.values() for key, tensor in group.items() if key.endswith(part)]
        assert there
        assert all(digest(tensor) == row for tensor in there)
    assert set(entry.get("heads_wanted", ())) <= held.get("teacher", {}).keys()
    assert "epoch" not in held
    if "config" in entry:
        told = yaml.safe_load((tmp_path / "start" / "start.yaml").read_text())
        for option, value in entry["config"].items():
            outer, _, own = option.partition(".")
            found = told[outer][own]
            assert found == value or (value == "any value above 0" and found > 0), option


def other_spellings(name: str, rows: dict[str, object], group: str) -> set[str]:
    """The names of a group for another config: a wrapped teacher, blocks in four groups."""
    if name.startswith("dino1"):
        return {f"module.{key}" for key in rows} if group == "teacher" else set()
    depth = len({key.split(".")[1] for key in rows if key.startswith("blocks.")})
    if not name.startswith("dinov2") or depth < 4:
        return set()
    size = depth // 4
    grouped = (re.fullmatch(r"blocks\.(\d+)\.(.*)", key) for key in rows)
    return {f"blocks.{int(found[1]) // size}.{found[1]}.{found[2]}" for found in grouped if found}


@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith("dinov2")])
def test_blocks_are_named_for_the_chunks_of_a_config(name: str, tmp_path: Path) -> None:
    source, request = source_of(name, tmp_path)
    for count, wanted in ENTRIES[name]["chunked_names"].items():
        config = tmp_path / "config.yaml"
        config.write_text(f"student: {{block_chunks: {count}}}\n")
        folder = tmp_path / f"start{count}"
        start(source, folder, request, config=config)
        flat = wanted if count == "0" else re.sub(r"^blocks\.\d+\.", "blocks.", wanted)
        model = trained(folder)["model"]
        assert model[wanted].data_ptr() == model[flat].data_ptr()


SAME = ("vit", "vit-training-checkpoint", "resnet", "dinov2", "dinov2-registers", "dinov3", "dinov3-convnext")


@pytest.mark.parametrize("case", [BY_NAME[name] for name in SAME], ids=lambda case: case.name)
def test_transformers_to_a_start_and_back_gives_the_same_weights(case: Case, small: Path, tmp_path: Path) -> None:
    source, request = case.write(tmp_path)
    convert(source, tmp_path / "there", request, level="exact")
    made = {"config": small} if case.name.startswith("dinov3") else {}
    start(tmp_path / "there", tmp_path / "start", **made)
    assert verify(tmp_path / "there", tmp_path / "start", level="exact").verdict.word is Word.TRANSPORTED
    convert(tmp_path / "start", tmp_path / "back", request, level="exact")
    files = ("model.safetensors", "config.json", "preprocessor_config.json")
    there, back = ([(tmp_path / folder / file).read_bytes() for file in files] for folder in ("there", "back"))
    assert there == back


def test_a_classifier_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    source, request = BY_NAME["vit-classifier"].write(tmp_path)
    convert(source, tmp_path / "tuned", request, level="exact")
    report = start(tmp_path / "tuned", tmp_path / "start")
    reasons = {line.names: line.reason for line in report.accounting.dropped}
    assert reasons["classifier.weight, classifier.bias"] == "self-supervised training has no classifier"
    assert not any("classifier" in key for group in trained(tmp_path / "start").values() for key in group)
