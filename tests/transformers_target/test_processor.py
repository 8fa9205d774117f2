import json
from pathlib import Path

import numpy as np
import pytest

from dinoport.codebases.transformers.processor import processor_config
from dinoport.networks.preprocessing import DINOV3_PROCESSOR, DINOV3_SAT, EVALUATION, Preprocessing
from dinoport.proofs.picture import synthetic_picture
from tests.with_torchvision import needs_torchvision

BOTH = {
    "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "rescale_factor": 0.00392156862745098,
}  # fmt: skip


def test_dinos_processor_field_by_field() -> None:
    assert processor_config(EVALUATION) == BOTH | {
        "image_processor_type": "BitImageProcessor",
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "resample": 3,
        "size": {"shortest_edge": 256},
    }


def test_dinov3s_processor_field_by_field() -> None:
    assert processor_config(DINOV3_PROCESSOR) == BOTH | {
        "image_processor_type": "DINOv3ViTImageProcessorFast",
        "crop_size": None,
        "data_format": "channels_first",
        "default_to_square": True,
        "do_center_crop": None,
        "resample": 2,
        "size": {"height": 224, "width": 224},
    }


def test_size_and_statistics_are_those_of_the_preprocessing() -> None:
    config = processor_config(EVALUATION.for_image_size(448).with_statistics((0.1, 0.2, 0.3), None))
    assert config["size"] == {"shortest_edge": 512}
    assert config["crop_size"] == {"height": 448, "width": 448}
    assert config["image_mean"] == [0.1, 0.2, 0.3]
    assert config["image_std"] == [0.229, 0.224, 0.225]
    assert processor_config(DINOV3_SAT.for_image_size(512))["size"] == {"height": 512, "width": 512}
    assert processor_config(DINOV3_SAT)["image_std"] == [0.213, 0.156, 0.143]


def test_transformers_loads_dinos_processor_and_keeps_it(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    written = processor_config(EVALUATION)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))
    processor = AutoImageProcessor.from_pretrained(tmp_path, local_files_only=True)
    assert type(processor).__name__.startswith("BitImageProcessor")
    processor.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "preprocessor_config.json").read_text())
    assert {name: again[name] for name in written if name not in ("image_processor_type", "size", "crop_size")} == {
        name: value for name, value in written.items() if name not in ("image_processor_type", "size", "crop_size")
    }
    assert again["size"]["shortest_edge"] == 256
    assert (again["crop_size"]["height"], again["crop_size"]["width"]) == (224, 224)


KINDS = [
    EVALUATION,
    pytest.param(DINOV3_PROCESSOR, marks=needs_torchvision),
]


@pytest.mark.parametrize("preprocessing", KINDS)
@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_pictures_of_other_modes_are_taken_as_rgb(mode: str, preprocessing: Preprocessing, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor_config(preprocessing)))
    processor = AutoImageProcessor.from_pretrained(tmp_path, local_files_only=True)
    picture = synthetic_picture(320, 240).convert(mode)
    raw, converted = (
        processor(form, return_tensors="pt")["pixel_values"] for form in (picture, picture.convert("RGB"))
    )
    assert raw.shape == (1, 3, 224, 224)
    np.testing.assert_array_equal(raw, converted)
