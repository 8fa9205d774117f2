"""A file that torch.hub takes is called as torch.hub wants it, and holds what the strict loader behind it asks for."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dinoport.api import convert, plan, verify
from dinoport.codebases.dinov3 import hub
from dinoport.proofs.verdict import Word
from tests.families.cases import BY_NAME, dinov3
from tests.models import V3

torch = pytest.importorskip("torch")

UNTIED = dinov3("untied", replace(V3, local_cls_norm=True))


@pytest.fixture(params=["dinov3_tiny", hub.WITH_THE_NORM])
def entry(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An entry of a hubconf.py for tiny models: one whose models have no norm for local crops, and the one that has."""
    sizes = (V3.width, V3.depth, V3.heads, V3.mlp_hidden, "mlp", True)
    monkeypatch.setattr(hub, "BACKBONES", {request.param: sizes})
    return str(request.param)


def test_a_file_that_torch_hub_takes_bears_its_hash(entry: str, tmp_path: Path) -> None:
    case = UNTIED if entry == hub.WITH_THE_NORM else BY_NAME["dinov3"]
    source, _ = case.write(tmp_path)
    convert(source, tmp_path / "there", level="exact")
    report = convert(tmp_path / "there", tmp_path / "back", to="original", level="exact")
    [file] = (tmp_path / "back").glob("*.pth")
    found = re.fullmatch(rf"{entry}-([0-9a-f]{{8}})\.pth", file.name)
    assert found
    assert hashlib.sha256(file.read_bytes()).hexdigest().startswith(found[1])
    assert report.files[0].name == file.name
    assert f'torch.hub.load(CHECKOUT, "{entry}", source="local", weights="{file}")' in report.usage[-1]
    assert report.verdict.word is Word.TRANSPORTED
    for place in (tmp_path / "back", file):
        assert verify(tmp_path / "there", place, level="exact").verdict.word is Word.TRANSPORTED
    convert(tmp_path / "back", tmp_path / "again", level="exact")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("there", "again")]
    assert weights[0] == weights[1]


def test_a_convnext_is_called_so_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dinoport.codebases.dinov3 import convnext

    case = BY_NAME["dinov3-convnext"]
    monkeypatch.setattr(convnext, "BACKBONES", {"dinov3_convnext_mini": (8, case.architecture.depths)})
    monkeypatch.setattr(
        convnext, "hub_entry", lambda architecture, size: convnext.HubEntry("x", "dinov3_convnext_mini")
    )
    source, _ = case.write(tmp_path)
    convert(source, tmp_path / "there", level="exact")
    convert(tmp_path / "there", tmp_path / "back", to="original", level="exact")
    assert [file.name[:21] for file in (tmp_path / "back").glob("*.pth")] == ["dinov3_convnext_mini-"]


def test_a_model_of_other_sizes_keeps_the_plain_name(tmp_path: Path) -> None:
    source, _ = BY_NAME["dinov3"].write(tmp_path)
    convert(source, tmp_path / "there", level="exact")
    report = convert(tmp_path / "there", tmp_path / "back", to="original", level="exact")
    assert (tmp_path / "back" / "checkpoint.pth").is_file()
    assert "model.load_state_dict(weights)" in report.usage[-1]


def test_a_norm_that_the_folder_has_lost_is_made_and_said_to_be(tmp_path: Path) -> None:
    source, _ = UNTIED.write(tmp_path)
    convert(source, tmp_path / "there", level="exact")
    convert(tmp_path / "there", tmp_path / "back", to="original", level="exact")
    back = torch.load(tmp_path / "back" / "checkpoint.pth", weights_only=True)
    assert back["local_cls_norm.weight"].eq(1).all()
    assert not back["local_cls_norm.bias"].any()
    made = {line.names: line.reason for line in plan(tmp_path / "there", to="original").accounting.synthesised}
    assert made["local_cls_norm.weight"].endswith("the folder has lost this norm, which evaluation never uses: all 1")
    assert verify(tmp_path / "there", tmp_path / "back", level="exact").verdict.word is Word.TRANSPORTED


def test_a_norm_that_was_made_and_changed_is_found(tmp_path: Path) -> None:
    source, _ = UNTIED.write(tmp_path)
    convert(source, tmp_path / "there", level="exact")
    convert(tmp_path / "there", tmp_path / "back", to="original", level="exact")
    path = tmp_path / "back" / "checkpoint.pth"
    state = torch.load(path, weights_only=True)
    state["local_cls_norm.bias"][3] = 1
    torch.save(state, path)
    failures = verify(tmp_path / "there", path.parent, level="exact").verdict.failures
    edited = "checkpoint.pth has another sha256 than dinoport.json says"
    assert failures == (edited, "local_cls_norm.bias is not what was declared (all 0)")
    alone = verify(tmp_path / "there", path, level="exact").verdict  # a file that may be anybody's
    assert not alone.failed
    assert [each for each in alone.exceptions if "local_cls_norm.bias" in each and "not compared" in each]


def test_a_norm_that_the_source_has_is_kept(tmp_path: Path) -> None:
    source, _ = UNTIED.write(tmp_path)
    state = torch.load(source, weights_only=True)
    torch.save({"teacher": {f"backbone.{name}": tensor for name, tensor in state.items()}}, source)
    convert(source, tmp_path / "bare", to="original", level="exact")
    back = torch.load(tmp_path / "bare" / "checkpoint.pth", weights_only=True)
    assert torch.equal(back["local_cls_norm.weight"], state["local_cls_norm.weight"])
