"""The table of a processor's fields, against what the genuine processors do with another value."""

import json
from pathlib import Path
from typing import Any

import pytest

from dinoport.codebases.transformers.processor import processor_config
from dinoport.codebases.transformers.processor_fields import (
    KINDS,
    compare_processor,
    known_processor,
    processor_of,
    strange_processor_fields,
)
from dinoport.networks.preprocessing import DINOV3_PROCESSOR, EVALUATION
from tests.fixtures.moving.generate_processors import ALSO, VALUES
from tests.transformers_target.genuine_processors import CONFIGS, GenuineProcessor
from tests.transformers_target.moving import record

RECORDS = {name: record(f"processors-{name}") for name in ("4", "4-torchvision", "5", "5-torchvision")}


def config_of(kind: str) -> dict[str, Any]:
    return {"image_processor_type": kind, **CONFIGS[kind]}


def effects(kind: str, name: str, type_name: str) -> set[str]:
    """What we say of each value of one type; a field that is left out is a type of its own."""
    config = config_of(kind)
    without = {field: value for field, value in config.items() if field != name}
    changed = [without] if type_name == "missing" else [{**config, name: value} for value in VALUES[type_name]]
    found = [compare_processor(config, each) for each in changed if each != config]
    return {finding.effect for findings in found for finding in findings} or {"none"}


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_was_measured_to_move_pixels_is_never_called_harmless(kind: str) -> None:
    checked = 0
    for made, found in RECORDS.items():
        for name, measured in found.classes.get(kind, {}).items():
            for type_name, sign in measured.outcomes.items():
                if sign != "=":
                    checked += 1
                    assert effects(kind, name, type_name) != {"none"}, (made, name, type_name)
    assert checked > 50


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_no_processor_was_measured_to_read_is_never_called_a_failure(kind: str) -> None:
    found = [each.classes[kind] for each in RECORDS.values() if kind in each.classes]
    checked = 0
    for name in set.intersection(*({*fields} for fields in found)) - {
        "pad_size",
        "crop_size",
    }:  # beside an option they move
        for type_name in ("missing", *VALUES):
            signs = {fields[name].outcomes.get(type_name, "=") for fields in found}
            if signs == {"="} and type_name in ("missing", "null", "bool", "int", "list"):
                checked += 1
                assert "outputs" not in effects(kind, name, type_name), (name, type_name)
    assert checked > 25


def test_defaults_are_those_of_every_release_that_was_measured() -> None:
    checked = 0
    for found in RECORDS.values():
        for kind, fields in found.classes.items():
            processor = processor_of({"image_processor_type": kind})
            assert processor is not None
            for name, measured in fields.items():
                if name in KINDS and measured.default is not None:
                    checked += 1
                    assert measured.default == processor.defaults[name], (kind, name)
    assert checked > 60


@pytest.fixture(params=CONFIGS)
def genuine(request: pytest.FixtureRequest, tmp_path: Path) -> GenuineProcessor:
    pytest.importorskip("transformers")
    try:
        return GenuineProcessor.make(request.param, tmp_path)
    except (ImportError, ValueError):
        pytest.skip("this processor needs torchvision")


def test_a_field_that_moves_pixels_here_is_a_failure_and_one_that_does_not_is_none(genuine: GenuineProcessor) -> None:
    wrong = []
    for name in (*genuine.config, *ALSO):
        if name == "image_processor_type":
            continue
        for value in (value for values in VALUES.values() for value in values):
            changed = {**genuine.config, name: value}
            said = {finding.effect for finding in compare_processor(genuine.config, changed)} or {"none"}
            if genuine.outcome(changed) != "same" and said == {"none"}:
                wrong.append((name, value))
    assert not wrong


def test_a_field_that_takes_the_place_of_a_part_of_the_processor_is_never_harmless(genuine: GenuineProcessor) -> None:
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(genuine.folder, local_files_only=True)
    kind, checked = type(processor), 0
    for name in (*dir(kind), *vars(processor)):
        effects = {each.effect for each in compare_processor(genuine.config, {**genuine.config, name: "x"})}
        if callable(getattr(kind, name, None)) or name.startswith("__"):
            checked += 1
            assert effects - {"none"}, name
        elif effects <= {"none"}:
            assert genuine.outcome({**genuine.config, name: "x"}) == "same", name
    assert checked > 40


def test_a_processor_that_transformers_wrote_again_has_no_finding_that_moves(
    genuine: GenuineProcessor, tmp_path: Path
) -> None:
    from transformers import AutoImageProcessor

    (tmp_path / "preprocessor_config.json").write_text(json.dumps(genuine.config))
    AutoImageProcessor.from_pretrained(tmp_path, local_files_only=True).save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "preprocessor_config.json").read_text())
    assert {finding.field for finding in compare_processor(genuine.config, again)} <= {"image_processor_type"}
    assert {finding.effect for finding in compare_processor(genuine.config, again)} <= {"none"}
    assert not [*strange_processor_fields(again)]


def test_what_is_known_makes_the_same_pixels(genuine: GenuineProcessor) -> None:
    known = known_processor({**genuine.config, "auto_map": {"AutoImageProcessor": "evil.Processor"}})
    assert "auto_map" not in known
    assert genuine.outcome(known) == "same"


@pytest.mark.parametrize(
    "field",
    [
        {"auto_map": {"AutoImageProcessor": "evil.Processor"}},
        {"auto_map": {"AutoFeatureExtractor": "org/repo--evil.Extractor"}},
        {"image_processor_type": "EvilProcessor"},
        {"image_processor_type": ["BitImageProcessor"]},
        {"image_processor_type": None, "feature_extractor_type": "EvilFeatureExtractor"},
        {"custom_code": "evil.py"},
        {"resize": 1},
        {"preprocess": [1]},
        {"__class__": "x"},
        {"size": {"shortest_edge": -1}},
        {"size": {"shortest_edge": 256, "longest_edge": 1}},
        {"crop_size": "224"},
        {"image_mean": ["0.5"] * 3},
        {"resample": "bicubic"},
    ],
    ids=str,
)
def test_what_may_open_something_or_is_no_value_is_strange(field: dict[str, Any]) -> None:
    config = {**processor_config(EVALUATION), **field}
    assert {name for name, _ in strange_processor_fields(config)} == {next(iter(field))}
    effects = {finding.effect for finding in compare_processor(processor_config(EVALUATION), config)}
    assert effects & {"opens", "unknown", "outputs"}


def test_old_names_and_spellings_are_the_same_processor() -> None:
    """As folders on the Hub have them, written by releases long gone."""
    ours = {"image_processor_type": "ViTImageProcessor", **CONFIGS["ViTImageProcessor"]}
    old = {name: value for name, value in ours.items() if name != "image_processor_type"}
    old |= {"feature_extractor_type": "ViTFeatureExtractor", "size": 32}
    [finding] = compare_processor(ours, old)
    assert (finding.field, finding.effect) == ("feature_extractor_type", "none")
    cropped = processor_config(EVALUATION)
    assert compare_processor(cropped, {**cropped, "crop_size": 224, "size": 256}) == ()
    empty = {"height": None, "width": None, "longest_edge": None}
    assert compare_processor(cropped, {**cropped, "size": {"shortest_edge": 256, **empty}}) == ()


def test_a_backend_is_told_and_another_processor_is_a_failure() -> None:
    cropped, squared = processor_config(EVALUATION), processor_config(DINOV3_PROCESSOR)
    for kind in ("BitImageProcessorFast", "BitImageProcessorPil"):
        [finding] = compare_processor(cropped, {**cropped, "image_processor_type": kind})
        assert (finding.field, finding.effect) == ("image_processor_type", "none")
    [finding] = compare_processor(cropped, squared)
    assert (finding.field, finding.effect) == ("image_processor_type", "outputs")
    [finding] = compare_processor(cropped, {**cropped, "do_center_crop": False})
    assert (finding.field, finding.ours, finding.theirs, finding.effect) == ("do_center_crop", True, False, "outputs")
