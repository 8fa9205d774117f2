"""A changed field of a timm folder's config.json: what is said of it, and what timm does with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dinoport.api import convert, verify
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
