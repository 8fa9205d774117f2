"""Planted faults: the first block that differs and the cause must be named. Each is one that conversions have had."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dinoport import api
from dinoport.codebases.transformers import vit
from dinoport.errors import NotProvenError
from dinoport.mapping.rule import Rule, copy, split_rows
from dinoport.networks.network import Features
from dinoport.proofs.diagnosis import diagnosis
from dinoport.report.page.render import page
from dinoport.report.report import Report
from dinoport.report.text import cause_text, report_lines
from tests.families.cases import BY_NAME, Case, Request
from tests.models import classifying
from tests.proofs.faults import FAULTS, IN_OTHER_FAMILIES, SOURCE, VIT, Fault, assert_named, with_rules

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("jinja2")

from safetensors.numpy import load_file, save_file

PROBE = Case(
    "probe",
    classifying(replace(VIT, depth=2), 5, Features.CLS_MEAN_INTERLEAVED),
    "Dinov2ForImageClassification",
    Request(num_heads=2),
    head=("linear.weight", "linear.bias"),
    classifier="linear",
)

UNKNOWN = Fault("blocks.0", "", {"hidden_act": "mish"})
"""One that no usual mistake explains."""


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("diagnosis")
    source, request = SOURCE.write(folder)
    api.convert(source, folder / "out", request)
    return source, folder / "out"


def planted(fault: Fault, folder: Path, into: Path) -> Path:
    shutil.copytree(folder, into)
    config = json.loads((into / "config.json").read_text())
    (into / "config.json").write_text(json.dumps(config | fault.config))
    tensors = load_file(into / "model.safetensors")
    fault.edit(tensors)
    save_file(tensors, into / "model.safetensors", {"format": "pt"})
    return into


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, converted: tuple[Path, Path], tmp_path: Path) -> None:
    source, folder = converted
    report = api.verify(source, planted(FAULTS[name], folder, tmp_path / "planted"))
    assert report.verdict.failed
    assert_named(report, FAULTS[name].block, FAULTS[name].cause)


def planted_in(name: str, fault: Fault, folder: Path) -> Report:
    """The report on a family's case with a fault in its folder."""
    source, request = BY_NAME[name].write(folder)
    api.convert(source, folder / "out", request, level="none")
    return api.verify(source, planted(fault, folder / "out", folder / "planted"), request)


@pytest.mark.parametrize(("name", "what"), IN_OTHER_FAMILIES)
def test_a_planted_fault_is_named_in_every_family(name: str, what: str, tmp_path: Path) -> None:
    fault = IN_OTHER_FAMILIES[name, what]
    report = planted_in(name, fault, tmp_path)
    assert report.verdict.failed
    assert_named(report, fault.block, fault.cause)


def test_another_base_of_rotary_positions_is_named(tmp_path: Path) -> None:
    """Their sines and cosines are compared apart, in float32 as the class computes them."""
    found = planted_in("dinov3", Fault("", "", {"rope_theta": 10000.0}), tmp_path).proofs.diagnosis
    assert found is not None
    assert found.block == diagnosis.ROTATION
    assert found.cause == "the base of the rotary positions: the folder computes with 10000, the original with 100"
    assert found.remaining is not None
    assert found.remaining < 1e-5


def test_nothing_is_looked_for_in_a_folder_that_is_equal(converted: tuple[Path, Path]) -> None:
    assert api.verify(*converted).proofs.diagnosis is None


def replaced(rules: tuple[Rule, ...], *others: Rule) -> tuple[Rule, ...]:
    """The rules with those of the same source, or else of the same target, replaced."""
    sources = {rule.source for rule in others}
    return (*(rule for rule in rules if rule.source not in sources), *others)


LAYER = "encoder.layer.{i}"
WRONG_RULES = {
    "norms": (
        replaced(
            vit.VIT.rules,
            copy("blocks.{i}.norm1.{p}", f"{LAYER}.layernorm_after.{{p}}"),
            copy("blocks.{i}.norm2.{p}", f"{LAYER}.layernorm_before.{{p}}"),
        ),
        "norm1 and norm2 are swapped in every block",
    ),
    "queries and keys": (
        replaced(
            vit.VIT.rules,
            split_rows(
                "blocks.{i}.attn.qkv.{p}",
                tuple(f"{LAYER}.attention.attention.{part}.{{p}}" for part in ("key", "query", "value")),
            ),
        ),
        "queries and keys are swapped in every block",
    ),
}


@pytest.mark.parametrize("name", WRONG_RULES)
def test_a_wrong_rule_is_named_though_every_tensor_was_transported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exact proof cannot see it: it reads the same rules. The outputs do."""
    rules, cause = WRONG_RULES[name]
    with_rules(rules, monkeypatch)
    source, request = SOURCE.write(tmp_path)
    with pytest.raises(NotProvenError) as raised:
        api.convert(source, tmp_path / "out", request)
    report = raised.value.report
    assert report.proofs.exact.passed
    assert_named(report, "blocks.0", cause)
    assert f"likely cause: {cause}; taken into account, both are equal" in str(raised.value)


def test_a_classifier_over_other_features_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dinoport.codebases.transformers import dinov2

    monkeypatch.setitem(dinov2.CLASSIFIERS, Features.CLS_MEAN_INTERLEAVED, dinov2.CLASSIFIER)
    source, request = PROBE.write(tmp_path)
    with pytest.raises(NotProvenError) as raised:
        api.convert(source, tmp_path / "out", request)
    cause = "the classifier takes CLS token, then patch mean, the original's CLS token and patch mean, channel by"
    assert_named(raised.value.report, diagnosis.AFTER, cause)


def test_without_torch_contents_are_compared(converted: tuple[Path, Path], tmp_path: Path) -> None:
    source, folder = converted
    report = api.verify(source, planted(FAULTS["queries for keys, once"], folder, tmp_path / "planted"), level="exact")
    found = report.proofs.diagnosis
    assert found is not None
    assert (found.block, found.relative, found.tried) == ("blocks.7", None, 0)
    assert found.misplaced[0] == (
        "encoder.layer.7.attention.attention.query.weight holds what belongs in "
        "encoder.layer.7.attention.attention.key.weight"
    )
    assert found.rules[1].startswith("blocks.{i}.attn.qkv.{p} → encoder.layer.{i}.attention.attention.query.{p}, ")
    assert cause_text(found) == "4 tensors are in each other's place, as their contents show"


@pytest.mark.parametrize(
    ("level", "ending"), [("full", "; outputs are still equal"), ("exact", "")], ids=["full", "exact"]
)
def test_tensors_that_change_no_output_are_where_tensors_begin_to_differ(
    level: str, ending: str, converted: tuple[Path, Path], tmp_path: Path
) -> None:
    """Softmax takes no notice of what the keys' bias adds to every key alike."""

    def edit(tensors: dict[str, Any]) -> None:
        tensors["encoder.layer.2.attention.attention.key.bias"] += 1

    source, folder = converted
    report = api.verify(source, planted(Fault("blocks.2", "", edit=edit), folder, tmp_path / "planted"), level=level)
    assert report.verdict.failed
    lines = " ".join(" ".join(report_lines(report)).split())
    assert f"begins at blocks.2, the first whose tensors differ{ending} cause " in lines
    if level == "full":
        shown = re.sub(r"<[^>]*>", "", page(report))
        assert "The first tensors that differ are in blocks.2\n" in shown
        assert "The difference begins" not in shown
        assert "the first that differs" not in shown


def test_what_nothing_explains_is_said_so(converted: tuple[Path, Path], tmp_path: Path) -> None:
    source, folder = converted
    found = api.verify(source, planted(UNKNOWN, folder, tmp_path / "planted")).proofs.diagnosis
    assert found is not None
    assert (found.block, found.cause, found.remaining) == ("blocks.0", None, None)
    assert cause_text(found) == f"none of the usual mistakes explains it ({found.tried} tried)"


def test_the_time_is_bounded(converted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis.time, "monotonic", iter(range(0, 10**6, 50)).__next__)
    source, folder = converted
    found = api.verify(source, planted(UNKNOWN, folder, tmp_path / "planted")).proofs.diagnosis
    assert found is not None
    assert found.out_of_time
    assert "not all were tried, the time of 120 s ran out" in cause_text(found)


def test_modules_are_ordered_as_they_are_computed() -> None:
    modules = ["embedding", "stages.0.1", "downsample_layers.1", "stages.1.0", "stages.1.10", diagnosis.AFTER]
    shuffled = modules[3:] + modules[:3]
    assert sorted(shuffled, key=diagnosis._depth) == modules
    assert diagnosis._depth("layer2.0") > diagnosis._depth("layer1.11")
    assert diagnosis._depth("blocks.10") > diagnosis._depth("blocks.9")


def test_the_planted_faults_are_counted() -> None:
    """So that one that is taken out is missed: these, two wrong rules, a classifier and a base."""
    assert len(FAULTS) + len(IN_OTHER_FAMILIES) + len(WRONG_RULES) + 2 == 38
