import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dinoport.codebases.transformers.processor import processor_config
from dinoport.networks.preprocessing import DINOV3_PROCESSOR, DINOV3_SAT, EVALUATION, Preprocessing
from dinoport.proofs import pixels
from dinoport.proofs.picture import picture_tensor, pil_resize, synthetic_picture
from tests.with_torchvision import INSTALLED

SAME_CROP = [(640, 480), (613, 449), (449, 613), (200, 333), (224, 224), (256, 256), (33, 31), (500, 375)]
CROP_ASIDE = [(640, 427), (1024, 683), (75, 301)]
"""Half the margin lies between an odd number and an even one: Transformers takes the lower, DINO the even one."""


@pytest.fixture
def pil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure PIL's classes, also where torchvision is installed."""
    from transformers import AutoImageProcessor

    def load(folder: Path) -> Any:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, use_fast=False)

    if INSTALLED:
        monkeypatch.setattr(pixels, "_load", load)


def write(folder: Path, preprocessing: Preprocessing, **changed: object) -> Path:
    config = {**processor_config(preprocessing), **changed}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return folder


def prove(
    folder: Path, preprocessing: Preprocessing = EVALUATION, sides: tuple[int, int] = (640, 480), **changed: object
) -> pixels.PixelsProof:
    return pixels.prove(write(folder, preprocessing, **changed), preprocessing, synthetic_picture(*sides), "a picture")


@pytest.mark.usefixtures("pil")
@pytest.mark.parametrize("sides", SAME_CROP)
def test_equal_means_no_difference_at_all(sides: tuple[int, int], tmp_path: Path) -> None:
    found = replace(prove(tmp_path, sides=sides), classes=())
    assert found == pixels.PixelsProof("equal", "PIL", 0.0, 0.0, "a picture")


@pytest.mark.usefixtures("pil")
@pytest.mark.parametrize("input_size", [96, 112, 448])
def test_other_input_sizes_and_statistics(input_size: int, tmp_path: Path) -> None:
    own = EVALUATION.for_image_size(input_size).with_statistics((0.1, 0.2, 0.3), (0.7, 0.8, 0.9))
    assert prove(tmp_path, own, (640, 480)).status == "equal"


@pytest.mark.usefixtures("pil")
@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_pictures_of_other_modes(mode: str, tmp_path: Path) -> None:
    picture = synthetic_picture(320, 240).convert(mode)
    assert pixels.prove(write(tmp_path, EVALUATION), EVALUATION, picture, "").status == "equal"


@pytest.mark.usefixtures("pil")
@pytest.mark.parametrize("sides", CROP_ASIDE)
def test_an_odd_margin_is_cropped_one_pixel_aside(sides: tuple[int, int], tmp_path: Path) -> None:
    proof = prove(tmp_path, sides=sides)
    assert proof.status == "one pixel"
    assert proof.max_grey_levels > 10
    assert proof.reason == "the centre is cropped one pixel off; with the same crop the difference is 0 grey levels"


MUTANTS: dict[str, dict[str, object]] = {
    "bilinear": {"resample": 2},
    "lanczos": {"resample": 1},
    "nearest": {"resample": 0},
    "squash": {"size": {"height": 224, "width": 224}, "do_center_crop": False},
    "squash, then crop": {"size": {"height": 256, "width": 256}},
    "statistics of 0.5": {"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    "statistics of CLIP": {"image_mean": [0.48145466, 0.4578275, 0.40821073]},
    "statistics of BGR": {"image_mean": [0.406, 0.456, 0.485], "image_std": [0.225, 0.224, 0.229]},
    "a digit of a mean": {"image_mean": [0.486, 0.456, 0.406]},
    "a digit of a deviation": {"image_std": [0.2291, 0.224, 0.225]},
    "resize 224, no crop": {"size": {"shortest_edge": 224}, "do_center_crop": False},
    "resize 224": {"size": {"shortest_edge": 224}},
    "resize 255": {"size": {"shortest_edge": 255}},
    "no resize": {"do_resize": False},
    "no rescale": {"do_rescale": False},
    "rescale by 256": {"rescale_factor": 1 / 256},
    "no normalisation": {"do_normalize": False},
    "crop 222": {"crop_size": {"height": 222, "width": 222}},
}


@pytest.mark.usefixtures("pil")
@pytest.mark.parametrize("sides", [(640, 480), (449, 613), (640, 427)])
@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_other_transform_is_different(mutant: str, sides: tuple[int, int], tmp_path: Path) -> None:
    proof = prove(tmp_path, sides=sides, **MUTANTS[mutant])
    assert proof.status == "different"
    assert proof.backend == "PIL"
    json.dumps(asdict(proof), allow_nan=False)


@pytest.mark.usefixtures("pil")
def test_a_square_picture_does_not_hide_a_missing_crop(tmp_path: Path) -> None:
    assert prove(tmp_path, sides=(300, 300), **MUTANTS["resize 224, no crop"]).status == "different"


@pytest.mark.usefixtures("pil")
def test_sizes_that_differ_are_named(tmp_path: Path) -> None:
    proof = prove(tmp_path, **MUTANTS["resize 224, no crop"])
    assert (proof.status, proof.max_grey_levels) == ("different", None)
    assert proof.reason == "the processor gives 1×3×224×298 values, the original 1×3×224×224"


class Stub:
    """An image processor made of the steps that a test gives it."""

    def __init__(self, backend: str, values: Callable[[Image.Image], np.ndarray]) -> None:
        self.backend = backend
        self._values = values

    def __call__(self, picture: Image.Image, return_tensors: str) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.from_numpy(self._values(picture))}


def prove_stub(
    monkeypatch: pytest.MonkeyPatch,
    stub: Stub,
    sides: tuple[int, int] = (640, 480),
    preprocessing: Preprocessing = EVALUATION,
) -> pixels.PixelsProof:
    monkeypatch.setattr(pixels, "_load", lambda folder: stub)
    return pixels.prove(Path("unread"), preprocessing, synthetic_picture(*sides), "a picture")


@pytest.mark.parametrize("sides", [*SAME_CROP[:4], *CROP_ASIDE])
@pytest.mark.parametrize(
    "aside", [lambda half: round(half) + 1, lambda half: floor(half) - 1, lambda half: math.ceil(half) + 1]
)
@pytest.mark.parametrize("backend", ["pil", "torchvision"])
def test_a_crop_off_by_one_is_different(
    backend: str, aside: Callable[[float], int], sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = Stub(backend, lambda picture: picture_tensor(picture, EVALUATION, crop_offset=aside))
    assert prove_stub(monkeypatch, stub, sides).status == "different"


def torchvision_bit(
    picture: Image.Image,
    preprocessing: Preprocessing = EVALUATION,
    mode: str = "bicubic",
    antialias: bool = True,
    std: tuple[float, ...] = EVALUATION.std,
) -> np.ndarray:
    """`_preprocess` of Transformers' TorchvisionBackend, as its image_processing_backends.py has it."""
    levels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    height, width = levels.shape[-2:]
    short = preprocessing.resize
    size = (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
    levels = torch.nn.functional.interpolate(levels, size, mode=mode, antialias=antialias)
    assert preprocessing.crop
    top, left = int((size[0] - preprocessing.crop) / 2.0), int((size[1] - preprocessing.crop) / 2.0)
    levels = levels[..., top : top + preprocessing.crop, left : left + preprocessing.crop].float()
    mean, spread = (torch.tensor(numbers)[:, None, None] * 255 for numbers in (preprocessing.mean, std))
    return ((levels - mean) / spread).numpy()


@pytest.mark.parametrize(
    ("sides", "input_size", "status"),
    [
        ((640, 480), 224, "one grey level"),
        ((613, 449), 224, "one grey level"),
        ((224, 224), 224, "equal"),
        ((640, 427), 224, "one pixel"),
        ((640, 480), 448, "two grey levels"),
    ],
)
def test_torchvision_is_told_from_pil(
    sides: tuple[int, int], input_size: int, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocessing = EVALUATION.for_image_size(input_size)
    stub = Stub("torchvision", lambda picture: torchvision_bit(picture, preprocessing))
    proof = prove_stub(monkeypatch, stub, sides, preprocessing)
    assert (proof.status, proof.backend) == (status, "torchvision")
    if "level" in status:
        assert round(proof.max_grey_levels) == {"one": 1, "two": 2}[status.split()[0]]
        reason = "torchvision rounds otherwise than PIL when it resizes; with its resize there is no difference"
        assert proof.reason == reason
        assert proof.max_difference == pytest.approx(proof.max_grey_levels / 255 / 0.226, rel=0.02)


def dinov3(picture: Image.Image, preprocessing: Preprocessing = DINOV3_PROCESSOR) -> np.ndarray:
    """`_preprocess` of Transformers' DINOv3ViTImageProcessor: rescale, resize, normalise, all in floats."""
    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] * (1 / 255)
    size = (preprocessing.resize,) * 2
    values = torch.nn.functional.interpolate(values, size, mode="bilinear", antialias=True)
    mean, spread = (torch.tensor(numbers)[:, None, None] for numbers in (preprocessing.mean, preprocessing.std))
    return ((values - mean) / spread).numpy()


# Where hundreds of pixels become one, sums of float32 part by more than elsewhere.
@pytest.mark.parametrize("sides", [(640, 480), (449, 613), (64, 64), (17, 4000), (4000, 17), (2, 3)])
def test_dinov3_resizes_floats_where_upstream_keeps_whole_grey_levels(
    sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = prove_stub(monkeypatch, Stub("torchvision", dinov3), sides, DINOV3_PROCESSOR)
    assert (proof.status, proof.backend) == ("one grey level", "torchvision")
    assert proof.reason == (
        "the processor resizes floats, where the original keeps whole grey levels; with its resize there is no "
        "difference"
    )


def test_without_a_resize_dinov3_differs_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    proof = prove_stub(monkeypatch, Stub("torchvision", dinov3), (224, 224), DINOV3_PROCESSOR)
    assert (proof.status, proof.max_difference) == ("equal", 0.0)


@pytest.mark.parametrize(
    "other",
    [
        replace(DINOV3_PROCESSOR, std=(0.2291, 0.224, 0.225)),
        replace(DINOV3_PROCESSOR, resample="bicubic"),
        replace(DINOV3_PROCESSOR, resize=223),
        DINOV3_SAT,
    ],
)
def test_every_other_transform_is_different_from_dinov3s(other: Preprocessing, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub("torchvision", lambda picture: picture_tensor(picture, other))
    assert prove_stub(monkeypatch, stub, preprocessing=DINOV3_PROCESSOR).status == "different"


def test_pil_in_the_place_of_dinov3s_tensors_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub("pil", lambda picture: picture_tensor(picture, replace(DINOV3_PROCESSOR, resizes="picture")))
    proof = prove_stub(monkeypatch, stub, preprocessing=DINOV3_PROCESSOR)
    assert (proof.status, proof.backend) == ("one grey level", "PIL")
    assert proof.reason == (
        "PIL rounds otherwise than the original when it resizes; with its resize there is no difference"
    )


@pytest.mark.parametrize(
    "changed",
    [{"mode": "bilinear"}, {"antialias": False}, {"std": (0.2291, 0.224, 0.225)}, {"std": (0.5, 0.5, 0.5)}],
)
@pytest.mark.parametrize("sides", [(640, 480), (640, 427), (320, 300)])
def test_a_grey_level_of_grace_hides_no_other_transform(
    changed: dict[str, Any], sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = Stub("torchvision", lambda picture: torchvision_bit(picture, **changed))
    assert prove_stub(monkeypatch, stub, sides).status == "different"


def test_pil_is_given_no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_value_aside(picture: Image.Image) -> np.ndarray:
        values = picture_tensor(picture, EVALUATION)
        values[0, 1, 100, 100] = np.nextafter(values[0, 1, 100, 100], np.float32(9))
        return values

    assert prove_stub(monkeypatch, Stub("pil", one_value_aside)).status == "different"
    assert prove_stub(monkeypatch, Stub("torchvision", one_value_aside)).status == "equal"
    assert prove_stub(monkeypatch, Stub("pil", torchvision_bit)).status == "different"


def test_a_resize_that_misses_by_more_is_different(monkeypatch: pytest.MonkeyPatch) -> None:
    def three_levels_aside(levels: np.ndarray, size: tuple[int, int], resample: str) -> np.ndarray:
        return np.minimum(pil_resize(levels, size, resample), 252) + 3

    monkeypatch.setattr(pixels, "_resize", lambda preprocessing, backend: three_levels_aside)
    stub = Stub("torchvision", lambda picture: picture_tensor(picture, EVALUATION, three_levels_aside))
    assert prove_stub(monkeypatch, stub).status == "different"


def test_the_picture_is_proven_as_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_conversion(picture: Image.Image) -> np.ndarray:
        assert picture.mode == "RGB"
        return picture_tensor(picture, EVALUATION)

    monkeypatch.setattr(pixels, "_load", lambda folder: Stub("pil", no_conversion))
    picture = synthetic_picture(300, 200).convert("RGBA")
    assert pixels.prove(Path("unread"), EVALUATION, picture, "").status == "equal"


def test_models_of_other_channels_are_not_shown(tmp_path: Path) -> None:
    proof = pixels.prove(tmp_path, EVALUATION, synthetic_picture(30, 30), "a picture", channels=4)
    assert proof.status == "not shown"
    assert proof.reason == "no image processor is written for a model of 4 channels"


@pytest.mark.skipif(INSTALLED, reason="without torchvision")
def test_a_processor_that_needs_torchvision_is_not_shown(tmp_path: Path) -> None:
    proof = prove(tmp_path, DINOV3_PROCESSOR)
    assert proof == pixels.PixelsProof("not shown", reason="the processor needs torchvision")


def test_torchvision_is_not_blamed_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(folder: Path) -> None:
        raise ImportError("torchvision is of another version\nthan torch")

    monkeypatch.setattr(pixels, "_load", load)
    monkeypatch.setattr("dinoport.shown.packages.find_spec", lambda name: object())
    proof = pixels.prove(tmp_path, DINOV3_PROCESSOR, synthetic_picture(30, 30), "a picture")
    assert (proof.status, proof.reason) == (
        "different",
        "the processor fails: torchvision is of another version",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the processor fails: "),
        ("{", "the processor fails: "),
        ('{"image_processor_type": "NoSuchProcessor"}', "the processor fails: "),
    ],
)
def test_a_processor_that_does_not_load_is_different(content: str | None, reason: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(content)
    proof = pixels.prove(tmp_path, EVALUATION, synthetic_picture(300, 300), "a picture")
    assert (proof.status, proof.max_grey_levels) == ("different", None)
    assert proof.reason is not None
    assert proof.reason.startswith(reason)
    assert "\n" not in proof.reason


def test_code_of_the_folder_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    config = {"image_processor_type": "Own", "auto_map": {"AutoImageProcessor": "own.Own"}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    assert pixels.prove(tmp_path, EVALUATION, synthetic_picture(300, 300), "a picture").status == "different"
    assert not (tmp_path / "ran").exists()
