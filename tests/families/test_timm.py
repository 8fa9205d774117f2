"""timm's exports against what timm itself computes; see `fixtures/timm/generate.py`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.api import convert
from dinoport.errors import PlanError, SettingError
from dinoport.report.report import Report
from dinoport.request import Request
from tests import formula
from tests.families.cases import tensors
from tests.models import V2_SWIGLU

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

FIXTURES = Path(__file__).parents[1] / "fixtures" / "timm"

CLASSES = {
    "dino": "ViTModel",
    "dinov2": "Dinov2Model",
    "dinov2_registers": "Dinov2WithRegistersModel",
    "dinov2_swiglu": "Dinov2Model",
    "dinov2_swiglu_registers": "Dinov2WithRegistersModel",
    "dinov3": "DINOv3ViTModel",
    "dinov3_bias": "DINOv3ViTModel",
    "dinov3_gated": "DINOv3ViTModel",
    "dinov3_convnext": "DINOv3ConvNextModel",
}


def state(case: str) -> dict[str, formula.Array]:
    shapes = json.loads((FIXTURES / f"{case}.json").read_text())
    return formula.state_dict({name: tuple(shape) for name, shape in shapes.items()})


def converted(case: str, folder: Path, weights: dict[str, formula.Array] | None = None, **wishes: Any) -> Report:
    heads = {"num_heads": 3} if case.startswith("dinov2") else {}
    torch.save(tensors(weights or state(case)), folder / "timm.pth")
    return convert(folder / "timm.pth", folder / "out", Request(**{**heads, **wishes}))


@pytest.mark.parametrize("case", CLASSES)
def test_a_converted_export_meets_timms_outputs(case: str, tmp_path: Path) -> None:
    report = converted(case, tmp_path)
    assert report.class_name == CLASSES[case]
    model = getattr(transformers, CLASSES[case]).from_pretrained(tmp_path / "out", dtype=torch.float64).eval()
    with np.load(FIXTURES / f"{case}.npz") as golden:
        for size, expected in golden.items():
            pixels = torch.from_numpy(formula.pixel_values(*map(int, size.split("x"))))
            with torch.inference_mode():
                ours = model(pixels.double()).last_hidden_state[:, : expected.shape[1]]
            assert float((ours - torch.from_numpy(expected)).abs().max()) < 1e-6


def test_what_timm_leaves_out_is_assumed_and_said(tmp_path: Path) -> None:
    report = converted("dinov3_bias", tmp_path)
    assumptions = " ".join(report.verdict.assumptions)
    assert "heads = 1 (width / 64)" in assumptions
    assert "rope base = 100.0 (as in all released DINOv3 ViTs)" in assumptions
    assert "read through the names of timm" in report.remarks
    assert "the file holds no mask_token; taken as all 0 (it is used for training alone)" in report.remarks


def test_the_way_back_gives_the_originals_names(tmp_path: Path) -> None:
    converted("dinov3_gated", tmp_path)
    convert(tmp_path / "out", tmp_path / "back", to="original", level="exact")
    returned = torch.load(tmp_path / "back" / "checkpoint.pth", weights_only=True)
    timm = state("dinov3_gated")
    assert np.array_equal(returned["blocks.1.mlp.w1.weight"], timm["blocks.1.mlp.fc1_g.weight"])
    bias = returned["blocks.1.attn.qkv.bias"]
    assert np.array_equal(bias[:64], timm["blocks.1.attn.q_bias"])
    assert not bias[64:128].any()
    assert np.array_equal(bias[128:], timm["blocks.1.attn.v_bias"])


def test_a_table_without_a_row_for_the_cls_token_gets_one_of_zeros(tmp_path: Path) -> None:
    converted("dinov2_registers", tmp_path)
    convert(tmp_path / "out", tmp_path / "back", to="original", level="exact")
    table = torch.load(tmp_path / "back" / "checkpoint.pth", weights_only=True)["pos_embed"]
    assert table.shape == (1, 17, 48)
    assert not table[:, 0].any()
    assert np.array_equal(table[:, 1:], state("dinov2_registers")["pos_embed"])


def test_a_missing_half_of_the_bias_is_missed(tmp_path: Path) -> None:
    weights = state("dinov3_bias")
    del weights["blocks.1.attn.v_bias"]
    with pytest.raises(PlanError, match=r"blocks\.1\.attn\.v_bias is missing"):
        converted("dinov3_bias", tmp_path, weights)


def test_a_width_that_tells_no_heads_asks_for_them(tmp_path: Path) -> None:
    weights = {"cls_token": np.ones((1, 1, 40), np.float32), "reg_token": np.ones((1, 4, 40), np.float32)}
    weights |= {"blocks.0.gamma_1": np.ones(40, np.float32)}
    with pytest.raises(SettingError, match="number of attention heads of this model is not known") as error:
        converted("dinov3", tmp_path, weights)
    assert "add `num_heads=N`, with N from the code or config that built the model" in str(error.value)


@pytest.mark.parametrize("masked", [True, False])
def test_names_of_nvidia_tao(masked: bool, tmp_path: Path) -> None:
    """Timm's blocks with DINOv2's names of registers and mask: the same weights come out as of DINOv2's own names."""
    own = formula.state_dict(replace(V2_SWIGLU, registers=3, mask_token=masked).tensors())
    tao = {name.replace("mlp.w12", "mlp.fc1").replace("mlp.w3", "mlp.fc2"): each for name, each in own.items()}
    if masked:
        tao["mask_token"] = tao["mask_token"][None]
    torch.save(
        {"state_dict": {f"teacher.backbone.{name}": each for name, each in tensors(tao).items()}}, tmp_path / "t"
    )
    torch.save(tensors(own), tmp_path / "own.pth")
    report = convert(tmp_path / "t", tmp_path / "of tao", num_heads=2)
    convert(tmp_path / "own.pth", tmp_path / "of dinov2", num_heads=2, level="exact")
    weights = [(tmp_path / each / "model.safetensors").read_bytes() for each in ("of tao", "of dinov2")]
    assert weights[0] == weights[1]
    assert report.class_name == "Dinov2WithRegistersModel"
    assert "read through the names of NVIDIA TAO" in report.remarks
    eps = next(each for each in report.settings if each.name == "eps")
    told = "as NVIDIA TAO trains NV-DINOv2; its downstream code takes 1e-6"
    assert (eps.value, eps.origin, eps.reason) == ("1e-05", "assumed", told)
    assert told in str(report.verdict)
