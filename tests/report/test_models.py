"""The table of published models, on the terminal, as JSON, and in the documentation."""

from pathlib import Path

import pytest

from dinoport.codebases.published_names import PUBLISHED
from dinoport.report.models import models_lines, models_page, models_to_dict

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_page_is_what_the_code_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == models_page(), "python -m dinoport.report.models > docs/models.md"


def test_every_model_has_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    lines = models_lines()
    assert lines[1].split() == [
        "dino_vits16",
        "86.7",
        "MB",
        "apache-2.0",
        "-",
        "https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
    ]
    for model in PUBLISHED:
        assert any(model.name in line.split() and line.endswith(model.url) for line in lines)


def test_on_a_narrow_terminal_an_address_has_its_own_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    lines = models_lines(80)
    assert lines[2:4] == [
        "  dino_vits16                       86.7 MB    apache-2.0              -",
        "    https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
    ]
    assert [line.strip() for line in lines if "https:" in line] == [model.url for model in PUBLISHED]
    assert all(len(line) <= 80 for line in lines if "https:" not in line)
    assert models_lines(300) == models_lines()


def test_a_cached_file_is_marked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "dinov2_vits14_pretrain.pth").touch()
    lines = models_lines()
    assert [line.split()[1] for line in lines if line.startswith("* dino")] == ["dinov2_vits14"]
    assert f"* in {folder}" in lines
    listed = models_to_dict()["models"]
    assert isinstance(listed, list)
    assert [model["name"] for model in listed if model["cached"]] == ["dinov2_vits14"]


def test_json_says_what_the_table_says() -> None:
    listed = {model["name"]: model for model in models_to_dict()["models"]}  # type: ignore[attr-defined]  # JSON, typed as objects
    assert listed["dinov3_vit7b16"] == {
        "name": "dinov3_vit7b16",
        "family": "dinov3",
        "size_bytes": 26_864_173_056,
        "licence": "dinov3-license",
        "gated": True,
        "address": "https://dl.fbaipublicfiles.com/dinov3/dinov3_vit7b16/dinov3_vit7b16_pretrain_lvd1689m-a955f4ea.pth",
        "sha256_prefix": "a955f4ea",
        "head_address": None,
        "no_head": "Transformers has no DINOv3 class that classifies images",
        "refused": None,
        "cached": False,
    }
