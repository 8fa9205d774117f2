"""One picture of each class stands for all: the classes are right, each is compared, and what differs is said."""

import json
from collections.abc import Callable
from dataclasses import replace
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image, ImageOps

from dinoport.codebases.transformers.processor import processor_config
from dinoport.networks.preprocessing import DINOV3_PROCESSOR, EVALUATION, Preprocessing
from dinoport.proofs import pixels
from dinoport.proofs.picture import picture_tensor, synthetic_picture
from dinoport.proofs.samples import class_name, kind_samples, shares, size_classes, size_samples
from tests.with_torchvision import needs_torchvision

SIZES = (1, 3, 8, 32, 48, 224, 384, 518)
CROPS = [EVALUATION.for_image_size(size) for size in SIZES]
OF_5 = transformers.__version__ >= "5"


def of_size(width: int, height: int, preprocessing: Preprocessing) -> int:
    return int(size_classes(np.array(width), np.array(height), preprocessing))


def resized(width: int, height: int, resize: int) -> tuple[int, int]:
    longer = int(resize * max(width, height) / min(width, height))
    return (resize, longer) if width <= height else (longer, resize)


@pytest.mark.parametrize("preprocessing", [*CROPS, DINOV3_PROCESSOR], ids=lambda one: str(one.size))
def test_every_class_of_sizes_has_a_sample(preprocessing: Preprocessing) -> None:
    every = shares(preprocessing)
    samples = list(size_samples(preprocessing))
    assert {sample.name for sample in samples} >= {class_name(number, preprocessing) for number in every}
    assert sum(every.values()) == pytest.approx(1)
    assert sum(sample.share or 0.0 for sample in samples) == pytest.approx(1)
    for sample in samples:
        assert class_name(of_size(*sample.picture.size, preprocessing), preprocessing) == sample.name


@pytest.mark.parametrize("preprocessing", CROPS, ids=lambda one: str(one.size))
def test_the_sizes_of_a_class_are_cropped_alike(preprocessing: Preprocessing) -> None:
    """Both ways to halve a margin differ for all sizes of a class, or for none: 4,000 of them, narrow ones too."""
    assert preprocessing.crop
    random = np.random.default_rng(4)
    differs: dict[int, set[bool]] = {}
    for width, height in np.exp(random.uniform(0, 8, (4000, 2))).astype(int).tolist():
        halves = [(side - preprocessing.crop) / 2 for side in resized(width, height, preprocessing.resize)]
        aside = any(round(half) != floor(half) for half in halves)
        differs.setdefault(of_size(width, height, preprocessing), set()).add(aside)
    assert len(differs) > 10
    few_rows = {of_size(9, 1, preprocessing), of_size(9, 3, preprocessing)}
    assert all(len(found) == 1 for number, found in differs.items() if number not in few_rows)


def processor(folder: Path, preprocessing: Preprocessing) -> Path:
    (folder / "preprocessor_config.json").write_text(json.dumps(processor_config(preprocessing)))
    return folder


@pytest.mark.parametrize("size", [8, 48, 224])
def test_a_class_stands_for_its_sizes(size: int, tmp_path: Path) -> None:
    """What was found on its sample is found on any other picture of the class, with Transformers' own processor."""
    preprocessing = EVALUATION.for_image_size(size)
    folder = processor(tmp_path, preprocessing)
    proof = pixels.prove(folder, preprocessing, synthetic_picture(), "a picture")
    known = {one.name: one.status for one in proof.classes}
    seen = set()
    loaded = pixels._load(folder)
    for width, height in np.random.default_rng(5).integers(4, 400, (40, 2)).tolist():
        name = class_name(of_size(width, height, preprocessing), preprocessing)
        found = pixels._compared(loaded, synthetic_picture(width, height), preprocessing).status
        levels = ("equal", "one grey level", "two grey levels")
        assert found == known[name] or {found, known[name]} <= set(levels), (width, height, name)
        seen.add(found)
    assert "one pixel" in seen
    assert len(seen) > 1 or size == 48  # where the shorter side's margin is cropped aside, every picture is


@pytest.mark.parametrize("size", [224, 16, 48, 384])
def test_the_crop_is_one_exception_in_one_phrase(size: int, tmp_path: Path) -> None:
    which = "every picture size" if size in (48, 384) else "a quarter of all picture sizes"
    preprocessing = EVALUATION.for_image_size(size)
    for sides in ((640, 480), (259, 256), (256, 259)):
        proof = pixels.prove(processor(tmp_path, preprocessing), preprocessing, synthetic_picture(*sides), "a picture")
        found = [line for line in proof.exceptions if "crop" in line]
        aside = [one for one in (proof, *proof.classes) if one.status == "one pixel"]
        levels = max(one.max_grey_levels or 0.0 for one in aside)
        assert found == [
            f"for the crop (at {which} it is one pixel off: values differ by up to {levels:.0f} grey levels)"
        ]
        assert levels > 10
        assert proof.failures == ()
    assert size != 224 or levels > 80


def test_transparent_pictures_are_named_where_they_differ(tmp_path: Path) -> None:
    proof = pixels.prove(processor(tmp_path, EVALUATION), EVALUATION, synthetic_picture(), "a picture")
    white = [one.name for one in proof.classes if one.status == "on white"]
    transparent = [one.name for one in proof.classes if "transparent" in one.name]
    assert len(transparent) == 6
    assert white == (transparent if OF_5 else [])
    said = "for transparent pictures (laid on white, where the original drops the transparency: up to 255 grey levels)"
    assert (said in proof.exceptions) == OF_5


def test_every_kind_of_picture_is_compared() -> None:
    kinds = {sample.name: sample.picture for sample in kind_samples()}
    modes = {picture.mode for picture in kinds.values()}
    assert modes == {"L", "1", "CMYK", "YCbCr", "HSV", "P", "I;16", "I", "F", "RGB", "RGBA", "LA"}
    assert kinds["pictures with an orientation tag"].getexif()[0x0112] == 6
    for name, picture in kinds.items():
        levels = np.asarray(picture.convert("RGBA").convert("RGB"))
        assert levels.std() > 20, name  # a picture that shows something
        dropped, laid = picture.convert("RGB"), picture.convert("RGBA")
        white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), laid).convert("RGB")
        assert (dropped.tobytes() != white.tobytes()) == ("transparent" in name), name


class Stub:
    backend = "pil"

    def __init__(self, values: Callable[[Image.Image], np.ndarray]) -> None:
        self._values = values

    def __call__(self, picture: Image.Image, return_tensors: str) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.from_numpy(self._values(picture))}


def turned(picture: Image.Image) -> np.ndarray:
    return picture_tensor(ImageOps.exif_transpose(picture), EVALUATION)


def stretched(picture: Image.Image) -> np.ndarray:
    """16-bit pictures brought to 255 by their own largest level."""
    if picture.mode == "I;16":
        levels = np.asarray(picture).astype(np.float64)
        picture = Image.fromarray((levels / levels.max() * 255).astype(np.uint8))
    return picture_tensor(picture, EVALUATION)


def on_black(picture: Image.Image) -> np.ndarray:
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)
    return picture_tensor(picture, EVALUATION)


def wrong(where: Callable[[Image.Image], bool], **changed: Any) -> Callable[[Image.Image], np.ndarray]:
    """The original's transform, but another one where `where` says so."""
    other = replace(EVALUATION, **changed)
    return lambda picture: picture_tensor(picture, other if where(picture) else EVALUATION)


MUTANTS: dict[str, tuple[Callable[[Image.Image], np.ndarray], str]] = {
    "tall pictures": (wrong(lambda one: one.height > one.width, mean=(0.5, 0.5, 0.5)), "tall, margin"),
    "enlarged pictures": (wrong(lambda one: min(one.size) < 256, resample="bilinear"), "enlarged"),
    "shrunk pictures": (wrong(lambda one: min(one.size) > 256 and one.size != (640, 480), resize=255), "shrunk"),
    "grey pictures": (wrong(lambda one: one.mode == "L", std=(1.0, 1.0, 1.0)), "L pictures"),
    "palettes": (wrong(lambda one: one.mode == "P", mean=(0.4, 0.4, 0.4)), "P pictures"),
    "turned pictures": (turned, "pictures with an orientation tag"),
    "16 bits": (stretched, "I;16 pictures"),
    "laid on black": (on_black, "RGBA pictures, transparent"),
    "low pictures": (wrong(lambda one: one.height == 3, mean=(0.4, 0.4, 0.4)), "3 pixels high"),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_processor_that_is_wrong_on_some_pictures_is_different(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values, name = MUTANTS[mutant]
    monkeypatch.setattr(pixels, "_load", lambda folder: Stub(values))
    proof = pixels.prove(Path("unread"), EVALUATION, synthetic_picture(), "a picture")
    assert proof.status == "equal"
    (failure,) = proof.failures
    assert failure.startswith("pixel values differ by up to ")
    assert f"pixels ({name}" in failure or name in failure
    assert {one.status for one in proof.classes} <= {"equal", "different"}


def test_the_originals_own_transform_has_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "_load", lambda folder: Stub(lambda picture: picture_tensor(picture, EVALUATION)))
    proof = pixels.prove(Path("unread"), EVALUATION, synthetic_picture(), "a picture")
    assert (proof.exceptions, proof.failures) == ((), ())
    assert len(proof.classes) > 40


@pytest.mark.skipif(OF_5, reason="rows are taken for channels by Transformers 4")
def test_few_rows_are_named(tmp_path: Path) -> None:
    proof = pixels.prove(processor(tmp_path, EVALUATION), EVALUATION, synthetic_picture(), "a picture")
    assert "for pictures 1 or 3 pixels high (the processor takes their rows for channels)" in proof.exceptions
    assert proof.failures == ()


@needs_torchvision
def test_dinov3s_classes(tmp_path: Path) -> None:
    folder = processor(tmp_path, DINOV3_PROCESSOR)
    proof = pixels.prove(folder, DINOV3_PROCESSOR, synthetic_picture(), "a picture")
    assert proof.failures == ()
    assert proof.exceptions[0] == (
        "for pixel values (resized by torchvision, they differ by up to one grey level at every picture size)"
    )
