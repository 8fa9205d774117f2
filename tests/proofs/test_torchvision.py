"""The originals' transforms made of torchvision's own, and Transformers' classes that resize with it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.codebases.transformers.processor import processor_config
from dinoport.networks.preprocessing import DINOV3_PROCESSOR, DINOV3_SAT, EVALUATION, Preprocessing
from dinoport.proofs import pixels
from dinoport.proofs.picture import picture_tensor, synthetic_picture
from tests.with_torchvision import INSTALLED, needs_torchvision

pytestmark = needs_torchvision

if INSTALLED:
    import torch
    from torchvision.transforms import v2

SIDES = [
    (640, 480), (613, 449), (449, 613), (200, 333), (640, 427), (1024, 683), (256, 257),
    (224, 224), (256, 256), (64, 64), (33, 31), (2, 3), (1, 1), (5, 300), (300, 5), (17, 4000), (4000, 17),
]  # fmt: skip
MODES = ["RGB", "L", "RGBA", "P", "CMYK"]
OF_DINOV3 = [DINOV3_PROCESSOR, DINOV3_SAT, replace(DINOV3_PROCESSOR, resize=256), DINOV3_PROCESSOR.for_image_size(96)]


def processor(folder: Path, preprocessing: Preprocessing, **changed: object) -> Path:
    config = {**processor_config(preprocessing), **changed}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return folder


def prove(folder: Path, preprocessing: Preprocessing, sides: tuple[int, int], **changed: object) -> pixels.PixelsProof:
    return pixels.prove(
        processor(folder, preprocessing, **changed), preprocessing, synthetic_picture(*sides), "a picture"
    )


def of_pictures(preprocessing: Preprocessing) -> Any:
    """The transform of DINO's `eval_linear.py` and of DINOv2's `make_classification_eval_transform`."""
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.Resize(preprocessing.resize, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(preprocessing.crop),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )


def of_tensors(preprocessing: Preprocessing) -> Any:
    """The transform of `make_transform` in DINOv3's README."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((preprocessing.resize, preprocessing.resize), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("mode", MODES)
def test_the_originals_transforms_are_torchvisions_bit_for_bit(mode: str, sides: tuple[int, int]) -> None:
    picture = synthetic_picture(*sides).convert(mode)
    for preprocessing in (EVALUATION, EVALUATION.for_image_size(448), *OF_DINOV3):
        transform = (of_tensors if preprocessing.crop is None else of_pictures)(preprocessing)
        theirs = transform(picture.convert("RGB"))[None].numpy()
        np.testing.assert_array_equal(picture_tensor(picture, preprocessing), theirs, err_msg=str(preprocessing))


CROPPED_ASIDE = {(640, 427), (1024, 683), (17, 4000), (4000, 17)}
ENLARGED = {(33, 31)}


@pytest.mark.parametrize("sides", SIDES)
def test_dinos_class(sides: tuple[int, int], tmp_path: Path) -> None:
    proof = prove(tmp_path, EVALUATION, sides)
    assert proof.backend == "torchvision"
    if sides in CROPPED_ASIDE:
        assert proof.status == "one pixel"
    elif sides[0] == sides[1] or min(sides) == 256:  # what is cut out is as it was, or enlarged by whole steps
        assert proof.status == "equal"
    else:
        assert proof.status == ("two grey levels" if sides in ENLARGED else "one grey level")


@pytest.mark.parametrize("sides", [(640, 480), (613, 449), (640, 427)])
@pytest.mark.parametrize("input_size", [224, 448])
def test_another_transform_by_dinos_class_is_different(input_size: int, sides: tuple[int, int], tmp_path: Path) -> None:
    preprocessing = EVALUATION.for_image_size(input_size)
    assert prove(tmp_path, preprocessing, sides).status in ("one grey level", "two grey levels", "one pixel")
    assert prove(tmp_path, preprocessing, sides, resample=2).status == "different"
    assert prove(tmp_path, preprocessing, sides, image_std=[0.2291, 0.224, 0.225]).status == "different"


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("preprocessing", OF_DINOV3)
def test_dinov3s_class(preprocessing: Preprocessing, sides: tuple[int, int], tmp_path: Path) -> None:
    proof = prove(tmp_path, preprocessing, sides)
    same = sides in ((1, 1), (preprocessing.resize,) * 2)
    assert (proof.status, proof.backend) == ("equal" if same else "one grey level", "torchvision")
    assert 0.5 < proof.max_grey_levels < 1.01 or same


@pytest.mark.parametrize("changed", [{"resample": 3}, {"image_std": [0.2291, 0.224, 0.225]}, {"do_rescale": False}])
@pytest.mark.parametrize("sides", [(640, 480), (17, 4000)])
def test_another_transform_by_dinov3s_class_is_different(
    changed: dict[str, object], sides: tuple[int, int], tmp_path: Path
) -> None:
    assert prove(tmp_path, DINOV3_PROCESSOR, sides, **changed).status == "different"
