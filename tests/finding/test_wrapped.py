"""Files that the genuine libraries wrote, with a DINO somewhere inside: each holds as its manifest says.

The manifest was written from the genuine libraries' behaviour: settings, tensors and outputs are theirs, not ours.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.api import convert
from dinoport.errors import DinoportError
from dinoport.finding.models import read_model
from dinoport.formats.opening import open_checkpoint
from dinoport.request import Request
from tests import formula

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parents[1] / "fixtures" / "wrapped"

CASES: list[dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text())["entries"]

FIELDS = {"num_heads": int, "layer_norm_eps": float, "interpolation": str, "head": str, "lora_alpha": float}


def options(flags: list[str] | None) -> dict[str, Any]:
    """Flags of the command line as arguments of the API; `@` begins a file of the folder."""
    pairs = zip((flags or [])[::2], (flags or [])[1::2], strict=True)
    named = [(flag.removeprefix("--").replace("-", "_"), value.replace("@", f"{FOLDER}/")) for flag, value in pairs]
    return {name: FIELDS[name](value) for name, value in named}


def converted(case: dict[str, Any], out: Path) -> Any:
    expect, source = case["expect"], FOLDER / case["file"]
    given = options(expect.get("flags"))
    if expect["outcome"] == "original":
        given["to"] = "original"
    try:
        return convert(source, out, level="exact", **given)
    except DinoportError as error:
        asked = options(expect.get("flags_if_asked"))
        if not asked or not any(name in str(error) for name in asked):
            raise
        return convert(source, out, level="exact", **given, **asked)


def squeezed(text: str) -> str:
    return "".join(text.lower().split())


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_it_holds_as_its_manifest_says(case: dict[str, Any], tmp_path) -> None:
    expect, out = case["expect"], tmp_path / "out"
    try:
        report = converted(case, out)
    except DinoportError as error:
        if expect["outcome"] not in ("refuse", "either"):
            raise
        assert not out.exists()
        assert_says(str(error), expect.get("message"), expect.get("must_not_say"))
        return
    assert expect["outcome"] != "refuse", report
    if expect["outcome"] == "original":
        assert (out / "checkpoint.pth").exists()
        return
    config = json.loads((out / "config.json").read_text())
    assert not expect.get("classes") or report.class_name in expect["classes"]
    assert {name: config.get(name) for name in expect.get("config", {})} == expect.get("config", {})
    if wanted := expect.get("preprocessor"):
        processor = json.loads((out / "preprocessor_config.json").read_text())
        assert {name: processor.get(name) for name in wanted} == wanted
    said = json.dumps(report.to_dict(), ensure_ascii=False) + str(report)
    assert_says(said, expect.get("says"), expect.get("says_not"))
    assert_tensors(case, out)
    assert_outputs(case, out)


def assert_says(text: str, groups: list[list[str]] | None, never: list[str] | None) -> None:
    """Of each group one of the words."""
    for group in groups or []:
        assert any(squeezed(word) in squeezed(text) for word in group), (group, text)
    assert not [word for word in never or [] if squeezed(word) in squeezed(text)]


def assert_tensors(case: dict[str, Any], out: Path) -> None:
    with open_checkpoint(out) as written:
        own = {name: tensor.read() for name, tensor in written.tensors.items()}
    for name, digest in case.get("expected_tensors", {}).items():
        if not (name.startswith(("pooler.", "classifier.")) and name not in own):
            head = f"torch.{own[name].dtype.name}{own[name].shape}".encode()
            assert hashlib.sha256(head + own[name].tobytes()).hexdigest()[:24] == digest, name


def assert_outputs(case: dict[str, Any], out: Path) -> None:
    """The genuine model's outputs, by the network's own forward pass over what was written."""
    expect = case["expect"]
    with np.load(FOLDER / case["golden"]) as golden:
        wanted = {name: golden[name] for name in golden.files}
    with open_checkpoint(out) as written:
        model, _ = read_model(written, Request())
        state = {name: torch.from_numpy(each.read()).double() for name, each in model.tensors.items()}
    for size in expect.get("sizes") or []:
        height, width = map(int, size.split("x"))
        pixels = torch.from_numpy(formula.pixel_values(height, width)).double()
        with torch.inference_mode():
            found = model.architecture.network.code.forward(state, model.architecture, pixels)
        for what in expect.get("outputs", ["tokens"]):
            key = f"{expect.get('group', '')}{size}/{what}"
            if key in wanted:
                genuine = wanted[key]
                limit = expect["tolerance"] * max(1, np.abs(genuine).max() / 8)
                assert np.abs(found[what].numpy() - genuine).max() < limit, key
