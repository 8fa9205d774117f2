"""Low-rank parts inside a state dict are merged into their layers, in float64 and rounded once, or refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dinoport.api import convert, verify
from dinoport.codebases.peft.low_rank_parts import merge_within
from dinoport.errors import SettingError, UnknownModelError
from dinoport.formats.opening import open_checkpoint
from dinoport.proofs.verdict import Word
from dinoport.request import Request
from dinoport.tensor import ArrayValues, TensorRef
from tests import formula, models
from tests.models import weights

RANK, ALPHA = 2, 6.0
MAY_BE_MERGED = (
    "low-rank parts = not merged yet (loralib adds them to the weights in eval mode, and keeps them in the file)"
)
LAYERS = ("blocks.0.attn.qkv", "blocks.1.mlp.fc1")


def values(name: str, *shape: int) -> Any:
    return torch.from_numpy(formula.noise(name, shape)) * 0.1


def state() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(each) for name, each in formula.state_dict(models.VIT.tensors()).items()}


def low_rank(layer: str, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return values(f"{layer} up", weight.shape[0], RANK), values(f"{layer} down", RANK, weight.shape[1])


def wrapped(style: str) -> dict[str, torch.Tensor]:
    """The model with low-rank parts in two of its layers, as a library names them."""
    own = state()
    for layer in LAYERS:
        up, down = low_rank(layer, own[f"{layer}.weight"])
        if style == "peft":
            for leaf in ("weight", "bias"):
                own[f"{layer}.base_layer.{leaf}"] = own.pop(f"{layer}.{leaf}")
            own |= {f"{layer}.lora_A.default.weight": down, f"{layer}.lora_B.default.weight": up}
        else:
            own |= {f"{layer}.lora_A": down, f"{layer}.lora_B": up}
    return {f"base_model.model.{name}": each for name, each in own.items()} if style == "peft" else own


def merged(scale: float) -> dict[str, torch.Tensor]:
    """The same, merged by torch in float64."""
    own = state()
    for layer in LAYERS:
        up, down = low_rank(layer, own[f"{layer}.weight"])
        own[f"{layer}.weight"] = (own[f"{layer}.weight"].double() + scale * up.double() @ down.double()).float()
    return own


@pytest.mark.parametrize("style", ["peft", "loralib"])
def test_they_are_merged_and_computed_again(style: str, tmp_path) -> None:
    torch.save(wrapped(style), tmp_path / "lora.pth")
    torch.save(merged(ALPHA / RANK), tmp_path / "merged.pth")
    convert(tmp_path / "merged.pth", tmp_path / "ours", level="exact", num_heads=1)
    report = convert(tmp_path / "lora.pth", tmp_path / "theirs", level="exact", num_heads=1, lora_alpha=ALPHA)
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")
    assert report.proofs.exact.recomputed == len(LAYERS)
    assert any(remark.startswith("LoRA: 2 matrices were merged (lora_alpha 6)") for remark in report.remarks)
    request = Request(num_heads=1, lora_alpha=ALPHA)
    verified = verify(tmp_path / "lora.pth", tmp_path / "theirs", request, level="exact")
    assert verified.verdict.word is Word.TRANSPORTED
    for each in (report, verified):
        assert (MAY_BE_MERGED in each.verdict.named) == (style == "loralib")


@pytest.mark.parametrize("prefix", ["", "enc.vit.", "module.backbone."])
def test_a_file_of_loralib_s_does_not_tell_whether_its_parts_are_merged(prefix: str, tmp_path) -> None:
    """A model in eval mode is saved merged, its parts beside it: adding them once more is an assumption."""
    torch.save({f"{prefix}{name}": each for name, each in wrapped("loralib").items()}, tmp_path / "lora.pth")
    report = convert(tmp_path / "lora.pth", tmp_path / "out", level="exact", num_heads=1, lora_alpha=ALPHA)
    assert MAY_BE_MERGED in report.verdict.named
    assert MAY_BE_MERGED in str(report.verdict)


def test_another_scale_is_not_equal(tmp_path) -> None:
    torch.save(wrapped("peft"), tmp_path / "lora.pth")
    convert(tmp_path / "lora.pth", tmp_path / "out", level="exact", num_heads=1, lora_alpha=ALPHA)
    other = verify(tmp_path / "lora.pth", tmp_path / "out", Request(num_heads=1, lora_alpha=ALPHA + 1), level="exact")
    assert other.verdict.failed


def test_the_scale_is_asked_for(tmp_path) -> None:
    torch.save(wrapped("peft"), tmp_path / "lora.pth")
    with pytest.raises(SettingError) as caught:
        convert(tmp_path / "lora.pth", tmp_path / "out", level="exact", num_heads=1)
    assert str(caught.value) == (
        f"{tmp_path / 'lora.pth'} carries LoRA adapters, and does not say how strong they are\n"
        "  where: base_model.model.blocks.0.attn.qkv, base_model.model.blocks.1.mlp.fc1\n"
        "  expected: `lora_alpha`: what is added is lora_alpha / r times the product of both matrices\n"
        "  found: r = 2\n"
        "  likely cause: a state dict of PEFT's; only adapter_config.json and the code hold lora_alpha\n"
        "  try: add `lora_alpha=N`; for rank-stabilised adapters (use_rslora) give N times the root of r"
    )


def test_lightning_may_say_the_scale(tmp_path) -> None:
    tree = {"pytorch-lightning_version": "2.6.6", "hyper_parameters": {"lora_alpha": 6}, "state_dict": wrapped("peft")}
    torch.save(tree, tmp_path / "last.ckpt")
    report = convert(tmp_path / "last.ckpt", tmp_path / "out", level="exact", num_heads=1)
    assert any("lora_alpha 6" in remark for remark in report.remarks)


def test_a_module_that_was_trained_whole_takes_the_place_of_its_original(tmp_path) -> None:
    tree = wrapped("peft")
    for leaf in ("weight", "bias"):
        own = tree.pop(f"base_model.model.norm.{leaf}")
        tree[f"base_model.model.norm.original_module.{leaf}"] = own
        tree[f"base_model.model.norm.modules_to_save.default.{leaf}"] = own + 1
    torch.save(tree, tmp_path / "lora.pth")
    convert(tmp_path / "lora.pth", tmp_path / "out", level="exact", num_heads=1, lora_alpha=ALPHA)
    with open_checkpoint(tmp_path / "out") as written:
        assert np.array_equal(written.tensors["layernorm.weight"].read(), state()["norm.weight"].numpy() + 1)


@pytest.mark.parametrize("alpha", [None, 3 * RANK])
@pytest.mark.parametrize("prefix", ["", "lora_vit.", "module.lora_vit."])
def test_parts_of_a_joint_layer_go_to_its_rows(prefix: str, alpha: int | None, tmp_path) -> None:
    """SAMed adds them as they are. LoRA-ViT scales them, and calls its model `lora_vit`."""
    own, width = state(), models.VIT.width
    layer = "blocks.1.attn.qkv"
    weight = own.pop(f"{layer}.weight")
    own |= {f"{layer}.qkv.weight": weight, f"{layer}.qkv.bias": own.pop(f"{layer}.bias")}
    expected = weight.double()
    for part, first in (("q", 0), ("v", 2 * width)):
        up, down = values(f"{part} up", width, RANK), values(f"{part} down", RANK, width)
        own |= {f"{layer}.linear_b_{part}.weight": up, f"{layer}.linear_a_{part}.weight": down}
        expected[first : first + width] += (3 if alpha else 1) * up.double() @ down.double()
    torch.save({f"{prefix}{name}": each for name, each in own.items()}, tmp_path / "best.pth")
    torch.save({**state(), f"{layer}.weight": expected.float()}, tmp_path / "merged.pth")
    convert(tmp_path / "merged.pth", tmp_path / "ours", level="exact", num_heads=1)
    report = convert(tmp_path / "best.pth", tmp_path / "theirs", level="exact", num_heads=1, lora_alpha=alpha)
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")
    doubted = [each for each in report.verdict.named if each.startswith("low-rank parts = added as they are")]
    assert len(doubted) == (alpha is None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lora_magnitude_vector.default.weight", "DoRA"),
        ("ia3_l.default", "IA3"),
        ("lora_B.default.bias", "LoRA with biases of its own (lora_bias)"),
        ("lora_A.bias", "LoRA with biases of its own (lora_bias)"),
        ("lokr_w1.default", "LoKr"),
    ],
)
def test_another_kind_is_refused_by_its_name(name: str, kind: str, tmp_path) -> None:
    tree = {**wrapped("peft"), f"base_model.model.blocks.0.attn.qkv.{name}": torch.ones(3)}
    torch.save(tree, tmp_path / "other.pth")
    with pytest.raises(UnknownModelError) as caught:
        convert(tmp_path / "other.pth", tmp_path / "out", level="exact", num_heads=1, lora_alpha=ALPHA)
    assert f"carries {kind}, which is not merged here" in str(caught.value)


@pytest.mark.parametrize("names", [
    ("w_As.0.weight", "w_Bs.0.weight"),
    ("lora_unet_blocks_0_attn_qkv.lora_down.weight", "lora_unet_blocks_0_attn_qkv.lora_up.weight"),
    ("lora.down", "lora.up"),
    ("enc.lora.down", "enc.lora.up"),
])  # fmt: skip
def test_parts_under_unknown_names_are_never_left_out(names: tuple[str, str], tmp_path) -> None:
    own = {f"enc.{name}": each for name, each in state().items()}
    torch.save({**own, names[0]: torch.ones(RANK, 64), names[1]: torch.ones(64, RANK)}, tmp_path / "run.pth")
    with pytest.raises(UnknownModelError, match="carries low-rank parts under names that are not known") as caught:
        convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)
    assert names[0] in str(caught.value) or "lora.{down, up}" in str(caught.value)


def test_those_of_a_language_model_are_not_the_backbone_s(tmp_path) -> None:
    own = {f"enc.{name}": each for name, each in state().items()}
    torch.save({**own, "llm.layers.0.q_lora.down": torch.ones(RANK, 64)}, tmp_path / "run.pth")
    convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)


def test_several_adapters_are_refused(tmp_path) -> None:
    tree = wrapped("peft")
    tree["base_model.model.blocks.0.attn.qkv.lora_A.second.weight"] = torch.ones(RANK, 64)
    torch.save(tree, tmp_path / "two.pth")
    with pytest.raises(UnknownModelError, match="carries several adapters"):
        convert(tmp_path / "two.pth", tmp_path / "out", level="exact", num_heads=1, lora_alpha=ALPHA)


def test_an_adapter_alone_and_one_that_does_not_fit_are_refused(tmp_path) -> None:
    alone = {name: each for name, each in wrapped("peft").items() if "lora_" in name}
    torch.save(alone, tmp_path / "alone.pth")
    for alpha in (ALPHA, None):  # how strong it is does not matter without its base
        with pytest.raises(UnknownModelError, match="holds an adapter without the layer that it is for"):
            convert(tmp_path / "alone.pth", tmp_path / "out", level="exact", lora_alpha=alpha)
    unfit = wrapped("peft")
    unfit["base_model.model.blocks.0.attn.qkv.lora_B.default.weight"] = torch.ones(7, RANK)
    torch.save(unfit, tmp_path / "unfit.pth")
    with pytest.raises(UnknownModelError, match="do not fit it"):
        convert(tmp_path / "unfit.pth", tmp_path / "out", level="exact", num_heads=1, lora_alpha=ALPHA)


def test_it_is_read_in_blocks_of_any_size() -> None:
    def tensor(name: str, *shape: int) -> TensorRef:
        return TensorRef(name, np.dtype(np.float32), shape, ArrayValues(formula.noise(name, shape)))

    base, down, up = tensor("a.weight", 12, 7), tensor("a.lora_A.weight", 2, 7), tensor("a.lora_B.weight", 12, 2)
    found = merge_within("here", {each.name: each for each in (base, down, up)}, 3.0).tensors["a.weight"]
    whole = (base.read(np.dtype("f8")) + 1.5 * (up.read(np.dtype("f8")) @ down.read(np.dtype("f8")))).astype("f4")
    for limit in (1, 5, 7, 100):
        blocks = [block.copy() for block in found.values.blocks(3, 80, limit)]
        assert np.array_equal(np.concatenate(blocks), whole.reshape(-1)[3:80])
        assert max(block.size for block in blocks) <= limit


@pytest.mark.parametrize("asked", [{}, {"lora_alpha": ALPHA}])
@pytest.mark.parametrize("thirds", [1, 2, 3])
def test_parts_of_some_thirds_of_a_joint_layer_are_refused_before_their_scale_is_asked_for(
    thirds: int, asked: dict[str, float], tmp_path: Path
) -> None:
    """A MergedLinear of loralib does not save which of queries, keys and values its parts are for."""
    state = {name: torch.from_numpy(each) for name, each in formula.state_dict(models.VIT.tensors()).items()}
    state["blocks.0.attn.qkv.lora_A"] = torch.ones(RANK * thirds, 64)
    state["blocks.0.attn.qkv.lora_B"] = torch.ones(64 * thirds, RANK)
    torch.save(state, tmp_path / "lora.pth")
    with pytest.raises(UnknownModelError, match=r"parts of blocks\.0\.attn\.qkv do not fit it") as caught:
        convert(tmp_path / "lora.pth", tmp_path / "out", level="exact", num_heads=1, **asked)
    assert caught.value.cause == "an adapter of another kind, such as loralib's MergedLinear, or a file that was cut"
