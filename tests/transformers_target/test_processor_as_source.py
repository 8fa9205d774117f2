"""The image processor beside a folder that is a source: taken as it is, or said not to be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport import api
from dinoport.codebases.transformers.processor import processor_config, transform_of
from dinoport.networks.preprocessing import Preprocessing
from dinoport.proofs.picture import synthetic_picture
from tests.codebases.test_folders_of_relatives import PROCESSOR, saved
from tests.families.cases import BY_NAME
from tests.with_torchvision import needs_torchvision

FILE = "preprocessor_config.json"

CROPPING = {"do_center_crop": True, "size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}

OF_DINOV3 = {**PROCESSOR, **CROPPING, "image_processor_type": "DINOv3ViTImageProcessorFast"}


def without(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in names}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("source") / "vit", "ViTForImageClassification")


def settings_beside(folder: Path, processor: dict[str, Any]) -> dict[str, tuple[str, str]]:
    (folder / FILE).write_text(json.dumps(processor))
    return {each.name: (each.value, each.reason) for each in api.plan(folder, to="timm").settings}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_mean", [0.5]),
        ("image_mean", [0.5, 0.5, 0.5, 0.5]),
        ("image_std", [0.5, 0.5]),
        ("image_std", [0.5, 0.0, 0.5]),
        ("image_std", [-0.5, -0.5, -0.5]),
    ],
)
def test_statistics_that_no_picture_can_have_are_not_taken(name: str, value: list[float]) -> None:
    found = transform_of({**PROCESSOR, name: value}, {"num_channels": 3})
    assert found == f"the transform of {FILE} is not taken: {name} = {value}"


def test_padding_is_not_taken() -> None:
    """Version 5 pads to this size, version 4 does not."""
    found = transform_of({**PROCESSOR, "do_pad": True, "pad_size": {"height": 96, "width": 96}}, {})
    assert found == f"the transform of {FILE} is not taken: pad_size = {{'height': 96, 'width': 96}}"


def test_statistics_are_one_for_each_channel_of_the_model() -> None:
    grey = {**PROCESSOR, "image_mean": [0.25], "image_std": [0.75]}
    found = transform_of(grey, {"num_channels": 1})
    assert isinstance(found, Preprocessing)
    assert (found.mean, found.std) == ((0.25,), (0.75,))


def test_a_number_that_may_be_either_size_is_not_taken() -> None:
    """Versions read a number beside this field as a square, or as the shorter side."""
    found = transform_of({**PROCESSOR, "size": 64, "default_to_square": True}, {})
    assert found == f"the transform of {FILE} is not taken: size = 64"


def test_a_file_that_names_no_class_is_of_the_model_s_own(vit: Path, tmp_path: Path) -> None:
    """As Transformers wrote these files in 2021."""
    from transformers import AutoImageProcessor

    old = {**without(PROCESSOR, "image_processor_type"), "size": 64}
    found = settings_beside(vit, old)
    assert (found["resize"], found["pixel mean"]) == (("64×64", FILE), ("0.5, 0.5, 0.5", FILE))
    api.convert(vit, tmp_path / "out", dtype="float32", level="none")
    picture = synthetic_picture(90, 70)
    theirs, ours = (
        AutoImageProcessor.from_pretrained(folder, local_files_only=True)(picture, return_tensors="pt")["pixel_values"]
        for folder in (vit, tmp_path / "out")
    )
    np.testing.assert_array_equal(theirs, ours)


def test_a_file_that_names_no_class_beside_a_model_of_another_is_not_taken(tmp_path: Path) -> None:
    folder = saved(tmp_path / "beit", "BeitModel", use_absolute_position_embeddings=True, layer_scale_init_value=0.0)
    (folder / FILE).write_text(json.dumps(without(PROCESSOR, "image_processor_type")))
    remarks = api.plan(folder, dtype="float16").remarks
    assert f"the transform of {FILE} is not taken: image_processor_type = None" in remarks


def test_a_size_that_is_not_the_model_s_is_said_to_be_scaled(vit: Path) -> None:
    found = settings_beside(vit, {**PROCESSOR, "size": {"height": 96, "width": 96}})
    assert found["resize"] == ("64×64", f"{FILE}, scaled from 96 pixels")
    assert found["pixel mean"] == ("0.5, 0.5, 0.5", FILE)


def test_a_resnet_is_given_pictures_as_large_as_its_processor_makes(tmp_path: Path) -> None:
    source, request = BY_NAME["resnet"].write(tmp_path)
    api.convert(source, tmp_path / "there", request, level="none")
    found = settings_beside(tmp_path / "there", {**PROCESSOR, **CROPPING, "image_processor_type": "BitImageProcessor"})
    assert (found["resize"], found["crop"]) == (("shorter side to 72", FILE), ("centre 64×64", FILE))


def test_a_crop_of_dinov3_s_processor_is_written_as_one() -> None:
    found = transform_of(OF_DINOV3, {})
    assert isinstance(found, Preprocessing)
    written = processor_config(found)
    assert {name: written[name] for name in ("image_processor_type", *CROPPING)} == {
        name: OF_DINOV3[name] for name in ("image_processor_type", *CROPPING)
    }
    assert transform_of(written, {}) == found


@needs_torchvision
def test_a_crop_of_dinov3_s_processor_makes_the_same_pixels(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    found = transform_of(OF_DINOV3, {})
    assert isinstance(found, Preprocessing)
    values = []
    for name, config in (("theirs", OF_DINOV3), ("ours", processor_config(found))):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).write_text(json.dumps(config))
        processor = AutoImageProcessor.from_pretrained(tmp_path / name, local_files_only=True)
        values.append(processor(synthetic_picture(161, 125), return_tensors="pt")["pixel_values"].numpy())
    assert values[0].shape == (1, 3, 64, 64)
    np.testing.assert_array_equal(*values)
