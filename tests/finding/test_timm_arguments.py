"""What timm's config.json says besides the tensors: what moves outputs is taken, or refused by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dinoport.api import convert
from dinoport.codebases.timm.arguments import other_head, refuse_strange, strange
from dinoport.codebases.timm.class_arguments import CONVNEXT, EVA, RESNET, VISION_TRANSFORMER
from dinoport.codebases.timm.config import timm_config
from dinoport.errors import SettingError, UnknownModelError
from dinoport.formats.safetensors.writer import write_safetensors
from dinoport.formats.torch.writer import write_torch_file
from dinoport.networks.network import Features
from dinoport.report.report import Report
from tests import formula
from tests.error_text import error_text
from tests.models import CONVNEXT as CONVNEXT_MODEL
from tests.models import VIT, classifying, renamed
from tests.writing.stub_tensors import tensor


def converted(folder: Path, model: Any = VIT, transform: object = None, **arguments: object) -> Report:
    source = folder / "timm"
    source.mkdir()
    state = formula.state_dict(renamed(model.tensors(), "classifier", "head"))
    write_safetensors(source / "model.safetensors", [tensor(name, each, block=1 << 20) for name, each in state.items()])
    classes = model.classifier.classes if model.classifier else 0
    config = {"architecture": "vit_small_patch16_224", "num_classes": classes, "model_args": arguments}
    (source / "config.json").write_text(json.dumps({**config, "pretrained_cfg": transform or {}}))
    return convert(source, folder / "out", level="exact", num_heads=None if "num_heads" in arguments else 4)


@pytest.mark.parametrize("arguments", [
    {"act_layer": "relu"}, {"norm_layer": "rmsnorm"}, {"qk_norm": True}, {"scale_attn_norm": True}, {"block_fn": "x"},
    {"rope_type": "cat"}, {"rope_rotate_half": False}, {"ref_feat_shape": [16, 16]}, {"a_later_one": 1},
    {"num_heads": 4.0}, {"num_heads": "4"}, {"num_heads": True}, {"num_heads": 0},
])  # fmt: skip
def test_an_argument_that_no_tensor_shows_is_refused_by_name(tmp_path: Path, arguments: dict[str, object]) -> None:
    [(name, value)] = arguments.items()
    assert error_text(SettingError, lambda: converted(tmp_path, **arguments)) == (
        f"the config.json of {tmp_path / 'timm'} says of a timm model what is not known here\n"
        "  where: config.json: model_args\n"
        "  expected: sizes that the tensors show\n"
        f"  found: {name} = {value!r}\n"
        "  likely cause: another model, or a later version of timm\n"
        "  try: if it computes what a DINO does: save its state dict with torch.save, and give that file"
    )


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"model_args": None}, "model_args = None"),
        ({"model_args": [1]}, "model_args = [1]"),
        ({"model_args": {}, "pretrained_cfg": "x"}, "pretrained_cfg = 'x'"),
        ({"model_args": 3, "pretrained_cfg": None}, "model_args = 3, pretrained_cfg = None"),
    ],
)
def test_a_config_that_timm_cannot_load_is_refused(fields: dict[str, object], found: str) -> None:
    with pytest.raises(SettingError) as caught:
        timm_config("folder", {"architecture": "vit_small_patch16_224", **fields})
    assert str(caught.value) == (
        "timm cannot load the config.json of folder\n"
        "  where: config.json\n"
        "  expected: an object in `model_args`, and one in `pretrained_cfg`\n"
        f"  found: {found}\n"
        "  likely cause: a config that was written by hand, or changed\n"
        "  try: mend it; or give the file of weights alone, with `num_heads=N`"
    )


def test_a_config_without_a_part_that_timm_needs_is_told_of() -> None:
    config = {"architecture": "vit_small_patch16_224", "model_args": {}}
    told = "timm itself cannot load this config.json: it has model_args, and no pretrained_cfg"
    for fields, warnings in (({}, (told,)), ({"pretrained_cfg": {}}, ())):
        assert timm_config("folder", {**config, **fields}).warnings == warnings


def test_arguments_that_are_shown_or_change_nothing_are_taken() -> None:
    sizes = {"img_size": [64, 64], "patch_size": 16, "embed_dim": 64, "depth": 2, "num_heads": 1, "init_values": None}
    training = {"drop_path_rate": 0.2, "weight_init": "jax"}
    refuse_strange(
        "folder", "of_tomorrow", {**sizes, **training, "act_layer": "gelu", "rope_type": "dinov3", "a_later_one": None}
    )


@pytest.mark.parametrize(("sides", "refused"), [([128, 32], True), ([64, 64], False), ([128, 64], False)])
def test_a_table_for_pictures_that_are_not_square_is_refused(tmp_path: Path, sides: list[int], refused: bool) -> None:
    if refused:
        with pytest.raises(UnknownModelError, match="has positions for pictures that are not square"):
            converted(tmp_path, img_size=sides)
        return
    assert converted(tmp_path, img_size=sides).class_name == "ViTModel"


def test_the_number_of_heads_is_taken(tmp_path: Path) -> None:
    settings = {setting.name: setting.value for setting in converted(tmp_path, num_heads=2).settings}
    assert settings["heads"] == "2"


@pytest.mark.parametrize(("pool", "class_name"), [
    ("token", "ViTForImageClassification"), (None, "ViTForImageClassification"), ("avg", "ViTModel"),
    ("max", "ViTModel"),
])  # fmt: skip
def test_a_classifier_is_taken_where_it_looks_at_the_cls_token(
    tmp_path: Path, pool: str | None, class_name: str
) -> None:
    report = converted(
        tmp_path, classifying(VIT, 5, Features.CLS), **({"global_pool": pool, "fc_norm": False} if pool else {})
    )
    assert report.class_name == class_name
    reasons = {dropped.reason for dropped in report.accounting.dropped}
    assert any(f"global_pool = {pool!r}" in reason for reason in reasons) is (class_name == "ViTModel")


def test_what_a_head_looks_at_by_the_kind_of_network() -> None:
    assert other_head("vit_small_patch16_224", "token") is None
    assert other_head("resnet50", "avg") is None
    assert other_head("resnet50", "max") == (
        "its head looks at features that are not known here, as config.json says: global_pool = 'max'"
    )
    assert other_head("vit_small_patch16_224", "avg") == (
        "its head looks at the patch mean, as config.json says: global_pool = 'avg'"
    )


def test_a_head_over_a_cls_token_that_is_normed_for_it_is_left_aside(tmp_path: Path) -> None:
    """With `fc_norm`, and no mean of patches before it: no class norms the CLS token for its head alone."""
    model = replace(classifying(VIT, 5, Features.NORMED_MEAN), pooled_norm=True)
    report = converted(tmp_path, model, **WIDTHS, fc_norm=True, global_pool="token")
    assert report.class_name == "BeitModel"
    said = "its head norms the CLS token anew, as config.json says: fc_norm = True"
    assert said in {each.reason for each in report.accounting.dropped}


def test_a_builder_that_pools_without_a_norm_may_be_asked_to_pool(tmp_path: Path) -> None:
    """As timm's own builders for I-JEPA, which say by themselves that there is no norm behind the mean."""
    state = formula.state_dict(replace(VIT, cls_token=False).tensors())
    (tmp_path / "timm").mkdir()
    write_safetensors(
        tmp_path / "timm" / "model.safetensors", [tensor(name, each, block=1 << 20) for name, each in state.items()]
    )
    arguments = {**WIDTHS, "patch_size": 16, "global_pool": "avg", "class_token": False}
    config = {"architecture": "vit_huge_patch14_gap_224", "model_args": arguments, "pretrained_cfg": {}}
    (tmp_path / "timm" / "config.json").write_text(json.dumps(config))
    report = convert(tmp_path / "timm", tmp_path / "out", level="exact")
    assert (report.class_name, report.verdict.warnings) == ("IJepaModel", ())


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_a_vector_that_timm_pools_otherwise_is_told_of(tmp_path: Path, pool: str) -> None:
    state = formula.state_dict(CONVNEXT_MODEL.tensors())
    write_torch_file(tmp_path / "own.pth", [tensor(name, each, block=1 << 20) for name, each in state.items()])
    convert(tmp_path / "own.pth", tmp_path / "timm", to="timm", level="none")
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    config["model_args"]["global_pool"] = pool
    (tmp_path / "timm" / "config.json").write_text(json.dumps(config))
    warnings = convert(tmp_path / "timm", tmp_path / "out", level="exact").verdict.warnings
    said = "timm pools otherwise (global_pool = 'max' in config.json); here a vector is the mean"
    assert (said in warnings) is (pool == "max")


def transform_of(report: Report) -> dict[str, tuple[str, str]]:
    names = ("pixel mean", "pixel std", "resize", "crop", "filter")
    return {each.name: (each.value, each.reason) for each in report.settings if each.name in names}


def test_what_pretrained_cfg_leaves_out_is_as_timm_takes_it(tmp_path: Path) -> None:
    report = converted(tmp_path, transform={"input_size": [3, 64, 64], "mean": [0.5, 0.4, 0.3]}, num_heads=4)
    found = transform_of(report)
    otherwise = "as timm takes it where pretrained_cfg says nothing"
    assert {name for name, (_, reason) in found.items() if reason == otherwise} == {"pixel std", "resize", "filter"}
    assert found["pixel mean"] == ("0.5, 0.4, 0.3", "pretrained_cfg in config.json")
    assert found["pixel std"][0] == "0.229, 0.224, 0.225"
    assert (found["resize"][0], found["crop"][0]) == ("shorter side to 73", "centre 64×64")
    assert found["filter"][0].startswith("bicubic")


@pytest.mark.parametrize(("field", "value"), [
    ("interpolation", "lanczos"), ("crop_mode", "border"), ("crop_pct", 1.5), ("input_size", [3, 64, 48]),
    ("input_size", 64), ("mean", [0.5, None, 0.5]), ("std", [0.0, 1.0, 1.0]), ("std", []),
    ("mean", [0.5, 0.4]), ("std", [0.5, 0.5, 0.5, 0.5]),
])  # fmt: skip
def test_a_transform_that_is_not_known_is_told_and_not_taken(tmp_path: Path, field: str, value: object) -> None:
    report = converted(tmp_path, transform={"mean": [0.5, 0.4, 0.3], field: value}, num_heads=4)
    assert f"the transform of pretrained_cfg is not taken: {field} = {value!r}" in report.remarks
    assert "pretrained_cfg in config.json" not in {reason for _, reason in transform_of(report).values()}


def test_one_number_is_of_all_channels(tmp_path: Path) -> None:
    """So torchvision's Normalize takes it."""
    found = transform_of(converted(tmp_path, transform={"mean": [0.5], "std": [0.25]}, num_heads=4))
    assert (found["pixel mean"][0], found["pixel std"][0]) == ("0.5, 0.5, 0.5", "0.25, 0.25, 0.25")


@pytest.mark.parametrize("eps", [0, 1, True, "1e-6", -1e-6])
def test_an_eps_out_of_range_is_refused(eps: object) -> None:
    """Timm computes with some of these; the usual one was taken in their place."""
    assert list(strange("convnext_tiny", {"norm_eps": eps})) == [f"norm_eps = {eps!r}"]


@pytest.mark.parametrize(("name", "other", "own"), [
    ("embed_dim", 128, 64), ("depth", 3, 2), ("patch_size", 14, 16), ("in_chans", 4, 3), ("reg_tokens", 4, 0),
    ("mlp_ratio", 4.0, 2.0), ("mlp_ratio", None, 2.0), ("qkv_bias", False, True), ("qkv_bias", None, True),
    ("proj_bias", False, True), ("init_values", 1e-5, None), ("class_token", False, True), ("fc_norm", True, False),
    ("no_embed_class", True, False), ("pre_norm", True, False),
])  # fmt: skip
def test_a_config_that_the_tensors_contradict_is_another_model_s(
    tmp_path: Path, name: str, other: object, own: object
) -> None:
    assert error_text(SettingError, lambda: converted(tmp_path, num_heads=2, **{name: other})) == (
        f"the config.json of {tmp_path / 'timm'} describes another model than the tensors\n"
        "  where: config.json: model_args\n"
        f"  expected: {name} = {own}\n"
        f"  found: {name} = {other}\n"
        "  likely cause: a config that was copied from elsewhere\n"
        "  try: give the folder as it was saved, or the file of weights alone"
    )


WIDTHS = {"embed_dim": 64, "depth": 2, "num_heads": 1, "mlp_ratio": 2.0, "img_size": 64}


def test_a_pool_that_norms_what_it_pooled_asks_for_another_norm(tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        converted(tmp_path, **WIDTHS, global_pool="avg")
    assert "  expected: fc_norm = False\n  found: fc_norm = True\n" in str(caught.value)


ASKED = {
    "vit_small_patch16_224": VISION_TRANSFORMER,
    "vit_small_patch16_dinov3_qkvb": EVA,
    "convnext_tiny": CONVNEXT,
    "resnet50": RESNET,
}


@pytest.mark.parametrize("architecture", ASKED)
def test_what_each_class_computes_anyway_may_be_asked_for(architecture: str) -> None:
    takes = ASKED[architecture]
    for name, values in takes.items():
        for value in values:
            refuse_strange("folder", architecture, {name: value})
        for other in ("another", 77, *(not value for value in values if isinstance(value, bool))):
            if values:
                assert list(strange(architecture, {name: other})) == [f"{name} = {other!r}"]
    foreign = {name for each in ASKED.values() for name in each} - takes.keys()
    assert all(list(strange(architecture, {name: 1})) for name in foreign)


def test_an_activation_is_the_class_s_own() -> None:
    """The same word is one class's usual activation, and another's change."""
    for architecture, usual, other in (("resnet50", "relu", "gelu"), ("vit_small_patch16_224", "gelu", "relu")):
        refuse_strange("folder", architecture, {"act_layer": usual})
        assert list(strange(architecture, {"act_layer": other})) == [f"act_layer = {other!r}"]


@pytest.mark.parametrize(
    ("architecture", "arguments", "eps"),
    [
        ("vit_base_patch16_clip_224", {}, 1e-5),
        ("vit_base_patch16_clip_224", {"norm_layer": "layernorm"}, 1e-6),
        ("vit_base_patch16_clip_224", {"norm_layer": None}, 1e-6),
        ("convnext_tiny", {"norm_eps": None}, 1e-6),
        ("convnext_tiny", {"norm_eps": 1e-3}, 1e-3),
    ],
)
def test_a_norm_that_is_asked_for_has_its_own_eps(architecture: str, arguments: dict[str, object], eps: float) -> None:
    found = timm_config("folder", {"architecture": architecture, "model_args": arguments, "pretrained_cfg": {}})
    assert found is not None
    assert found.layer_norm_eps == eps


def built_by(architecture: str, folder: Path) -> Path:
    """A narrow ViT beside a config that names a builder and says no more."""
    folder.mkdir()
    state = formula.state_dict(VIT.tensors())
    write_safetensors(folder / "model.safetensors", [tensor(name, each, block=1 << 20) for name, each in state.items()])
    config = {"architecture": architecture, "pretrained_cfg": {"input_size": [3, 64, 64]}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_heads_of_a_builder_of_another_width_are_not_taken(tmp_path: Path) -> None:
    source = built_by("vit_large_patch16_224", tmp_path / "timm")
    with pytest.raises(SettingError) as caught:
        convert(source, tmp_path / "out", level="none")
    assert str(caught.value) == (
        f"the number of attention heads of {source} is not known\n"
        "  where: config.json: architecture\n"
        "  expected: a builder of width 64, as the tensors have it, or `num_heads`\n"
        "  found: 'vit_large_patch16_224', which has width 1024 and 16 heads\n"
        "  likely cause: a config.json without the `model_args` that the model was built with\n"
        "  try: add `num_heads=N`, with N from the code that trained the model"
    )


def test_what_a_builder_makes_otherwise_is_told_of(tmp_path: Path) -> None:
    source = built_by("vit_small_patch16_224", tmp_path / "timm")
    verdict = convert(source, tmp_path / "out", level="exact", num_heads=2).verdict
    said = "timm itself builds another model than the tensors: its 'vit_small_patch16_224' has {}, they have {}"
    for other, own in (("embed_dim = 384", 64), ("depth = 12", 2), ("mlp_ratio = 4.0", 2.0)):
        assert said.format(other, own) in verdict.warnings


@pytest.mark.parametrize(
    ("arguments", "described", "built"),
    [
        ({"img_size": 96}, {}, "96×96"),
        ({"img_size": [96, 64]}, {}, "96×64"),
        ({"img_size": None}, {"fixed_input_size": True, "input_size": [3, 128, 128]}, "128×128"),
    ],
)
def test_a_table_that_timm_would_resample_is_told_of(
    tmp_path: Path, arguments: dict[str, object], described: dict[str, object], built: str
) -> None:
    kept = {name: value for name, value in {**WIDTHS, **arguments}.items() if value is not None}
    warnings = converted(tmp_path, transform={"input_size": [3, 64, 64], **described}, **kept).verdict.warnings
    side, other = built.split("×")
    asked = f"; --image-size {side} resamples it here, too" if side == other else ""
    assert (
        f"timm resamples the table of positions to {built} pixels as it loads this folder (img_size in config.json); "
        f"here it stays as stored, for 64×64{asked}"
    ) in warnings


def test_a_model_that_takes_one_size_is_given_pictures_of_that_size(tmp_path: Path) -> None:
    """Folders of old kept the input size of the builder beside a model for another."""
    described = {"input_size": [3, 224, 224], "crop_pct": 1.0, "fixed_input_size": True}
    report = converted(tmp_path, transform=described, **WIDTHS)
    assert transform_of(report)["crop"] == ("centre 64×64", "pretrained_cfg in config.json")
    assert not any("resamples the table" in warning for warning in report.verdict.warnings)


@pytest.mark.parametrize("value", [1e308, 1000.0, -1e300])
def test_an_mlp_ratio_that_nothing_has_is_another_model_s(tmp_path: Path, value: float) -> None:
    told = error_text(SettingError, lambda: converted(tmp_path, num_heads=4, mlp_ratio=value))
    assert "describes another model than the tensors" in told
    assert "expected: mlp_ratio = 2.0" in told


def test_a_count_that_is_left_open_contradicts_nothing(tmp_path: Path) -> None:
    assert not converted(tmp_path, num_heads=4, reg_tokens=None).verdict.failed


@pytest.mark.parametrize("share", [0.875, None])
def test_a_square_of_which_the_middle_is_cropped_is_not_taken(tmp_path: Path, share: float | None) -> None:
    described = {"crop_mode": "squash", **({"crop_pct": share} if share else {})}
    remarks = converted(tmp_path, transform=described, num_heads=4).remarks
    assert "the transform of pretrained_cfg is not taken: crop_pct = 0.875" in remarks


def test_a_folder_of_old_has_one_part_alone(tmp_path: Path) -> None:
    """Before timm 0.9 what is in pretrained_cfg stood beside the builder, and names of classes were `labels`."""
    own = {"num_classes": 2, "labels": ["cat", "dog"], "input_size": [3, 64, 64], "mean": [0.5, 0.4, 0.3]}
    found = timm_config("folder", {"architecture": "vit_small_patch16_224", **own})
    assert found is not None
    assert found.preprocessing is not None
    assert (found.preprocessing.mean, found.preprocessing.size) == ((0.5, 0.4, 0.3), 64)
    assert found.labels == {0: "cat", 1: "dog"}
    assert found.classes == 2


@pytest.mark.parametrize(
    ("stated", "count"), [({"num_classes": 3}, 3), ({"num_classes": 0}, 0), ({"num_classes": [2]}, "[2]")]
)
def test_a_classifier_that_timm_leaves_out_is_told_of(tmp_path: Path, stated: dict[str, object], count: int) -> None:
    report = converted(tmp_path, classifying(VIT, 5, Features.CLS), **WIDTHS, **stated)
    assert f"timm leaves out the classifier of 5 classes: config.json says num_classes = {count}" in (
        report.verdict.warnings
    )
