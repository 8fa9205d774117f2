"""Real reports of every kind against the schema that ships, and the schema against the page that documents it."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dinoport import api
from dinoport.errors import NotProvenError
from dinoport.proofs.difference import Difference
from dinoport.proofs.genuine import GenuineProof
from dinoport.report import as_json
from dinoport.request import Request
from tests.command_line import DEMO
from tests.exports.cases import CASES, RECORDED
from tests.families.cases import BY_NAME

jsonschema = pytest.importorskip("jsonschema")
pytest.importorskip("torch")
pytest.importorskip("transformers")

SCHEMA = json.loads(Path(as_json.__file__).with_name("schema.json").read_text())
DOCUMENTED = Path(__file__).parents[2] / "docs" / "report.md"
HEADS = Request(num_heads=2)


def case(name: str, folder: Path, **options: Any) -> Any:
    source, request = BY_NAME[name].write(folder)
    return api.convert(source, folder / "out", request, **options)


def not_equal(folder: Path, level: Any = "full") -> Any:
    """Heads and weights of a folder, changed."""
    api.convert(DEMO, folder / "out", HEADS, level="none")
    config = json.loads((folder / "out" / "config.json").read_text())
    (folder / "out" / "config.json").write_text(json.dumps(config | {"num_attention_heads": 4}))
    weights = bytearray((folder / "out" / "model.safetensors").read_bytes())
    weights[-4 * 32 * 40] ^= 1
    (folder / "out" / "model.safetensors").write_bytes(weights)
    return api.verify(DEMO, folder / "out", HEADS, level=level)


def does_not_load(folder: Path) -> Any:
    api.convert(DEMO, folder / "out", HEADS, level="none")
    config = json.loads((folder / "out" / "config.json").read_text())
    (folder / "out" / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    return api.verify(DEMO, folder / "out", HEADS)


def back(folder: Path) -> Any:
    api.convert(DEMO, folder / "out", HEADS, level="none")
    return api.convert(folder / "out", folder / "back", to="original")


def unproven(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from tests.proofs.test_diagnosis import WRONG_RULES, with_rules

    with_rules(WRONG_RULES["norms"][0], monkeypatch)
    with pytest.raises(NotProvenError) as raised:
        api.convert(DEMO, folder / "out", HEADS)
    return raised.value.report


def with_genuine(folder: Path) -> Any:
    """As --reference adds it; what it runs is tested elsewhere."""
    report = api.convert(DEMO, folder / "out", HEADS, level="exact")
    genuine = GenuineProof("dino_vits16 of a folder", {"tokens": Difference(1e-12, 1e-13)}, rotation=1e-7)
    return replace(report, proofs=replace(report.proofs, genuine=genuine))


def of_graph(folder: Path, name: str) -> Any:
    case = CASES[name.partition("-")[0]]
    return api.verify(case.write(folder), RECORDED / f"{name}.onnx", case.request)


REPORTS: dict[str, Callable[[Path], Any]] = {
    "demo": lambda folder: api.demo(folder / "out"),
    "page": lambda folder: api.demo(folder / "out", pictures=True),
    "plan": lambda folder: api.plan(DEMO, HEADS),
    "plan of a way back": lambda folder: (back(folder), api.plan(folder / "out", to="original"))[1],
    "exact": lambda folder: api.convert(DEMO, folder / "out", HEADS, level="exact"),
    "unverified": lambda folder: api.convert(DEMO, folder / "out", HEADS, level="none"),
    "cast": lambda folder: api.convert(DEMO, folder / "out", Request(num_heads=2, dtype="bfloat16")),
    "baked": lambda folder: api.convert(DEMO, folder / "out", Request(num_heads=2, image_size=96)),
    "not equal": not_equal,
    "not equal by content": lambda folder: not_equal(folder, "exact"),
    "does not load": does_not_load,
    "back": back,
    "classifier": lambda folder: case("vit-interleaved-probe", folder),
    "four channels": lambda folder: case("vit-four-channels", folder),
    "rotary": lambda folder: case("dinov3", folder, all_sizes=True),
    "genuine": with_genuine,
    "graph": lambda folder: of_graph(folder, "vit-dynamo23"),
    "graph that is quantized": lambda folder: of_graph(folder, "vit-dynamo20-int8"),
    "graph of any size": lambda folder: of_graph(folder, "dinov3-dynamo20-any"),
    "convolutional": lambda folder: case("dinov3-convnext", folder),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_fits_the_schema(name: str, tmp_path: Path) -> None:
    report = REPORTS[name](tmp_path).to_dict()
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(report, allow_nan=False)))


def test_a_conversion_that_fails_fits_the_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = unproven(tmp_path, monkeypatch).to_dict()
    assert report["diagnosis"]["explains"] == "all"
    jsonschema.Draft202012Validator(SCHEMA).validate(report)


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every field in objects, and in the first item of lists."""
    items = data.items() if isinstance(data, dict) else list(enumerate(data))[:1] if isinstance(data, list) else ()
    for key, value in items:
        if isinstance(data, dict):
            yield (*path, key)
        yield from places(value, (*path, key))


FREE = {"request", "versions", "nonfinite_values"}


def test_every_field_is_held_to_the_schema(tmp_path: Path) -> None:
    """A field that is missing, of another type, or unknown is refused, wherever it is."""
    report = api.demo(tmp_path / "out").to_dict()
    validator = jsonschema.Draft202012Validator(SCHEMA)
    checked = 0
    for path in places(report):
        if FREE & set(path[:-1]) or "float64" in path[:-1] or "float32" in path[:-1]:
            continue
        for change in ("missing", "other type", "unknown"):
            wrong = copy.deepcopy(report)
            owner = wrong
            for key in path[:-1]:
                owner = owner[key]
            if change == "missing":
                del owner[path[-1]]
            elif change == "other type":
                owner[path[-1]] = [{"of": "another type"}]
            else:
                owner["unknown"] = 1
            assert not validator.is_valid(wrong), (path, change)
            checked += 1
    assert checked > 200


def fields(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from fields(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from fields(value)


def test_every_field_is_documented() -> None:
    words = set(re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"`([^`]+)`", DOCUMENTED.read_text()))))
    assert set(fields(SCHEMA)) - words == set()


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["format"]["const"] == as_json.FORMAT
