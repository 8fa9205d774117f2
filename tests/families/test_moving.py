"""Everything that moves outputs or pixels, and that no tensor shows, is named with its origin.

`fixtures/moving/upstream.json` records what the arguments of the genuine constructors do.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dinoport.model import Origin
from dinoport.networks.preprocessing import DINOV3_PROCESSOR, DINOV3_SAT, EVALUATION
from dinoport.request import Request
from dinoport.work.conversion import transform_settings
from dinoport.work.prepare import prepare
from tests.codebases import relatives
from tests.families.cases import BY_NAME, CASES, Case

pytest.importorskip("torch")

RECORD: dict[str, Any] = json.loads((Path(__file__).parents[1] / "fixtures/moving/upstream.json").read_text())

CONSTRUCTORS = {
    "dinov3-convnext": ("facebookresearch/dinov3 ConvNeXt",),
    "dinov3": ("facebookresearch/dinov3 DinoVisionTransformer",),
    "dinov2": ("facebookresearch/dinov2 DinoVisionTransformer",),
    "vit": ("facebookresearch/dino VisionTransformer", "facebookresearch/dino Block"),
    "resnet": ("torchvision ResNet",),
}
"""By the beginning of a case's name."""

RELATIVES = {
    "timm": ("timm VisionTransformer",),
    "simdino": ("RobinWu218/SimDINO VisionTransformer", "RobinWu218/SimDINO Block"),
}
"""Of relatives whose genuine code was recorded, by the name of a case."""

# fmt: off
NAMES = {
    "num_heads":                       ("heads",),
    "qk_scale":                        ("qk scale",),
    "norm_layer":                      ("eps", "BatchNorm eps"),
    "act_layer":                       ("activation",),
    "interpolate_antialias":           ("interpolation",),
    "interpolate_offset":              ("interpolation",),
    "dynamic_img_size":                ("interpolation",),
    "pos_embed_rope_normalize_coords": ("rope coordinates",),
    "pos_embed_rope_dtype":            ("rope dtype",),
    "replace_stride_with_dilation":    ("dilation",),
    "patch_size":                      ("resized features",),
}
# fmt: on
"""What a setting is called that names an argument."""


def moving(where: str) -> list[str]:
    """The arguments of a constructor that move outputs, and that no name and no shape shows."""
    arguments = RECORD[where]["arguments"]
    return [name for name, found in arguments.items() if not found["shown"] and any(found["moves"].values())]


def test_the_record_holds_every_argument_and_the_names_hold_every_one_that_moves() -> None:
    assert set(RECORD) == {where for each in (CONSTRUCTORS, RELATIVES) for found in each.values() for where in found}
    assert {name for where in RECORD for name in moving(where)} == NAMES.keys()
    assert sum(len(found["arguments"]) for found in RECORD.values()) == 134
    still = {"drop_rate", "attn_drop_rate", "drop_path_rate", "drop_path_uniform", "zero_init_residual", "block_fn"}
    assert not still & NAMES.keys(), "what is random is so in training alone"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_argument_that_moves_outputs_is_a_setting(case: Case, tmp_path: Path) -> None:
    constructors = next(found for start, found in CONSTRUCTORS.items() if case.name.startswith(start))
    hold_settings(*case.write(tmp_path), constructors)


@pytest.mark.parametrize("name", RELATIVES)
def test_every_argument_of_a_relative_that_moves_outputs_is_a_setting(name: str, tmp_path: Path) -> None:
    case = relatives.BY_NAME[name]
    hold_settings(case.write(tmp_path), case.request, RELATIVES[name])


def hold_settings(source: Path, request: Request, constructors: tuple[str, ...]) -> None:
    """Every argument of these that moves outputs has a setting with its reason, in the verdict where it is assumed."""
    with prepare(source, request) as conversion:
        settings = {setting.name: setting for setting in conversion.settings}
        assumed = conversion.assumed(resampled=True)
    for where in constructors:
        for argument in moving(where):
            (setting,) = [settings[name] for name in NAMES[argument] if name in settings]
            assert setting.reason, argument
            assert setting.origin in (Origin.STORED, Origin.INFERRED) or setting in assumed, argument
    assert len(settings) == len(conversion.settings), "no setting is listed twice"


def described(*given: Any) -> dict[str, tuple[str, Origin, str]]:
    return {each.name: (str(each.value), each.origin, each.reason) for each in transform_settings(*given)}


DINO = (Origin.ASSUMED, "as in facebookresearch/dino's eval transform")
SQUARE = (Origin.ASSUMED, "as in DINOv3's official image processors")


def test_what_comes_before_the_model_is_named() -> None:
    assert described(EVALUATION.for_image_size(448), 3, Request(), frozenset()) == {
        "pixel mean": ("0.485, 0.456, 0.406", *DINO),
        "pixel std": ("0.229, 0.224, 0.225", *DINO),
        "resize": ("shorter side to 512", *DINO),
        "crop": ("centre 448×448", *DINO),
        "filter": ("bicubic, antialiased", *DINO),
    }
    assert described(DINOV3_PROCESSOR, 3, Request(), frozenset()) == {
        "pixel mean": ("0.485, 0.456, 0.406", *SQUARE),
        "pixel std": ("0.229, 0.224, 0.225", *SQUARE),
        "resize": ("224×224", *SQUARE),
        "crop": ("none", *SQUARE),
        "filter": ("bilinear, antialiased", *SQUARE),
    }
    satellite = described(DINOV3_SAT, 3, Request(), frozenset())
    assert satellite["pixel mean"][::2] == (
        "0.43, 0.411, 0.296",
        "as in the README of facebookresearch/dinov3 for satellite models",
    )


def test_what_was_given_is_named_as_given_and_what_a_folder_says_as_its_claim() -> None:
    given = Request(image_mean=(0.1, 0.2, 0.3))
    assert described(EVALUATION, 3, given, frozenset())["pixel mean"] == (
        "0.1, 0.2, 0.3",
        Origin.GIVEN,
        "--image-mean",
    )
    claimed = described(EVALUATION, 3, given, frozenset({"image_mean"}))["pixel mean"]
    assert claimed == ("0.1, 0.2, 0.3", Origin.CLAIMED, "the folder's dinoport.json says so")
    assert described(EVALUATION, 3, given, frozenset())["pixel std"][1:] == DINO


@pytest.mark.parametrize("channels", [1, 2, 4, 12])
def test_of_other_channels_only_what_was_given_is_known(channels: int) -> None:
    assert described(EVALUATION, channels, Request(), frozenset()) == {}
    values = tuple((channel + 1) / 16 for channel in range(channels))
    found = described(EVALUATION, channels, Request(image_mean=values, image_std=values), frozenset())
    text = ", ".join(f"{value:g}" for value in values)
    assert found == {
        "pixel mean": (text, Origin.GIVEN, "--image-mean"),
        "pixel std": (text, Origin.GIVEN, "--image-std"),
    }


def test_a_folders_verdict_names_what_its_pixels_rest_on(tmp_path: Path) -> None:
    from dinoport.api import convert, verify

    case = BY_NAME["vit"]
    source, request = case.write(tmp_path)
    given = replace(request, image_std=(0.5, 0.6, 0.7), codebase="dino")
    report = convert(source, tmp_path / "out", given, level="exact")
    named = "codebase = DINO ViT (--codebase), heads = 1 (width / 64), pixel std = 0.5, 0.6, 0.7 (--image-std)"
    said = f"assuming {named} and 7 values as in facebookresearch/dino"
    assert str(report.verdict) == f"transported exactly (outputs not shown), {said}"
    assert (
        "pixel mean = 0.485, 0.456, 0.406 (as in facebookresearch/dino's eval transform)" in report.verdict.assumptions
    )
    settings = {setting.name: setting for setting in report.settings}
    assert (settings["pixel std"].value, settings["pixel std"].origin) == ("0.5, 0.6, 0.7", "given")
    again = verify(source, tmp_path / "out", level="exact").verdict
    assert "pixel std = 0.5, 0.6, 0.7 (the folder's dinoport.json says so)" in again.named
    assert not again.failed


@pytest.mark.parametrize("name", ["other.pth", "dinov3_vit7b16_sat493m.pth"])
def test_statistics_of_pixels_are_said_once(tmp_path: Path, name: str) -> None:
    """A rotary ViT's were said a second time by a word, whatever was given or stated."""
    source, request = BY_NAME["dinov3"].write(tmp_path)
    with prepare(source.rename(tmp_path / name), replace(request, image_mean=(0.1, 0.2, 0.3))) as conversion:
        said = {setting.name: setting for setting in conversion.settings if "pixel" in setting.name}
    assert set(said) == {"pixel mean", "pixel std"}
    assert said["pixel mean"].value == "0.1, 0.2, 0.3"
    told = said["pixel std"].reason.endswith("for satellite models, told by the file's name")
    assert told == ("sat493m" in name)
