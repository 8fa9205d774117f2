"""Checkpoints and folders that are refused as a whole: the message, word for word."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from dinoport.api import convert, plan
from dinoport.errors import DinoportError, SettingError, UnknownModelError
from dinoport.formats.torch.writer import write_torch_file
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request
from dinoport.tensor import Shape
from tests import formula, tiny
from tests.models import dinov2
from tests.writing.stub_tensors import tensor

NARROW = ViT(width=96, depth=1, heads=2, mlp_hidden=12, patch_size=8, image_size=16)
WIDE = dinov2(width=64, depth=1, heads=1, mlp_hidden=200, patch_size=14, image_size=28)
ROTARY = RotaryViT(width=128, depth=1, heads=2, mlp_hidden=512, patch_size=16)


def save(path: Path, shapes: Mapping[str, Shape]) -> Path:
    write_torch_file(path, [tensor(name, values) for name, values in formula.state_dict(shapes).items()])
    return path


def refusal(source: Path, request: Request | None = None) -> tuple[type[DinoportError], str]:
    with pytest.raises(DinoportError) as caught:
        plan(source, request)
    return type(caught.value), str(caught.value)


def test_heads_that_nobody_says(tmp_path: Path) -> None:
    source = save(tmp_path / "narrow.pth", NARROW.tensors())
    assert refusal(source) == (
        SettingError,
        f"the number of attention heads of {source} is not known\n"
        "  expected: `num_heads`; or a width that 64 divides, as in all published models; or weights that show it\n"
        "  found: width 96; the weights cannot tell: 96 channels are too few (128 are needed)\n"
        "  likely cause: no tensor's shape shows the head count, and a wrong one loads without an error\n"
        "  try: add `num_heads=N`, with N from the code or config that trained the model",
    )
    assert refusal(source, Request(num_heads=5)) == (
        SettingError,
        "`num_heads=5` does not divide the width of this model\n"
        f"  where: {source}\n  expected: a divisor of 96\n  found: 5\n"
        "  try: look up num_heads in the code or config that trained the model",
    )


def test_heads_that_the_tensors_contradict(tmp_path: Path) -> None:
    source = save(tmp_path / "rotary.pth", ROTARY.tensors())
    kind, message = refusal(source, Request(num_heads=4))
    assert kind is SettingError
    assert message == (
        f"`num_heads=4` contradicts the tensors of {source}\n"
        "  where: rope_embed.periods\n  expected: 2 heads: width 128 / (4 × 16 periods)\n  found: 4\n"
        "  try: leave `num_heads` out: DINOv3 stores the number of heads"
    )


def test_an_xcit(tmp_path: Path) -> None:
    source = save(tmp_path / "xcit.pth", {"cls_token": (1, 1, 8), "blocks.0.attn.temperature": (4, 1, 1)})
    assert refusal(source) == (
        UnknownModelError,
        f"{source} is an XCiT, and no model of the DINO family\n"
        "  where: the file's own state dict\n"
        "  expected: a model that dinoport reads (dinoport models, docs/families)\n"
        "  found: blocks.0.attn.temperature\n"
        "  likely cause: cross-covariance attention, which Transformers has no class for; DINO published four besides "
        "its ViTs\n"
        "  try: load the file in timm (xcit_small_12_p16_224.fb_dino …), or convert one of the ViTs",
    )


def test_another_model(tmp_path: Path) -> None:
    source = save(tmp_path / "other.pth", {f"layers.{i}.{leaf}": (3, 5) for i in range(2) for leaf in "abcdefghi"})
    assert refusal(source) == (
        UnknownModelError,
        f"{source} is not a model of the DINO family\n"
        "  where: the file's own state dict\n"
        "  expected: DINO ViT (facebookresearch/dino); I-JEPA ViT (facebookresearch/ijepa); "
        "DINO ResNet-50 (facebookresearch/dino); "
        "DINOv2 ViT (facebookresearch/dinov2); DINOv3 ViT (facebookresearch/dinov3); "
        "DINOv3 ConvNeXt (facebookresearch/dinov3)\n"
        f"  found: 18 tensors: {', '.join(f'layers.{{0…1}}.{leaf}' for leaf in 'abcdefgh')}, and 1 more\n"
        "  likely cause: another model, a head without its backbone, or names that another codebase changed\n"
        f"  try: `dinoport.inspect({str(source)!r})`",
    )


def test_a_feed_forward_layer_that_no_ratio_gives(tmp_path: Path) -> None:
    assert refusal(save(tmp_path / "wide.pth", WIDE.tensors())) == (
        SettingError,
        "Dinov2Config cannot express the hidden width of this model's feed-forward layers\n"
        "  expected: a whole multiple of 64\n  found: 200\n"
        "  likely cause: transformers 5 takes mlp_ratio as a whole number only\n"
        "  try: no class of Transformers fits this model",
    )


def test_a_head_that_is_none_and_labels_without_one(tmp_path: Path) -> None:
    source = tiny.write(tmp_path / "checkpoint.pth")
    head = save(tmp_path / "head.pth", {"linear.weight": (3, 8), "linear.bias": (3,), "norm.weight": (8,)})
    assert refusal(source, Request(num_heads=2, head=str(head))) == (
        SettingError,
        f"{head} holds a linear layer and other tensors, and nothing says that the layer is the classifier\n"
        "  expected: a linear layer alone, or its name as `head_name`\n"
        "  found: tensors that belong to no linear layer\n"
        "  likely cause: a checkpoint of a whole model, or a head of several layers, which no class of Transformers "
        "or timm computes\n"
        "  try: add `head_name='linear'`",
    )
    assert refusal(source, Request(num_heads=2, labels="imagenet-1k")) == (
        SettingError,
        "`labels` needs a classifier, and this checkpoint has none\n"
        "  expected: a plain classifier in the checkpoint, or `head=FILE`\n  found: a backbone\n"
        "  try: leave `labels` out, or add `head=FILE`",
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"architectures": ["BertModel"], "model_type": "bert"},
            "FOLDER holds a BertModel, which dinoport does not read\n  where: config.json: architectures\n",
        ),
        (
            {"hidden_size": None},
            "FOLDER cannot go back: its config.json does not say how large the model is\n"
            "  where: config.json: hidden_size\n",
        ),
    ],
)
def test_a_folder_that_has_no_way_back(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    folder = tmp_path / "out"
    convert(tiny.write(tmp_path / "checkpoint.pth"), folder, tiny.REQUEST, level="none")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **fields}), encoding="utf-8")
    with pytest.raises(UnknownModelError) as refused:
        plan(folder, to="original")
    assert str(refused.value).startswith(message.replace("FOLDER", str(folder)))
