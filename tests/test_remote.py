"""The whole way from an address: what is read, how much of it, and what a report says of it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dinoport import api
from dinoport.errors import CheckpointError
from dinoport.files.remote import patience
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint
from dinoport.request import Request
from tests.families.cases import tensors
from tests.families.test_heads import ARCHITECTURES, state_of
from tests.goldens import FOLDER
from tests.http_server import Site, serving, then

TINY = FOLDER / "dino1" / "tiny32" / "checkpoint.pth"
HEADS = Request(num_heads=2)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(patience, "sleep", lambda seconds: None)
    monkeypatch.setenv("DINOPORT_CACHE", str(tmp_path / "cache"))
    with serving(Site(files={"checkpoint.pth": TINY.read_bytes()})) as running:
        yield running


def large_checkpoint(path: Path) -> int:
    """A training checkpoint whose teacher is one of five parts; returns the teacher's backbone in bytes."""
    rng = np.random.default_rng(3)
    with open_checkpoint(TINY) as small:
        shapes = {
            name: (*tensor.shape[:-1], tensor.shape[-1])
            for name, tensor in state_dicts(small)[0].tensors.items()
            if not name.startswith("head.")
        }

    def state(prefix: str) -> dict[str, torch.Tensor]:
        return {f"{prefix}{name}": torch.from_numpy(rng.standard_normal(s, np.float32)) for name, s in shapes.items()}

    teacher = state("backbone.")
    head = {"head.last_layer.weight_v": torch.from_numpy(rng.standard_normal((4096, 256), np.float32))}
    moments = {index: {"exp_avg": torch.randn(400, 400), "exp_avg_sq": torch.randn(400, 400)} for index in range(4)}
    tree = {"student": state("module.backbone."), "teacher": teacher | head, "optimizer": {"state": moments}}
    torch.save(tree, path)
    return sum(tensor.numel() * 4 for tensor in teacher.values())


def test_a_folder_from_an_address_is_the_one_from_the_file(site: Site, tmp_path: Path) -> None:
    remote = api.convert(site.url("checkpoint.pth?signature=secret"), tmp_path / "remote", HEADS)
    local = api.convert(TINY, tmp_path / "local", HEADS)
    assert str(remote.verdict) == str(local.verdict)
    names = sorted(path.name for path in (tmp_path / "local").iterdir())
    assert sorted(path.name for path in (tmp_path / "remote").iterdir()) == names
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        assert (tmp_path / "remote" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    assert remote.source.where == f"{site.url('checkpoint.pth')}?…"
    assert "secret" not in (tmp_path / "remote" / "dinoport.json").read_text(encoding="utf-8")
    assert site.sent_bytes <= TINY.stat().st_size + 1


def test_an_inspection_reads_the_directory_and_the_pickle(site: Site, tmp_path: Path) -> None:
    large_checkpoint(tmp_path / "large.pth")
    site.files["large.pth"] = (tmp_path / "large.pth").read_bytes()
    found = api.inspect(site.url("large.pth"), HEADS)
    assert found.plan is not None
    assert found.size_bytes == len(site.files["large.pth"]) > 9_000_000
    assert site.sent_bytes <= 240_000  # with the position table, which tells a MAE
    assert len(site.requests) <= 5


def test_a_full_proof_fetches_the_teacher_and_hardly_more(site: Site, tmp_path: Path) -> None:
    teacher_bytes = large_checkpoint(tmp_path / "large.pth")
    site.files["large.pth"] = (tmp_path / "large.pth").read_bytes()
    api.inspect(site.url("large.pth"), HEADS)
    index_bytes = site.sent_bytes
    site.sent_bytes = 0
    report = api.convert(site.url("large.pth"), tmp_path / "folder", HEADS)
    assert report.proofs.outputs is not None
    assert site.sent_bytes - index_bytes <= 1.02 * teacher_bytes


def test_what_the_heads_are_read_from_is_fetched_once(site: Site, tmp_path: Path) -> None:
    """Some layers are announced first, then all; no byte comes twice, and hardly one that is not wanted."""
    teacher = state_of(replace(ARCHITECTURES["dino"], depth=12), 3)
    student = {name: values + 1 for name, values in teacher.items()}
    torch.save(tensors({"student": student, "teacher": teacher}), tmp_path / "wide.pth")
    site.files["wide.pth"] = (tmp_path / "wide.pth").read_bytes()
    report = api.convert(site.url("wide.pth"), tmp_path / "folder")
    assert report.heads is not None
    assert report.heads.found == 3
    assert site.sent_bytes <= 1.02 * sum(values.nbytes for values in teacher.values())


def test_a_folder_is_verified_against_an_address(site: Site, tmp_path: Path) -> None:
    api.convert(TINY, tmp_path / "folder", HEADS, level="exact")
    report = api.verify(site.url("checkpoint.pth"), tmp_path / "folder", level="exact")
    assert not report.verdict.failed


def test_a_head_from_an_address(site: Site, tmp_path: Path) -> None:
    site.files["linear.pth.tar"] = (FOLDER / "dino1" / "tiny32" / "linear_n1avg.pth.tar").read_bytes()
    head = site.url("linear.pth.tar?token=secret")
    report = api.convert(TINY, tmp_path / "folder", Request(num_heads=2, head=head), level="exact")
    assert report.class_name == "Dinov2ForImageClassification"
    assert "classifier from linear.pth.tar?…: linear" in report.remarks
    asked = json.loads((tmp_path / "folder" / "dinoport.json").read_text(encoding="utf-8"))["request"]
    assert asked["head"] == f"{site.url('linear.pth.tar')}?…"


def test_a_file_that_changes_at_the_very_end_is_not_published(site: Site, tmp_path: Path) -> None:
    size = len(site.files["checkpoint.pth"])

    def spoil() -> None:
        if site.requests[-1][1].get("range") == "bytes=0-0":
            site.files["checkpoint.pth"] = bytes(size)

    site.script = [then(spoil) for _ in range(50)]
    with pytest.raises(CheckpointError, match="changed while it was read"):
        api.convert(site.url("checkpoint.pth"), tmp_path / "folder", HEADS, level="exact")
    assert not (tmp_path / "folder").exists()


def test_the_spool_is_gone_afterwards(site: Site, tmp_path: Path) -> None:
    api.convert(site.url("checkpoint.pth"), tmp_path / "folder", HEADS, level="exact")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_from_an_address_is_verified_against_the_file(site: Site, tmp_path: Path) -> None:
    api.convert(site.url("checkpoint.pth"), tmp_path / "folder", HEADS, level="exact")
    report = api.verify(TINY, tmp_path / "folder", level="exact")
    assert not report.verdict.failed
    assert "1.1 MB of the source, besides the tensors converted, were not looked at" in report.remarks
