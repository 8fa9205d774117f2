"""A Transformers folder whose config.json computes another model: its values go nowhere without a word."""

import json
from pathlib import Path
from typing import Any

import pytest

from dinoport.api import convert, verify
from dinoport.codebases.transformers.class_fields import FIELDS, IDENTITY, OUTPUTS, PRECISION
from dinoport.errors import DinoportError, SettingError
from dinoport.request import Request
from tests.error_text import error_text
from tests.families.cases import CASES, Case

OTHER_ACTIVATION = {"gelu": "relu", "relu": "gelu", "silu": "gelu", "tanh": "relu"}


def another(value: object) -> Any:
    """A value of the same kind that computes something else."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value * 2 or 1
    if isinstance(value, str):
        return OTHER_ACTIVATION.get(value, "another")
    return [another(each) for each in value] if isinstance(value, list) else 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_value_that_moves_outputs_is_carried_or_refused(case: Case, tmp_path: Path) -> None:
    source, request = case.write(tmp_path)
    folder = tmp_path / "there"
    convert(source, folder, request, level="none")
    (folder / "dinoport.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    fields = FIELDS[config["architectures"][0]]
    inert = {*IDENTITY, *PRECISION, *(() if request.pooler == "identity" else ("pooler_act",))}
    refused = 0
    for name in sorted(fields):
        if fields[name].role == OUTPUTS and name not in inert:
            value = another(config.get(name, fields[name].default))
            (folder / "config.json").write_text(json.dumps(config | {name: value}))
            for change in (Request(to="original"), Request(dtype="float16")):
                if name == "pooler_act":  # another layer than one that does nothing: it is left aside, and named
                    report = convert(folder, tmp_path / "back", change, level="exact", force=True)
                    assert any(line.names.startswith("pooler.") for line in report.accounting.dropped)
                    continue
                carried = values_carried(folder, tmp_path / "back", change)
                assert carried is None or str(value) in carried, (name, change)
                refused += carried is None
    assert refused


@pytest.mark.parametrize("case", {case.class_name: case for case in CASES}.values(), ids=lambda case: case.class_name)
def test_a_square_pair_is_one_number(tmp_path: Path, case: Case) -> None:
    """As `image_size` of every class in Transformers 5, and of all but DINOv3's ViT in Transformers 4."""
    source, request = case.write(tmp_path)
    convert(source, tmp_path / "there", request, level="none")
    (tmp_path / "there/dinoport.json").unlink()
    file = tmp_path / "there/config.json"
    config = json.loads(file.read_text())
    for name in ("image_size", "patch_size"):
        if name in config:
            file.write_text(json.dumps({**config, name: [config[name]] * 2}))
            assert convert(tmp_path / "there", tmp_path / "back", to="original", level="exact", force=True)
            verdict = verify(source, tmp_path / "there", request, level="exact").verdict
            assert verdict.failed == ((case.class_name, name) == ("DINOv3ViTModel", "image_size")), verdict


def values_carried(folder: Path, target: Path, request: Request) -> list[str] | None:
    """The settings of the model that was written, or None where the folder was refused with a next step."""
    try:
        report = convert(folder, target, request, level="exact", force=True)
    except DinoportError as error:
        return None if error.next_step else []
    return [setting.value for setting in report.settings]


def test_the_refusal_names_field_and_both_values(tmp_path: Path) -> None:
    source, request = CASES[0].write(tmp_path)
    convert(source, tmp_path / "there", request, level="none")
    config = json.loads((tmp_path / "there/config.json").read_text())
    (tmp_path / "there/config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    assert error_text(SettingError, lambda: convert(tmp_path / "there", tmp_path / "back", to="original")) == (
        f"the config.json of {tmp_path / 'there'} asks for what a ViT (codebase not known) does not compute\n"
        "  where: config.json\n"
        '  expected: hidden_act = "gelu"\n'
        '  found: hidden_act = "relu"\n'
        "  likely cause: a config of another model, or one that was changed\n"
        "  try: give the folder as it was converted or published"
    )


@pytest.mark.parametrize("name", PRECISION)
def test_a_dtype_by_which_transformers_5_rounds_weights_is_told(tmp_path: Path, name: str) -> None:
    source, request = CASES[0].write(tmp_path)
    convert(source, tmp_path / "there", request, level="none")
    config = json.loads((tmp_path / "there" / "config.json").read_text())
    told = "config.json says float16: Transformers 5 rounds the float32 weights to it; here they stay as stored"
    for dtype, expected in (("float32", False), ("float16", True)):
        others = {field: value for field, value in config.items() if field not in PRECISION}
        (tmp_path / "there" / "config.json").write_text(json.dumps({**others, name: dtype}))
        report = convert(tmp_path / "there", tmp_path / "back", Request(to="original"), level="exact", force=True)
        assert (told in report.verdict.warnings) is expected
