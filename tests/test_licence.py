"""A licence is claimed only for what is a published model beyond doubt, and its text goes along."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from dinoport.api import convert
from dinoport.codebases import published_names
from dinoport.codebases.published_names import PUBLISHED
from dinoport.finding import sources
from dinoport.formats.remote import opening
from dinoport.writing.licence import LICENCES
from tests.codebases.relatives import BY_NAME as RELATIVES
from tests.families.cases import CASES
from tests.http_server import Site, serving
from tests.published_site import published_at_home

pytest.importorskip("torch")

CHECKPOINTS = {case.name: case for case in CASES}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small checkpoint that a published name gives."""
    path, _ = CHECKPOINTS["dinov3"].write(tmp_path)
    with published_at_home(monkeypatch, tmp_path / "torch", path.read_bytes(), b"") as site:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        moved = [
            model._replace(url=re.sub("-[0-9a-f]{8}[.]", f"-{digest[:8]}.", model.url)) if model.gated else model
            for model in published_names.PUBLISHED
        ]
        monkeypatch.setattr(published_names, "PUBLISHED", tuple(moved))
        for model in moved:
            site.files[model.url.removeprefix(f"{site.base}/")] = path.read_bytes()
        yield path


def test_a_published_model_carries_its_licence(published: Path, tmp_path: Path) -> None:
    report = convert("dinov3_vits16", tmp_path / "out", level="exact")
    card = ModelCard.load(tmp_path / "out" / "README.md").data
    assert card.license == "other"
    assert card.license_name == "dinov3-license"
    assert card.license_link == "LICENSE.md"
    assert card.base_model == "facebook/dinov3-vits16-pretrain-lvd1689m"
    assert (tmp_path / "out" / "LICENSE.md").read_text().startswith("# DINOv3 License")
    assert "LICENSE.md" in {file.name for file in report.files}
    assert "under the DINOv3 License, which binds" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "case", "licence", "hub"),
    [
        ("mae_vit_base_whole", "mae-bare", "cc-by-nc-4.0", "facebook/vit-mae-base"),
        ("deit_small_distilled_patch16_224", "deit-distilled", "apache-2.0", None),
        ("deit_3_huge_224_21k", "deit3", "apache-2.0", None),
        ("webssl_mae300m_full2b_224", "mae-bare", "cc-by-nc-4.0", None),
        ("webssl_dino7b_full8b_518", "webssl-dino", "cc-by-nc-4.0", None),
        ("moco_v3_vits16", "moco", "cc-by-nc-4.0", None),
        ("msn_vitl7", "msn", "cc-by-nc-4.0", None),
        ("ijepa_vith14_1k", "ijepa", "cc-by-nc-4.0", None),
    ],
)
def test_a_relative_by_its_published_name(
    name: str, case: str, licence: str, hub: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched from where its authors offer it, it is theirs beyond doubt, and under their licence."""
    content = RELATIVES[case].write(tmp_path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with published_at_home(monkeypatch, tmp_path / "torch", content, b"") as site:
        own = next(model for model in published_names.PUBLISHED if model.name == name)
        moved = own._replace(url=re.sub("-[0-9a-f]{8}[.]", f"-{digest[:8]}.", own.url))
        monkeypatch.setattr(published_names, "PUBLISHED", (moved,))
        site.files[moved.url.removeprefix(f"{site.base}/")] = content
        report = convert(name, tmp_path / "out", level="exact")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.license, card.data.base_model) == (licence, hub)
    codebase = [each for each in report.settings if each.name == "codebase"]
    assert all(each.reason == "where it was fetched from" for each in codebase)
    assert report.ends[0].startswith(
        {"mae-bare": "MAE", "webssl-dino": "WebSSL-DINO", "moco": "MoCo", "msn": "MSN", "ijepa": "I-JEPA"}.get(
            case, "DeiT"
        )
    )


def test_a_licence_whose_text_is_not_kept_here_is_linked() -> None:
    for licence in LICENCES.values():
        assert bool(licence.text) != bool(licence.link)
        assert licence.place == (f"<{licence.link}>" if licence.link else f"`{licence.file_name}`")


def test_from_the_cache_it_is_not_claimed_again(published: Path, tmp_path: Path) -> None:
    """Half a hash in its name held: anyone can match so much."""
    convert("dinov3_vits16", tmp_path / "first", level="exact")
    convert("dinov3_vits16", tmp_path / "out", level="exact")
    assert not (tmp_path / "out" / "LICENSE.md").exists()
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.license, card.data.base_model) == (None, None)
    assert "this conversion does not know it" in card.text
    assert "where nothing vouches for it" in card.text


def test_a_file_that_is_only_called_like_a_published_one_is_not_claimed(tmp_path: Path) -> None:
    path, request = CHECKPOINTS["vit"].write(tmp_path)
    named = path.rename(path.with_name("dino_vitbase16_pretrain.pth"))
    convert(named, tmp_path / "out", request, level="exact")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.license, card.data.base_model) == (None, None)
    assert "is called like the file of dino\\_vitb16, and is not proven to be it" in card.text


def test_what_was_fetched_from_the_published_address_is_beyond_doubt(tmp_path: Path) -> None:
    for model in PUBLISHED:
        located = sources.Located(model.name, tmp_path / model.file_name, published=model, fetched=True)
        assert located.genuine(model.family) is model
        assert located.genuine("another") is None, "its tensors say otherwise"
        assert model.url.startswith("https://")
    assert next(model for model in PUBLISHED if model.name == "dinov2_vitb14_reg").hub == (
        "facebook/dinov2-with-registers-base"
    )


@pytest.mark.parametrize("place", ["renamed", "under its name", "in torch.hub's cache", "continued there"])
@pytest.mark.parametrize("digits", [8, 16, 63])
def test_a_part_of_a_hash_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, digits: int
) -> None:
    """Whatever of a file's hash stands in a name: who makes a file can make the name, or 32 bits of the hash."""
    content = bytes(range(250)) * 4
    digest = hashlib.sha256(content).hexdigest()
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serving(Site(files={f"dinov9-{digest[:digits]}.pth": content})) as site:
        first, *others = PUBLISHED
        model = first._replace(url=site.url(f"dinov9-{digest[:digits]}.pth"), parameters=250)
        monkeypatch.setattr("dinoport.codebases.published_names.PUBLISHED", (*others, model))
        monkeypatch.setattr(opening, "check_downloaded", lambda path, address: None)
        monkeypatch.setattr(opening, "check_beginning", lambda path, address: None)
        if place in ("renamed", "under its name"):
            file = tmp_path / ("weights (1).pth" if place == "renamed" else model.file_name)
            file.write_bytes(content)
            located = sources.locate(file)
            called = f"{file} is called like the file of {model.name}, and is not proven to be it"
            assert located.remarks == ((called,) if place == "under its name" else ())
        else:
            part = content if place == "in torch.hub's cache" else content[:700]
            (cache / f"{model.file_name}{'' if part is content else '.part'}").write_bytes(part)
            etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
            note = {"address": model.url, "size_bytes": 1000, "etag": f'"{etag}"', "last_modified": None}
            (cache / f"{model.file_name}.part.json").write_text(json.dumps(note))
            located = sources.locate(model.name)
            assert located.path is not None
            assert located.path.read_bytes() == content
            assert "where nothing vouches for it" in located.remarks[0]
        assert located.genuine(model.family) is None


def test_every_published_licence_is_known() -> None:
    assert {model.licence for model in PUBLISHED} == set(LICENCES)
