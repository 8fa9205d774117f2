"""A changed field of a timm folder's config.json: what is said of it, and what timm does with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from dinoport.api import convert, verify
from dinoport.codebases.timm.class_arguments import fixed_arguments
from dinoport.codebases.timm.comparing import FIELDS, compare_config
from dinoport.proofs.verdict import Word
from tests.timm_target.models import asked, write
from tests.with_timm import WITH_DINOV3, needs_timm, skip_before

SIZED, UNSIZED = "dino classifier", "convnext"

CHANGES: tuple[tuple[str, str, Any, str], ...] = (
    (SIZED, "a_field_of_tomorrow", 1, "unknown"),
    (SIZED, "a_field_of_tomorrow", None, "unknown"),
    (SIZED, "label_offset", 1, "outputs"),
    (SIZED, "label_offset", 0, "none"),
    (SIZED, "first_conv", 3, "outputs"),
    (SIZED, "first_conv", [1], "outputs"),
    (SIZED, "first_conv", ["patch_embed.proj"], "none"),
    (SIZED, "fixed_input_size", True, "none"),
    (SIZED, "tag", "another", "none"),
    (SIZED, "test_crop_pct", 1.0, "none"),
    (SIZED, "custom_load", "hf", "opens"),
    (UNSIZED, "fixed_input_size", True, "outputs"),
    (UNSIZED, "label_offset", 1, "outputs"),
)


def folder_of(case: str, place: Path) -> tuple[Path, Path, dict[str, Any]]:
    source = write(case, place / "weights.pth")
    convert(source, place / "out", to="timm", level="none", **asked(case))
    return source, place / "out", json.loads((place / "out" / "config.json").read_text())


def changed(config: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**config, "pretrained_cfg": {**config["pretrained_cfg"], name: value}}


@pytest.mark.parametrize(("case", "name", "value", "effect"), CHANGES)
def test_a_field_is_called_by_what_timm_does_with_it(
    case: str, name: str, value: Any, effect: str, tmp_path: Path
) -> None:
    source, folder, config = folder_of(case, tmp_path)
    [finding] = compare_config(config, changed(config, name, value))
    assert (finding.field, finding.theirs, finding.effect) == (f"pretrained_cfg.{name}", value, effect)
    (folder / "config.json").write_text(json.dumps(changed(config, name, value)))
    (folder / "dinoport.json").unlink()
    verdict = verify(source, folder, level="exact", **asked(case)).verdict
    assert (verdict.word is Word.NOT_EQUAL) == (effect != "none")


def test_no_field_at_all_is_a_finding_and_no_error(tmp_path: Path) -> None:
    _, _, config = folder_of(SIZED, tmp_path)
    for other in (7, "img_size", None):
        fields = {each.field for each in compare_config(config, {**config, "model_args": other})}
        assert fields == {"model_args"}


@needs_timm
def test_timm_loads_what_is_called_harmless_and_nothing_else(tmp_path: Path) -> None:
    import timm

    skip_before(WITH_DINOV3)  # timm 1.0.16 loads a `first_conv` that is no name
    for case in (SIZED, UNSIZED):
        place = tmp_path / case
        place.mkdir()
        _, folder, config = folder_of(case, place)
        for _, name, value, effect in (each for each in CHANGES if each[0] == case and each[3] != "opens"):
            (folder / "config.json").write_text(json.dumps(changed(config, name, value)))
            try:
                timm.create_model(f"local-dir:{folder}", pretrained=True)
            except Exception:  # whatever timm raises: the folder does not load
                assert effect != "none", (name, value)
            else:
                assert effect == "none", (name, value)


@needs_timm
def test_the_fields_are_those_that_timm_knows() -> None:
    from dataclasses import fields

    from timm.models._pretrained import PretrainedCfg

    assert {each.name for each in fields(PretrainedCfg)} <= FIELDS


def test_what_makes_the_same_of_a_picture_is_the_same(tmp_path: Path) -> None:
    """Timm rounds the size before its crop down: 0.9 of 224 pixels are 248, of which 224 are 0.903."""
    _, _, config = folder_of(SIZED, tmp_path)
    side = config["pretrained_cfg"]["input_size"][-1]
    same = side / config["pretrained_cfg"]["crop_pct"] + 0.5
    assert not [*compare_config(config, changed(config, "crop_pct", side / same))]
    [finding] = compare_config(config, changed(config, "crop_pct", side / (same + 1)))
    assert (finding.field, finding.effect) == ("pretrained_cfg.crop_pct", "outputs")


@pytest.mark.parametrize(
    ("case", "name", "value", "effect"),
    [
        ("dino", "dynamic_img_size", False, "none"),
        ("dino", "global_pool", "avg", "pooled"),
        ("dino classifier", "global_pool", "avg", "outputs"),
        ("dino", "num_heads", 1, "outputs"),
        ("dinov2", "init_values", 1.0, None),
        ("dinov3", "img_size", 512, None),
        ("convnext", "ls_init_value", 1.0, None),
        ("convnext", "ls_init_value", None, "outputs"),
        ("convnext", "norm_eps", 1e-6, None),
        ("convnext", "norm_eps", 1e-5, "outputs"),
        ("convnext", "kernel_sizes", [7, 7, 7, 7], None),
        ("convnext", "num_classes", 0, None),
        ("convnext", "num_classes", 5, "outputs"),
        ("dino classifier", "num_classes", 0, "outputs"),
    ],
)
def test_an_argument_is_called_by_what_it_does(
    case: str, name: str, value: Any, effect: str | None, tmp_path: Path
) -> None:
    _, _, config = folder_of(case, tmp_path)
    other = {**config, "model_args": {**config["model_args"], name: value}}
    found = [(each.field, each.theirs, each.effect) for each in compare_config(config, other)]
    assert found == ([(f"model_args.{name}", value, effect)] if effect else [])


def test_classes_may_be_said_in_either_part(tmp_path: Path) -> None:
    _, _, config = folder_of(SIZED, tmp_path)
    assert not [*compare_config(config, {name: each for name, each in config.items() if name != "num_classes"})]
    [finding] = compare_config(config, {**config, "num_classes": None})
    assert (finding.field, finding.effect) == ("num_classes", "outputs")


def test_pictures_of_other_channels_are_another_input(tmp_path: Path) -> None:
    """Timm begins its first layer anew by them."""
    _, _, config = folder_of(UNSIZED, tmp_path)
    [finding] = compare_config(config, changed(config, "input_size", [1, 224, 224]))
    assert (finding.field, finding.effect) == ("pretrained_cfg.input_size", "outputs")


ANYWAY = {
    "dino": {"qk_norm": False, "final_norm": True},
    "convnext": {"patch_size": 4},
    "resnet": {"down_kernel_size": 1},
}


@pytest.mark.parametrize("case", ANYWAY)
def test_what_a_class_does_anyway_may_be_said(case: str, tmp_path: Path) -> None:
    _, _, config = folder_of(case, tmp_path)
    fixed = fixed_arguments(config["architecture"])
    assert fixed.items() > ANYWAY[case].items()
    assert not [*compare_config(config, {**config, "model_args": {**config["model_args"], **fixed}})]


@needs_timm
@pytest.mark.parametrize("builder", ["vit_small_patch16_224", "convnext_tiny", "resnet50"])
def test_a_class_does_by_itself_what_is_said_of_it(builder: str) -> None:
    """The same layers: `pruned` and `features_only` are of the builder, and `use_naflex` of a later timm."""
    import timm

    skip_before((1, 0, 31))  # which has all the arguments
    small = {"depth": 1} if builder.startswith("vit") else {"layers" if "resnet" in builder else "depths": [1] * 4}

    def layers(**asked: object) -> str:
        return str(timm.create_model(builder, **small, **asked)).replace("GELU(approximate='none')", "GELU()")

    plain = layers()
    for name, value in fixed_arguments(builder).items():
        if name not in ("pruned", "features_only", "use_naflex"):
            assert layers(**{name: value}) == plain, name


SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("vit_small_patch16_224", {"img_size": 64}),
    "sized": ("vit_small_patch16_224", {"img_size": 64, "dynamic_img_size": True}),
    "scaled": ("vit_small_patch14_dinov2", {"img_size": 56}),
    "with registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 56}),
    "rotary": ("vit_small_patch16_dinov3_qkvb", {}),
    "rotary without registers": ("vit_small_patch16_dinov3_qkvb", {"num_reg_tokens": 0, "global_pool": "token"}),
}
SMALL = {"depth": 2, "embed_dim": 64, "num_heads": 4, "num_classes": 0}


@needs_timm
@pytest.mark.parametrize("name", SAVED)
def test_what_timm_saves_is_equal_to_what_is_made_of_it(name: str, tmp_path: Path) -> None:
    """As `push_to_hf_hub` writes it, as a pickle and as safetensors: in whichever spelling, the network is one."""
    import timm
    import torch
    from timm.models._hub import save_for_hf

    builder, asked_for = SAVED[name]
    skip_before(WITH_DINOV3)  # timm 1.0.16 saves with an older huggingface_hub alone
    torch.manual_seed(0)
    model = timm.create_model(builder, pretrained=False, **SMALL, **asked_for)
    if "img_size" in asked_for:
        model.pretrained_cfg["input_size"] = (3, asked_for["img_size"], asked_for["img_size"])
    with torch.no_grad():
        for values in model.parameters():
            values.normal_(std=0.05)
    for safe in (False, True):
        theirs = tmp_path / f"theirs {safe}"
        save_for_hf(model, theirs, model_args={**SMALL, **asked_for}, safe_serialization=safe)
        convert(theirs, tmp_path / f"transformers {safe}", level="exact")
        convert(theirs, tmp_path / f"timm {safe}", to="timm", level="exact")
        for ours in (f"transformers {safe}", f"timm {safe}"):
            verdict = verify(tmp_path / ours, theirs).verdict
            assert verdict.word is Word.EQUAL, verdict
            pooled = 'config.json: model_args.global_pool is "avg": its pooled output is another, and was not compared'
            assert (pooled in verdict.warnings) == (name == "rotary")
