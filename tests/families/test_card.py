"""The model card of every class: its metadata is what the Hub reads, and its code runs as it stands."""

import json
import re
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dinoport.api import convert, verify
from tests import goldens
from tests.families.cases import BY_NAME, CASES, Case
from tests.with_torchvision import INSTALLED

PIL = pytest.importorskip("PIL.Image")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def cases_with_cards_of_their_own() -> list[Case]:
    """One case for each class, and for what else changes a card's code."""
    different = {(case.class_name, case.architecture.channels, case.request.pooler): case for case in CASES}
    return list(different.values())


@pytest.fixture(scope="module", params=cases_with_cards_of_their_own(), ids=lambda case: case.name)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path]:
    case: Case = request.param
    root = tmp_path_factory.mktemp(case.name)
    source, wishes = case.write(root)
    convert(source, root / "converted", wishes, level="exact")
    return case, root / "converted"


def stand_in(folder: str) -> Callable[..., dict[str, torch.Tensor]]:
    """In the place of DINOv3's image processor, where torchvision is not installed."""
    assert Path(folder, "preprocessor_config.json").is_file()
    return lambda picture, return_tensors: {"pixel_values": torch.zeros(1, 3, 224, 224)}


def test_the_code_runs_on_a_picture(folder: tuple[Case, Path], tmp_path, monkeypatch, capsys) -> None:
    case, path = folder
    text = (path / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    (tmp_path / "usage.py").write_text(blocks[0])
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    PIL.fromarray(pixels).save(path.parent / "picture.jpg")
    monkeypatch.chdir(path.parent)
    if case.class_name.startswith("DINOv3") and not INSTALLED:
        assert "needs torchvision" in text
        monkeypatch.setattr(transformers.AutoImageProcessor, "from_pretrained", stand_in)
    result = runpy.run_path(str(tmp_path / "usage.py"))
    if "ForImageClassification" in case.class_name:
        assert result["outputs"].logits.shape == (1, result["model"].config.num_labels)
        assert capsys.readouterr().out.strip() in result["model"].config.id2label.values()
    else:
        assert result["features"].shape[0] == 1
        assert result["features"].ndim == 2
        assert result["features"].isfinite().all()
    assert type(result["model"]).__name__ == case.class_name


def test_the_metadata_is_what_the_hub_reads(folder: tuple[Case, Path]) -> None:
    from huggingface_hub import ModelCard

    case, path = folder
    data = ModelCard.load(path / "README.md").data.to_dict()
    classifies = "ForImageClassification" in case.class_name
    assert data["library_name"] == "transformers"
    assert data["pipeline_tag"] == ("image-classification" if classifies else "image-feature-extraction")
    assert {"vision", "dinoport"} < set(data["tags"])
    family = json.loads((path / "dinoport.json").read_text())["model"]["family"]
    assert ("dino" in data["tags"]) == ("DINO" in family)
    assert "license" not in data, "a licence is claimed only where it is known"


def test_no_path_of_this_machine_is_published(folder: tuple[Case, Path]) -> None:
    text = (folder[1] / "README.md").read_text(encoding="utf-8")
    assert str(folder[1].parent) not in text
    assert ("head = head.pth.tar (--head)" in text) == bool(folder[0].head)


def test_a_dinov3s_card_says_how_its_processor_differs_from_upstreams(folder: tuple[Case, Path]) -> None:
    case, path = folder
    text = (path / "README.md").read_text(encoding="utf-8")
    said = (
        "It makes a square of 224×224 pixels (bilinear), whatever the picture's proportions, as the official "
        "Transformers repositories do with 224×224. The README of facebookresearch/dinov3 makes a square of 256×256 "
        "(bilinear); its classification evaluation makes the shortest side 256 (bicubic) and crops the centre of "
        "224×224."
    )
    assert (said in text) == case.class_name.startswith("DINOv3")


CLAIMS = ("computes as the original does", "outputs are the original's", "without a missing key")


@pytest.mark.parametrize("to", ["transformers", "timm"])
@pytest.mark.parametrize("baked", [False, True])
def test_a_card_claims_what_was_proven_and_no_more(tmp_path, to: str, baked: bool) -> None:
    source, wishes = BY_NAME["vit"].write(tmp_path)
    wishes = replace(wishes, to=to, image_size=2 * BY_NAME["vit"].architecture.image_size if baked else None)
    said = {}
    for level in ("none", "exact", "full"):
        report = convert(source, tmp_path / level, wishes, level=level)
        text = (tmp_path / level / "README.md").read_text(encoding="utf-8")
        is_proven = report.verdict.word.value.startswith("equal")
        said[level] = [claim for claim in CLAIMS if claim in text]
        assert bool(said[level]) == is_proven
        assert ("its outputs were not compared with the original's" in text) == (not is_proven)
        assert "resample" in text
    if to == "transformers":
        assert said["full"] == [CLAIMS[baked], CLAIMS[2]]
    convert(source, tmp_path / "rounded", replace(wishes, dtype="float16"))
    text = (tmp_path / "rounded" / "README.md").read_text(encoding="utf-8")
    assert not any(claim in text for claim in CLAIMS)
    assert "rounded" in text.split("## Use")[0]


def test_a_model_of_other_channels_gets_no_processor_that_would_be_wrong(tmp_path) -> None:
    """As PIL takes a fourth channel for transparency. Card and report say so, and give what is known."""
    case = BY_NAME["vit-four-channels"]
    source, wishes = case.write(tmp_path)
    given = replace(wishes, image_mean=(0.1, 0.2, 0.3, 0.4), image_std=(0.5, 0.6, 0.7, 0.8))
    report = convert(source, tmp_path / "out", given)
    assert not (tmp_path / "out" / "preprocessor_config.json").exists()
    told = (
        "the model takes 4 channels, and gets no image processor, because the one that fits its training is not known"
    )
    assert told in report.remarks
    assert report.verdict.not_shown[1:] == ("pixels: no image processor is written for a model of 4 channels",)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert (
        "- The folder has no image processor: scale and normalise the 4 channels as in training (from 0 to 1; mean "
        "0.1, 0.2, 0.3, 0.4; standard deviation 0.5, 0.6, 0.7, 0.8)."
    ) in card
    settings = {setting.name: setting.value for setting in report.settings}
    assert (settings["pixel mean"], settings["pixel std"]) == ("0.1, 0.2, 0.3, 0.4", "0.5, 0.6, 0.7, 0.8")
    assert not verify(source, tmp_path / "out", given, level="exact").verdict.failed
    (tmp_path / "out" / "preprocessor_config.json").write_text("{}")
    failures = verify(source, tmp_path / "out", given, level="exact").verdict.failures
    assert "preprocessor_config.json is in the folder, and no conversion writes it there" in failures


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
@pytest.mark.parametrize("given", [("image_mean", "image_std"), ("image_mean",), ("image_std",), ()])
def test_the_lines_for_other_channels_apply_their_statistics(
    channels: int, given: tuple[str, ...], tmp_path, monkeypatch
) -> None:
    """What the model is given is what the numbers say, to the bit of float32, and so are its outputs."""
    from tests import formula

    case = BY_NAME["vit-four-channels"]
    case = replace(case, architecture=replace(case.architecture, channels=channels))
    source, wishes = case.write(tmp_path)
    mean, std = (np.cos(formula.tensor(name, (channels,)).astype(float)) ** 2 / 2 + 0.25 for name in ("mean", "std"))
    values = {"image_mean": tuple(mean.tolist()), "image_std": tuple(std.tolist())}
    convert(source, tmp_path / "out", replace(wishes, **{name: values[name] for name in given}), level="exact")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    code = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0]
    picture = np.random.default_rng(1).random((64, 64, channels))
    np.save(tmp_path / "picture.npy", picture)
    assert code.count(f"np.zeros((64, 64, {channels}))") == 1
    (tmp_path / "usage.py").write_text(code.replace(f"np.zeros((64, 64, {channels}))", 'np.load("picture.npy")'))
    monkeypatch.chdir(tmp_path)
    result = runpy.run_path("usage.py")
    expected = (picture - (mean if "image_mean" in given else 0)) / (std if "image_std" in given else 1)
    inputs = expected.astype(np.float32).transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(result["pixels"], inputs)
    outputs = result["model"](torch.tensor(inputs)).last_hidden_state[:, 0]
    np.testing.assert_array_equal(result["features"].detach(), outputs.detach())


def test_what_the_verdict_warns_of_is_in_the_card(tmp_path: Path) -> None:
    """It goes up with the folder: whoever finds it there sees no terminal."""
    report = convert(goldens.FOLDER / "dinov3" / "trained_a", tmp_path / "out", layer_norm_eps=1e-5, level="exact")
    [warning] = report.verdict.warnings
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"- warning: {warning}".replace("_", "\\_") in card
