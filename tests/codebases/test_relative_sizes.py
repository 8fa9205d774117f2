"""Heads of published sizes, on headers alone: files that announce the genuine shapes, and hold holes."""

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path

import pytest

from dinoport import api
from dinoport.codebases.catalogue import RELATIVES, naming_of
from dinoport.errors import UnknownModelError
from dinoport.report.report import Report

FIXTURES = Path(__file__).parents[1] / "fixtures" / "relatives"

SIZES = {size["id"]: size for size in json.loads((FIXTURES / "sizes.json").read_text())}
"""Names, shapes and true head counts of published models, read off the genuine builders."""

FAMILIES = {
    "DeiT III": "deit3",
    "Franca": "franca",
    "I-JEPA": None,
    "MAE": "mae",
    "MoCo v3": "moco_v3",
    "MSN": "msn",
    "TIPS": "tips",
    "Web-DINO": "webssl_dino",
    "Web-MAE": "mae",
    "DINOv2": None,
}


def hollow(path: Path, size: Mapping[str, object]) -> Path:
    """A safetensors file of these shapes without its values: a hole on disk."""
    shapes = dict(size["outside"])
    for index in range(size["depth"]):
        prefix = f"blocks.{index // 4}.{index}" if size["chunked"] else f"blocks.{index}"
        shapes |= {f"{prefix}.{name}": shape for name, shape in size["block"].items()}
    header, end = {}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end := end + 4 * prod(shape)]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


def heads(path: Path, **asked: object) -> int:
    report = api.plan(path, **asked)
    return int(next(setting.value for setting in report.settings if setting.name == "heads"))


@pytest.mark.parametrize("name", [name for name, size in SIZES.items() if size["family"] in FAMILIES])
def test_heads_are_the_builders(name: str, tmp_path: Path) -> None:
    size = SIZES[name]
    path = hollow(tmp_path / "model.safetensors", size)
    family = FAMILIES[size["family"]]
    assert heads(path, **({"codebase": family} if family else {})) == size["heads"]
    if name != "moco3-vit_small":  # which has DINO's very shapes
        assert heads(path) == size["heads"]


def test_moco_s_small_is_not_silently_dino_s(tmp_path: Path) -> None:
    path = hollow(tmp_path / "model.safetensors", SIZES["moco3-vit_small"])
    assert "12 heads in MoCo v3" in why(api.plan(path))
    assert heads(path) == 6


def test_a_number_of_heads_that_is_known_has_no_other_beside_it(tmp_path: Path) -> None:
    """Whose the model is decides other things still."""
    told = why(api.plan(hollow(tmp_path / "model.safetensors", SIZES["moco3-vit_small"]), num_heads=6))
    assert "heads" not in told
    assert "resampling of positions in MoCo v3" in told


def why(report: Report) -> str:
    return next(setting.reason for setting in report.settings if setting.name == "codebase")


@pytest.mark.parametrize("name", [name for name, size in SIZES.items() if size["family"] == "Pixio"])
def test_pixio_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="is a Pixio"):
        api.plan(hollow(tmp_path / "model.safetensors", SIZES[name]))


@pytest.mark.parametrize(
    "name", ["webssl-dino2b-full2b-224", "webssl-dino7b-full8b-518", "webssl-mae3b-full2b-224", "tips-vit_base"]
)
def test_a_size_that_one_alone_published_names_it(name: str, tmp_path: Path) -> None:
    title = api.plan(hollow(tmp_path / "model.safetensors", SIZES[name])).ends[0]
    assert title.startswith({"webssl-d": "WebSSL-DINO", "webssl-m": "MAE", "tips-vit": "TIPS"}[name[:8]])


def test_heads_of_published_sizes_follow_from_the_facts() -> None:
    """Each relative's own table of sizes has the heads that a file of that size is given."""
    seen = 0
    for name in {each for names in RELATIVES.values() for each in names}:
        relative = naming_of(name).code
        for width, depth, heads, _ in relative.sizes.values():
            assert heads == relative.facts.heads.get((width, depth), width // 64), name
            seen += 1
    assert seen == 15
