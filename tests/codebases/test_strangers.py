"""Models that only look like a DINO are refused by their own name, and no DINO is taken for one of them."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dinoport import api
from dinoport.codebases.catalogue import NAMINGS
from dinoport.codebases.stranger_refusals import refuse_stranger, stranger_of
from dinoport.codebases.strangers import HEADS, STRANGERS
from dinoport.codebases.timm.signs import is_dinov3_vit
from dinoport.errors import PlanError, UnknownModelError
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.torch.writer import write_torch_file
from tests import formula, goldens
from tests.families.cases import CASES
from tests.models import RESNET, V2, VIT
from tests.writing.stub_tensors import tensor

VIT_NAMES = {name: shape for name, shape in VIT.tensors().items() if not name.endswith("attn.qkv.bias")}
BIASES = {f"blocks.{i}.attn.{part}_bias": (64,) for i in range(2) for part in "qv"}
CLIP_BLOCK = "visual.transformer.resblocks.0.attn.in_proj_weight"

# fmt: off
FOUND = (
    ("Pixio",           VIT_NAMES | {"cls_token": (1, 8, 64)}, "cls_token of (1, 8, 64)"),
    ("BEiT",            VIT_NAMES | BIASES | {"blocks.0.gamma_1": (64,)}, "blocks.0.attn.q_bias"),
    ("BEiT",            VIT_NAMES | {"rel_pos_bias.relative_position_bias_table": (9, 2)},
                        "rel_pos_bias.relative_position_bias_table"),
    ("data2vec-vision", VIT_NAMES | BIASES | {"lm_head.weight": (64, 64)}, "lm_head.weight, which is square"),
    ("BEiT",            VIT_NAMES | BIASES | {"lm_head.weight": (99, 64)}, "blocks.0.attn.q_bias"),
    ("EVA-02",          VIT_NAMES | BIASES, "blocks.0.attn.q_bias"),
    ("EVA-02",          VIT_NAMES | {"blocks.0.attn.q_proj.weight": (64, 64), "blocks.0.mlp.fc1_g.weight": (99, 64)},
                        "blocks.0.mlp.fc1_g.weight"),
    ("BEiT-3",          VIT_NAMES | {"blocks.0.attn.norm.weight": (64,)}, "blocks.0.attn.norm.weight"),
    ("Sapiens 2",       VIT_NAMES | {"blocks.0.attn.q_norm.weight": (64,)}, "blocks.0.attn.q_norm.weight"),
    ("RoPE-ViT",        VIT_NAMES | {"rope.freqs": (2, 12, 6, 32)}, "rope.freqs"),
    ("RoPE-ViT",        {name: shape for name, shape in VIT_NAMES.items() if name != "pos_embed"}
                        | {"blocks.0.gamma_1": (64,)}, "no position table"),
    ("RADIO",           {name: shape for name, shape in VIT_NAMES.items() if not name.startswith("norm.")}
                        | {"reg_token": (1, 7, 64), "blocks.0.ls1.gamma": (64,)}, "reg_token without a norm"),
    ("gap",             {name: shape for name, shape in VIT_NAMES.items() if name != "cls_token"}
                        | {"fc_norm.weight": (64,)}, "fc_norm.weight"),
    ("XCiT",            VIT_NAMES | {"blocks.0.attn.temperature": (1, 1, 1)}, "blocks.0.attn.temperature"),
    ("EsViT",           {"layers.0.blocks.0.attn.qkv.weight": (9, 3)}, "layers.0.blocks.0.attn.qkv.weight"),
    ("MViT",            {"stages.0.blocks.0.attn.rel_pos_h": (3, 8)}, "stages.0.blocks.0.attn.rel_pos_h"),
    ("hierarchical",    {"stages.2.blocks.0.attn.rel_pos.relative_position_bias_table": (9, 2)},
                        "stages.2.blocks.0.attn.rel_pos.relative_position_bias_table"),
    ("CaiT",            VIT_NAMES | {"blocks_token_only.0.gamma_1": (64,)}, "blocks_token_only.0.gamma_1"),
    ("Hiera",           {"pos_embed_window": (1, 8, 8, 8)}, "pos_embed_window"),
    ("CLIP",            {CLIP_BLOCK: (9, 3)}, CLIP_BLOCK),
    ("CLIP",            {"patch_embed.proj.weight": (8, 3, 4, 4), "norm_pre.weight": (8,)}, "norm_pre.weight"),
    ("SigLIP2",         {"patch_embed.proj.weight": (8, 3, 4, 4), "attn_pool.latent": (1, 1, 8)}, "attn_pool.latent"),
    ("SAM",             {"image_encoder.blocks.0.attn.rel_pos_h": (3, 8)}, "image_encoder.blocks.0.attn.rel_pos_h"),
    ("vit-pytorch",     {"to_patch_embedding.2.weight": (8, 48)}, "to_patch_embedding.2.weight"),
    ("AIMv2",           {"patch_embed.norm.weight": (8,)}, "patch_embed.norm.weight"),
    ("RADIO",           {"radio_model.model.norm.weight": (8,)}, "radio_model.model.norm.weight"),
    ("V-JEPA",          {"patch_embed.proj.weight": (8, 3, 2, 4, 4)}, "patch_embed.proj.weight of (8, 3, 2, 4, 4)"),
    ("ChannelViT",      {"patch_embed.proj.weight": (8, 1, 1, 4, 4)}, "patch_embed.proj.weight of (8, 1, 1, 4, 4)"),
    ("Panopticon",      {"patch_embed.conv3d.conv3d.weight": (8, 1, 1, 4, 4)}, "patch_embed.conv3d.conv3d.weight"),
    ("DOFA",            VIT_NAMES | {"patch_embed.weight_generator.weight_tokens": (9, 8)},
                        "patch_embed.weight_generator.weight_tokens"),
    ("3DINO",           {"patch_embed.proj.weight": (8, 1, 4, 4, 4)}, "patch_embed.proj.weight of (8, 1, 4, 4, 4)"),
    ("CAPI",            {"encoder.blocks.0.residual1.fn.qkv.weight": (9, 3)},
                        "encoder.blocks.0.residual1.fn.qkv.weight"),
    ("dino.txt",        {"block_list.0.norm1.weight": (8,)}, "block_list.0.norm1.weight"),
    ("stem",            {"patch_embed.proj.0.weight": (8, 3, 3, 3)}, "patch_embed.proj.0.weight"),
    ("CLIP",            {"embeddings.class_embedding": (8,)}, "embeddings.class_embedding"),
    ("SigLIP",          {"head.probe": (1, 1, 8)}, "head.probe"),
    ("V-JEPA",          {"encoder.embeddings.patch_embeddings.proj.weight": (8, 3, 2, 4, 4)},
                        "encoder.embeddings.patch_embeddings.proj.weight of (8, 3, 2, 4, 4)"),
    ("Pixio",           {"embeddings.cls_token": (1, 8, 64)}, "cls_token of (1, 8, 64)"),
    ("PVT",             {"encoder.patch_embeddings.0.projection.weight": (8, 3, 4, 4)},
                        "encoder.patch_embeddings.0.projection.weight"),
    ("quantised",       {"blocks.0.attn.qkv.weight.absmax": (8,)}, "blocks.0.attn.qkv.weight.absmax"),
    ("JAX",             {"blocks_0.attn.kernel": (8, 8), "blocks_0.mlp.kernel": (8, 8)}, "blocks_0.attn.kernel"),
    ("parametrised",    {"blocks.0.mlp.fc1.parametrizations.weight.original0": (8, 1)},
                        "blocks.0.mlp.fc1.parametrizations.weight.original0"),
    ("pruned",          VIT_NAMES | {"blocks.0.mlp.fc1.weight_orig": (128, 64)}, "blocks.0.mlp.fc1.weight_orig"),
    ("weight norm",     VIT_NAMES | {"blocks.0.attn.proj.weight_g": (64, 1)}, "blocks.0.attn.proj.weight_g"),
    ("ResNet-50",       RESNET.tensors() | {"layer3.6.conv1.weight": (256, 1024, 1, 1)}, "layer3.6.conv1.weight"),
    ("ResNet-50",       RESNET.tensors() | {"layer1.0.conv1.weight": (128, 64, 1, 1)},
                        "layer1.0.conv1.weight of (128, 64, 1, 1)"),
    ("ResNet-50",       RESNET.tensors() | {"layer1.0.se.fc1.weight": (16, 256, 1, 1)}, "layer1.0.se.fc1.weight"),
    ("depth",           {"conv_depth.0.weight": (8, 8, 3, 3)}, "conv_depth.0.weight"),
    ("segmentation",    {"decode_head.conv_seg.weight": (8, 8, 1, 1)}, "decode_head.conv_seg.weight"),
)
# fmt: on


@pytest.mark.parametrize(("title", "shapes", "sign"), FOUND)
def test_each_is_told_by_its_own_name(title, shapes, sign) -> None:
    stranger, told_by = stranger_of(shapes, heads=True)
    assert title in stranger.title
    assert told_by == sign


WITHOUT_TABLE = {name: shape for name, shape in VIT_NAMES.items() if name != "pos_embed"} | {"blocks.0.gamma_1": (64,)}


def test_a_lack_tells_nothing_where_a_config_names_the_family() -> None:
    assert "RoPE-ViT" in stranger_of(WITHOUT_TABLE)[0].title
    assert stranger_of(WITHOUT_TABLE, named=True) is None
    assert stranger_of({**WITHOUT_TABLE, "rope.freqs": (2, 12, 6, 32)}, named=True)[1] == "rope.freqs"


def test_registers_alone_make_no_rotation() -> None:
    """Timm's ViT without positions, or one whose table was cut off, has these names."""
    registers = {name: shape for name, shape in VIT_NAMES.items() if name != "pos_embed"} | {"reg_token": (1, 4, 64)}
    assert not is_dinov3_vit(registers)
    assert is_dinov3_vit({**registers, "blocks.0.gamma_1": (64,)})
    assert is_dinov3_vit({**registers, "blocks.0.attn.q_bias": (64,)})


def test_the_search_goes_on_behind_a_stranger_that_only_lacks_something() -> None:
    """RADIO stands behind it in the table."""
    both = {**WITHOUT_TABLE, "radio_model.model.norm.weight": (64,)}
    assert "RoPE-ViT" in stranger_of(both)[0].title
    stranger, told_by = stranger_of(both, named=True)
    assert "RADIO" in stranger.title
    assert told_by == "radio_model.model.norm.weight"
    with pytest.raises(UnknownModelError, match="is a RADIO, or a NaFlexViT of timm, and no model of the DINO family"):
        refuse_stranger("model.pth", None, both, named=True)


def wrapped(shapes, wrap: str) -> dict:
    import torch

    state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    under = {name: {f"{prefix}{key}": value for key, value in state.items()} for name, prefix in PREFIXES.items()}
    return {
        "alone": state,
        "module": {"state_dict": under["module"], "epoch": 1},
        "lightning": {"state_dict": under["lightning"], "pytorch-lightning_version": "2"},
        "teacher": {"teacher": under["teacher"], "student": under["teacher"]},
    }[wrap]


PREFIXES = {"module": "module.", "lightning": "model.backbone.", "teacher": "backbone."}


@pytest.mark.parametrize("wrap", ["alone", *PREFIXES])
def test_each_is_refused_by_its_own_name_in_any_wrapper(wrap, tmp_path) -> None:
    """One sentence on what it is, and where to go."""
    torch = pytest.importorskip("torch")
    for title, shapes, _ in FOUND:
        torch.save(wrapped(shapes, wrap), tmp_path / "model.pth")
        with pytest.raises(UnknownModelError) as raised:
            api.plan(tmp_path / "model.pth")
        first = str(raised.value).splitlines()[0]
        assert title in first, title
        assert first.endswith(", and no model of the DINO family"), title
        assert raised.value.cause, title
        assert raised.value.next_step, title


def test_every_one_of_the_table_is_told() -> None:
    told = {stranger_of(shapes, heads=True)[0].title for _, shapes, _ in FOUND}
    unseen = {stranger.title for stranger in STRANGERS if not stranger.signs and stranger.builders}
    assert told == {stranger.title for stranger in (*STRANGERS, *HEADS)} - unseen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_model_that_is_converted_is_a_stranger(case) -> None:
    assert stranger_of({name: values.shape for name, values in case.state().items()}) is None


@pytest.mark.parametrize("path", sorted(goldens.FOLDER.rglob("keys*.json")), ids=lambda path: path.stem)
def test_no_genuine_model_is_a_stranger(path) -> None:
    shapes = goldens.shapes(str(path.relative_to(goldens.FOLDER)))
    if any(naming.recognises(shapes) for naming in NAMINGS):
        assert stranger_of(shapes) is None


def test_a_head_beside_a_backbone_is_none(tmp_path) -> None:
    assert stranger_of({**VIT.tensors(), "decode_head.conv_seg.weight": (8, 8, 1, 1)}) is None


def test_a_folder_of_another_resnet_is_refused_in_one_sentence(tmp_path) -> None:
    """A ResNet-18's had 200 lines of tensors that do not fit."""
    path, folder = tmp_path / "resnet50.pth", tmp_path / "ours"
    torch.save({name: torch.from_numpy(each) for name, each in formula.state_dict(RESNET.tensors()).items()}, path)
    api.convert(path, folder, level="exact")
    first = "encoder.stages.0.layers.0.layer.0.convolution.weight"
    tensors = {**load_file(folder / "model.safetensors"), first: torch.ones(64, 64, 3, 3)}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UnknownModelError) as raised:
        api.plan(folder, to="original")
    assert str(raised.value).startswith(f"{folder} is a ResNet other than a ResNet-50, and no model of the DINO")
    assert raised.value.found == f"{first} of (64, 64, 3, 3)"


@pytest.mark.parametrize(("lead", "more"), [("backbone.", {}), ("backbone.", RESNET.tensors()), ("", RESNET.tensors())])
def test_another_resnet_beside_a_vit_in_one_state_dict_refuses_nothing(lead: str, more, tmp_path) -> None:
    deeper = more | {"layer1.0.conv1.weight": (64, 64, 3, 3), "layer3.6.conv1.weight": (2, 2)}
    names = {f"{lead}{name}": shape for name, shape in VIT.tensors().items()}
    names |= {f"cnn.{name}": shape for name, shape in deeper.items()}
    torch.save({name: torch.zeros(shape) for name, shape in names.items()}, tmp_path / "both.pth")
    assert api.plan(tmp_path / "both.pth").class_name == "ViTModel"


def test_the_message(tmp_path) -> None:
    path = tmp_path / "model.pth"
    shapes = VIT_NAMES | BIASES
    write_torch_file(path, [tensor(name, formula.tensor(name, shape), block=1 << 20) for name, shape in shapes.items()])
    with pytest.raises(UnknownModelError) as raised:
        api.convert(path, tmp_path / "out", level="none")
    assert str(raised.value) == (
        f"{path} is an EVA or EVA-02, and no model of the DINO family\n"
        "  where: the file's own state dict\n"
        "  expected: a model that dinoport reads (dinoport models, docs/families)\n"
        "  found: blocks.0.attn.q_bias\n"
        "  likely cause: its attention has biases for queries and values alone, and EVA-02 rotary positions that no "
        "DINOv3 has\n"
        "  try: load it in timm (eva_*, eva02_*); Transformers has no class for it"
    )


@pytest.mark.parametrize(
    ("lead", "beside"),
    [
        ("backbone.", "classifier.0.convs.1.0.weight"),
        ("backbone.", "aux_classifier.4.weight"),
        ("encoder.", "decoder.aspp.0.convs.0.0.weight"),
        ("encoder.", "decoder.0.convs.0.0.weight"),
        ("module.encoder.", "module.decoder.fpa.branch1.1.conv.weight"),
        ("state_dict.backbone.", "state_dict.decode_head.aspp_modules.1.conv.weight"),
        ("base.", "bottleneck.running_mean"),
        ("module.base.", "module.feat_bn.running_mean"),
    ],
)
def test_a_resnet_that_strides_elsewhere_is_not_taken_from_what_holds_it(lead: str, beside: str, tmp_path) -> None:
    """DeepLab of torchvision, MMSegmentation and segmentation_models, its PAN, and re-identification."""
    values = {f"{lead}{name}": each for name, each in formula.state_dict(RESNET.tensors()).items()}
    path = tmp_path / "model.pth"
    values[beside] = formula.tensor(beside, (3, 4, 1, 1) if beside.endswith("weight") else (4,))
    write_torch_file(path, [tensor(name, each, block=1 << 20) for name, each in values.items()])
    with pytest.raises(UnknownModelError) as raised:
        api.plan(path)
    assert str(raised.value).startswith(f"{path} is a DeepLab, a PAN, an FCN or a re-identifier over a ResNet, and no")
    own = beside.removeprefix("module.").removeprefix("state_dict.")
    assert f"  found: {own}\n" in str(raised.value)


@pytest.mark.parametrize(
    "beside",
    [
        *("classifier.weight", "decoder.blocks.0.conv1.0.weight", "decode_head.conv_seg.weight"),
        *("aux_classifier.weight", "aux_classifier.0.weight", "aspp.weight"),  # linear layers, over a vector
    ],
)
def test_a_resnet_beside_another_head_is_taken(beside: str, tmp_path) -> None:
    values = {f"encoder.{name}": each for name, each in formula.state_dict(RESNET.tensors()).items()}
    values[beside] = formula.tensor(beside, (3, 4))
    path = tmp_path / "model.pth"
    write_torch_file(path, [tensor(name, each, block=1 << 20) for name, each in values.items()])
    assert api.plan(path).class_name == "ResNetModel"


def test_a_backbone_that_attends_within_windows_is_not_taken_from_what_holds_it(tmp_path) -> None:
    """RF-DETR's has the names and shapes of a DINOv2, under a prefix where any other is found."""
    inner = {f"backbone.backbone.{name}": values for name, values in formula.state_dict(V2.tensors()).items()}
    values = {**inner, "reference_point_embed.weight": formula.tensor("reference_point_embed.weight", (3, 4))}
    path = tmp_path / "model.pth"
    write_torch_file(path, [tensor(name, each, block=1 << 20) for name, each in values.items()])
    for prefix in (None, "backbone.backbone."):
        with pytest.raises(UnknownModelError) as raised:
            api.plan(path, prefix=prefix)
        assert str(raised.value).startswith(f"{path} is an RF-DETR or LW-DETR, and no model of the DINO family\n")
        assert "  found: reference_point_embed.weight\n" in str(raised.value)
    (part,) = [part for part in api.inspect(path).parts if part.model]
    assert part.command is None
    assert part.refusal is not None
    assert "an RF-DETR or LW-DETR" in part.refusal


def test_a_backbone_with_a_camera_among_its_tokens_is_no_dinov2(tmp_path) -> None:
    """Depth Anything 3 changes what its DINOv2 computes; VGGT, whose camera lies beside it, does not."""
    inner = {f"model.backbone.pretrained.{name}": each for name, each in formula.state_dict(V2.tensors()).items()}
    for name, is_changed in (("model.backbone.pretrained.camera_token", True), ("model.camera_token", False)):
        values = {**inner, name: formula.tensor("cls_token", (1, 2, 64))}
        path = tmp_path / f"{name}.pth"
        write_torch_file(path, [tensor(name, each, block=1 << 20) for name, each in values.items()])
        if not is_changed:
            assert api.plan(path, num_heads=2).class_name == "Dinov2Model"
            continue
        with pytest.raises(UnknownModelError) as raised:
            api.plan(path)
        assert str(raised.value).startswith(f"{path} is a Depth Anything 3 of several views, and no model")
        assert "  found: pretrained.camera_token\n" in str(raised.value)


@pytest.mark.parametrize("lead", ["", "backbone.0.body.", "module.backbone.body."])
@pytest.mark.parametrize("dilates", [False, True])
def test_a_detector_s_resnet_is_taken_unless_its_training_says_that_it_dilates(
    lead: str, dilates: bool, tmp_path
) -> None:
    """DETR dilates its last stage or not, which no tensor shows, and keeps the arguments of its training."""
    own = formula.state_dict(RESNET.tensors())
    values = {f"{lead}{name}": each for name, each in own.items() if not name.endswith("num_batches_tracked")}
    path = tmp_path / "detr.pth"
    arguments = Namespace(dilation=dilates, lr=1e-4)
    torch.save({"model": {name: torch.from_numpy(each) for name, each in values.items()}, "args": arguments}, path)
    if not dilates:
        assert "frozen BatchNorm" in [each.name for each in api.plan(path).settings]
        return
    with pytest.raises(UnknownModelError, match="holds a ResNet that dilates where a ResNet-50 strides"):
        api.plan(path)


@pytest.mark.parametrize("whose", ["Transformers", "children"])
def test_frozen_norms_are_read_under_every_name_of_a_resnet(whose: str, tmp_path: Path) -> None:
    values = formula.state_dict(RESNET.tensors())
    if whose == "Transformers":
        write_torch_file(tmp_path / "own.pth", [tensor(name, each, block=1 << 20) for name, each in values.items()])
        api.convert(tmp_path / "own.pth", tmp_path / "folder", level="none")
        with open_checkpoint(tmp_path / "folder") as folder:
            values = {name: each.read() for name, each in folder.tensors.items()}
    else:
        places = {"conv1": 0, "bn1": 1, **{f"layer{stage}": 3 + stage for stage in range(1, 5)}}
        values = {f"{places[(parts := name.partition('.'))[0]]}.{parts[2]}": each for name, each in values.items()}
    kept = {name: each for name, each in values.items() if not name.endswith("num_batches_tracked")}
    write_torch_file(tmp_path / "frozen.pth", [tensor(name, each, block=1 << 20) for name, each in kept.items()])
    report = api.convert(tmp_path / "frozen.pth", tmp_path / "out", level="exact")
    assert "frozen BatchNorm = eps 1e-05" in str(report.verdict)
    counts = [name for name in values if name.endswith("num_batches_tracked")]
    some = {name: values[name] for name in [*kept, counts[0]]}
    write_torch_file(tmp_path / "some.pth", [tensor(name, each, block=1 << 20) for name, each in some.items()])
    with pytest.raises(PlanError, match="num_batches_tracked is missing"):
        api.plan(tmp_path / "some.pth")


def test_a_backbone_that_is_not_known_is_not_said_to_be_missing(tmp_path) -> None:
    """ViTDet's has no CLS token and no last norm."""
    own = {name: each for name, each in VIT.tensors().items() if not name.startswith(("cls_token", "norm."))}
    values = {f"backbone.net.{name}": each for name, each in formula.state_dict(own).items()}
    values |= {"roi_heads.mask_head.weight": formula.tensor("mask_head", (3, 4))}
    path = tmp_path / "model.pth"
    write_torch_file(path, [tensor(name, each, block=1 << 20) for name, each in values.items()])
    with pytest.raises(UnknownModelError) as raised:
        api.plan(path)
    assert "without its backbone" not in str(raised.value).splitlines()[0]
