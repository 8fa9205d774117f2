"""Relatives in timm's names: folders of ours return, and timm's own are told by what their config.json calls them."""

import json
from pathlib import Path

import numpy as np
import pytest

from dinoport import api
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.safetensors.writer import write_safetensors
from dinoport.formats.torch.writer import write_torch_file
from dinoport.report.report import Report
from tests import formula
from tests.codebases.relatives import BY_NAME
from tests.models import V3
from tests.writing.stub_tensors import tensor

THROUGH_TIMM = ("ibot-layer-scale", "deit3", "tips", "franca", "webssl-dino", "eupe", "eupe-convnext", "lingbot")


@pytest.mark.parametrize("name", THROUGH_TIMM)
def test_a_relative_returns_from_timm(name: str, tmp_path: Path) -> None:
    case = BY_NAME[name]
    added = ("cls_token", "position_embeddings") if name == "tips" else ()  # timm keeps their sum
    unlike = ("mask_token", *added)
    source = case.write(tmp_path / "source")
    there = api.convert(source, tmp_path / "timm", case.request, to="timm", codebase=case.family, level="exact")
    back = api.convert(tmp_path / "timm", tmp_path / "back", to="transformers", level="exact")
    assert back.family == there.family
    with open_checkpoint(tmp_path / "back") as written:
        found = {key: each.read() for key, each in written.tensors.items()}
    direct = api.convert(source, tmp_path / "direct", case.request, codebase=case.family, level="exact")
    assert direct.class_name == back.class_name
    with open_checkpoint(tmp_path / "direct") as written:
        expected = {key: each.read() for key, each in written.tensors.items() if not key.endswith(unlike)}
    assert all(np.array_equal(values, found[key]) for key, values in expected.items())


def as_timm_has_it(name: str, architecture: str, folder: Path, tag: str = "") -> Report:
    """The plan of a folder that timm may have written itself: without what ours keep of the original."""
    case = BY_NAME[name]
    source = case.write(folder / "source")
    api.convert(source, folder / "timm", case.request, to="timm", codebase=case.family, level="none")
    with open_checkpoint(folder / "timm") as checkpoint:
        state = {key: each.read() for key, each in checkpoint.tensors.items()}
        arguments = dict((checkpoint.config or {})["model_args"])
    (folder / "own").mkdir()
    write_safetensors(folder / "own" / "model.safetensors", [tensor(key, values) for key, values in state.items()])
    config = {"architecture": architecture, "model_args": arguments, "pretrained_cfg": {"tag": tag}}
    (folder / "own" / "config.json").write_text(json.dumps(config))
    return api.plan(folder / "own")


@pytest.mark.parametrize(
    ("name", "architecture", "tag", "family"),
    [
        ("tips", "vit_base_patch14_reg1_tipsv2", "webli", "TIPS ViT (google-deepmind/tips)"),
        ("lingbot", "vit_base_patch16_lingbot", "robbyant", "LingBot-Vision ViT (Robbyant/lingbot-vision)"),
        ("eupe", "vit_base_patch16_dinov3_qkvb", "eupe_lvd1689m", "EUPE ViT (facebookresearch/EUPE)"),
        ("lingbot", "vit_base_patch16_dinov3_qkvb", "lvd1689m", "DINOv3 ViT (facebookresearch/dinov3)"),
        ("eupe-convnext", "convnext_tiny", "fb_in22k", "timm ConvNeXt (huggingface/pytorch-image-models)"),
        ("eupe-convnext", "convnext_tiny", "dinov3_lvd1689m", "DINOv3 ConvNeXt (facebookresearch/dinov3)"),
        ("xray-dino", "vit_base_patch14_dinov2", "lvd142m", "DINOv2 ViT (facebookresearch/dinov2)"),
        ("xray-dino", "vit_small_patch16_36x1_224", "", "timm ViT (huggingface/pytorch-image-models)"),
    ],
)
def test_a_folder_of_timm_is_told_by_its_builder(
    name: str, architecture: str, tag: str, family: str, tmp_path: Path
) -> None:
    report = as_timm_has_it(name, architecture, tmp_path, tag)
    assert report.family == family
    [reason] = [each.reason for each in report.settings if each.name == "codebase"]
    assert reason == f"config.json, {architecture}{'.' if tag else ''}{tag}"


def test_a_dinov3_in_a_wrapper_is_told_like_any_other(tmp_path: Path) -> None:
    """Under an original's names, Transformers' names and timm's: the first line says what nothing tells it from."""
    torch = pytest.importorskip("torch")
    source = saved(tmp_path / "original.pth", formula.state_dict(V3.tensors()))
    for to in ("transformers", "timm"):
        api.convert(source, tmp_path / to, to=to, level="none", codebase="dinov3")
        with open_checkpoint(tmp_path / to) as checkpoint:
            state = {f"model.net.{key}": torch.from_numpy(each.read()) for key, each in checkpoint.tensors.items()}
        torch.save({"state_dict": state}, tmp_path / f"{to}.ckpt")
    for path in (source, tmp_path / "transformers.ckpt", tmp_path / "timm.ckpt"):
        report = api.convert(path, tmp_path / f"out-{path.stem}", level="exact")
        assert (
            "assuming codebase = DINOv3 ViT (nothing tells it from EUPE (256×256 pixels) and LingBot-Vision (512×512 "
            "pixels); --codebase decides)" in str(report.verdict).splitlines()[0]
        )


def saved(path: Path, state: dict[str, formula.Array]) -> Path:
    write_torch_file(path, [tensor(name, values) for name, values in state.items()])
    return path
