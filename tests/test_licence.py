"""A licence is claimed only for what is a published model beyond doubt, and its text goes along."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from dinoport.api import convert
from dinoport.codebases.published import Published
from dinoport.codebases.published_names import PUBLISHED
from dinoport.finding import sources
from dinoport.writing.licence import LICENCES
from tests.families.cases import CASES

pytest.importorskip("torch")

CHECKPOINTS = {case.name: case for case in CASES}


def published_as(name: str, case: str, folder: Path, monkeypatch: pytest.MonkeyPatch, sha256: str | None) -> Path:
    """A small checkpoint under the file name of a published model whose hash it has, or has not."""
    path, _ = CHECKPOINTS[case].write(folder)
    digest = sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
    model = next(model for model in PUBLISHED if model.name == name)
    model = replace(model, url=f"https://example.org/{name}-{digest[:8]}.pth")
    found = path.rename(path.with_name(model.file_name))

    def published_file(file_name: str) -> Published | None:
        return model if file_name == model.file_name else None

    monkeypatch.setattr(sources, "published_file", published_file)
    return found


def test_a_published_file_carries_its_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = published_as("dinov3_vits16", "dinov3", tmp_path, monkeypatch, None)
    report = convert(source, tmp_path / "out", level="exact")
    card = ModelCard.load(tmp_path / "out" / "README.md").data
    assert card.license == "other"
    assert card.license_name == "dinov3-license"
    assert card.license_link == "LICENSE.md"
    assert card.base_model == "facebook/dinov3-vits16-pretrain-lvd1689m"
    assert (tmp_path / "out" / "LICENSE.md").read_text().startswith("# DINOv3 License")
    assert "LICENSE.md" in {file.name for file in report.files}
    assert "under the DINOv3 License, which binds" in (tmp_path / "out" / "README.md").read_text()


def test_the_same_name_with_other_content_is_not_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = published_as("dinov3_vits16", "dinov3", tmp_path, monkeypatch, "0" * 64)
    convert(source, tmp_path / "out", level="exact")
    assert not (tmp_path / "out" / "LICENSE.md").exists()
    card = ModelCard.load(tmp_path / "out" / "README.md").data
    assert card.license is None
    assert card.base_model is None
    assert "this conversion does not know it" in (tmp_path / "out" / "README.md").read_text()


def test_a_file_that_is_only_called_like_a_published_one_is_not_claimed(tmp_path: Path) -> None:
    path, request = CHECKPOINTS["vit"].write(tmp_path)
    named = path.rename(path.with_name("dino_vitbase16_pretrain.pth"))
    convert(named, tmp_path / "out", request, level="exact")
    assert ModelCard.load(tmp_path / "out" / "README.md").data.license is None


def test_a_published_name_is_beyond_doubt(tmp_path: Path) -> None:
    model = next(model for model in PUBLISHED if model.name == "dinov2_vitb14_reg")
    located = sources.Located(model.name, tmp_path / model.file_name, published=model, by_name=True)
    assert located.genuine("dinov2") is model
    assert model.hub == "facebook/dinov2-with-registers-base"


@pytest.mark.parametrize(("flipped", "claimed"), [(False, True), (True, False)])
def test_a_renamed_file_is_known_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flipped: bool, claimed: bool
) -> None:
    file = tmp_path / "weights (1).pth"
    content = bytes(range(250)) * 4
    digest = hashlib.sha256(content).hexdigest()
    file.write_bytes(content[:-1] + b"!" if flipped else content)
    first, *others = PUBLISHED
    model = replace(first, url=f"https://example.org/model-{digest[:8]}.pth", parameters=249)
    monkeypatch.setattr("dinoport.codebases.published_names.PUBLISHED", (*others, model))
    assert sources.locate(file).genuine(model.family) == (model if claimed else None)


@pytest.mark.parametrize(("size_bytes", "family"), [(5, "dinov3"), (1000, "dinov2")], ids=["size", "family"])
def test_a_renamed_file_of_another_size_or_family_is_not_even_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int, family: str
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(bytes(size_bytes))
    model = replace(next(model for model in PUBLISHED if model.family == "dinov3"), parameters=249)
    monkeypatch.setattr("dinoport.codebases.published_names.PUBLISHED", (model,))
    monkeypatch.setattr(sources, "hash_file", lambda path: pytest.fail("hashed"))
    assert sources.locate(file).genuine(family) is None


def test_every_published_licence_is_known() -> None:
    assert {model.licence for model in PUBLISHED} == set(LICENCES)
