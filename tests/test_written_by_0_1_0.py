"""Folders that 0.1.0 wrote, one for each network and more, still verify and still go back."""

import json
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from dinoport.api import convert, verify
from dinoport.errors import NotProvenError
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint
from dinoport.networks.network import Network
from dinoport.proofs.verdict import Word
from tests import models
from tests.fixtures.written_by_0_1_0.make import FOLDERS, Written, unpacked
from tests.writing.stub_tensors import equal_bits

LEVELS = ["exact", pytest.param("full", marks=pytest.mark.skipif(not find_spec("transformers"), reason="no class"))]
each = pytest.mark.parametrize("written", FOLDERS, ids=lambda written: written.name)


def test_every_network_has_one() -> None:
    networks = {written.model.network for written in FOLDERS if written.model}
    known = {model.network for model in vars(models).values() if isinstance(getattr(model, "network", None), Network)}
    assert networks == known


@pytest.mark.parametrize("level", LEVELS)
@each
def test_it_verifies(tmp_path: Path, written: Written, level: str) -> None:
    folder = unpacked(written.name, tmp_path)
    (tmp_path / "source").mkdir()
    report = verify(written.source(tmp_path / "source"), folder, level=level)
    recorded = json.loads((folder / "dinoport.json").read_text())
    assert recorded["format"] == 1
    equal = {Word.EQUAL, Word.EQUAL_EXCEPT}  # 0.1.0 looked at one size of pictures, and found no exception
    assert recorded["verdict"]["word"] in equal
    assert report.verdict.word in (equal if level == "full" else {Word.TRANSPORTED, Word.RECOMPUTED}), str(
        report.verdict
    )
    assert (report.verdict.failures, report.verdict.warnings) == ((), ())


@pytest.mark.parametrize("name", ["dinoport.json", "config.json", "weights"])
@each
def test_damage_to_it_is_found(tmp_path: Path, written: Written, name: str) -> None:
    folder = unpacked(written.name, tmp_path)
    (tmp_path / "source").mkdir()
    weights = sorted(path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".pth"))
    if not (path := folder / (weights[-1] if name == "weights" else name)).exists():
        pytest.skip("an original has no config")
    content = path.read_bytes()
    at = content.index(b'"settings"') if name == "dinoport.json" else len(content) // 2
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    source = written.source(tmp_path / "source")
    with suppress(NotProvenError):  # it cannot even be compared
        verdict = verify(source, folder, level="exact").verdict
        told = [warning for warning in verdict.warnings if f"{path.name} has another sha256" in warning]
        assert verdict.failed or (told and name == "config.json")  # of a field that moves no output


@pytest.mark.parametrize("written", [written for written in FOLDERS if written.model], ids=lambda written: written.name)
def test_it_goes_back(tmp_path: Path, written: Written) -> None:
    report = convert(unpacked(written.name, tmp_path), tmp_path / "back", to="original", level="exact")
    assert report.verdict.word is Word.TRANSPORTED
    with open_checkpoint(tmp_path / "back" / report.files[0].name) as checkpoint:
        returned = {name: tensor.read() for name, tensor in state_dicts(checkpoint)[0].tensors.items()}
    state = written.state()
    assert returned.keys() == state.keys()
    if "--dtype" not in written.options:
        assert [name for name, values in returned.items() if not equal_bits(values, state[name])] == []
