"""Planted faults: the first block that differs and the cause must be named. Each is one that conversions have had."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dinoport import api
from dinoport.errors import NotProvenError
from dinoport.families.dino.architecture import DinoViT
from dinoport.families.probe import Features, Probe
from dinoport.mapping.rule import Rule, copy, split_rows
from dinoport.proofs import diagnosis
from dinoport.report.page.render import page
from dinoport.report.report import Report
from dinoport.report.text import cause_text, report_lines
from dinoport.targets.transformers import vit
from tests import formula
from tests.families.cases import CASES, Case, Request, teacher

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("jinja2")

from safetensors.numpy import load_file, save_file  # noqa: E402

Tensors = dict[str, formula.Array]

VIT = DinoViT(width=32, depth=11, heads=2, mlp_hidden=64, patch_size=16, image_size=64)
SOURCE = Case("vit", VIT, "ViTModel", Request(num_heads=2, checkpoint_key="teacher"), wrap=teacher)
PROBE = Case(
    "probe",
    replace(VIT, depth=2, probe=Probe(Features.CLS_MEAN_INTERLEAVED, 5)),
    "Dinov2ForImageClassification",
    Request(num_heads=2),
    head=("linear.weight", "linear.bias"),
)


@dataclass(frozen=True)
class Fault:
    """Something wrong in a folder, what must be said to begin the difference, and the cause in words."""

    block: str
    cause: str
    config: dict[str, object] = field(default_factory=dict)
    edit: Callable[[Tensors], None] = lambda tensors: None


def swap(first: str, second: str, within: str = "") -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        for name in [name for name in tensors if first in name and within in name]:
            other = name.replace(first, second)
            tensors[name], tensors[other] = tensors[other], tensors[name]

    return edit


def alphabetical(tensors: Tensors) -> None:
    old = dict(tensors)
    for place, index in enumerate(sorted(range(VIT.depth), key=str)):
        for name in [name for name in old if name.startswith(f"encoder.layer.{place}.")]:
            tensors[name] = old[name.replace(f"layer.{place}.", f"layer.{index}.", 1)]


def by_head(tensors: Tensors) -> None:
    parts = ("query", "key", "value")
    for name in [name for name in tensors if ".query." in name]:
        names = [name.replace("query", part) for part in parts]
        joint = torch.cat([torch.from_numpy(tensors[part]) for part in names])
        read_by_head = joint.reshape(2, 3, -1, *joint.shape[1:]).transpose(0, 1).flatten(0, 2)
        for part, rows in zip(names, read_by_head.chunk(3), strict=True):
            tensors[part] = rows.contiguous().numpy()


def cls_last(tensors: Tensors) -> None:
    name = "embeddings.position_embeddings"
    tensors[name] = torch.from_numpy(tensors[name]).roll(1, 1).numpy()


def colours(tensors: Tensors) -> None:
    name = "embeddings.patch_embeddings.projection.weight"
    tensors[name] = tensors[name][:, ::-1].copy()


def transposed(tensors: Tensors) -> None:
    for name in [name for name in tensors if name.endswith("attention.output.dense.weight")]:
        tensors[name] = tensors[name].T.copy()


def student(tensors: Tensors) -> None:
    for name in [name for name in tensors if not name.startswith("pooler")]:
        tensors[name] = tensors[name] + 1


def halved(tensors: Tensors) -> None:
    for name in [name for name in tensors if not name.startswith("pooler")]:
        tensors[name] = tensors[name].astype("float16").astype("float32")


def one_value(tensors: Tensors) -> None:
    tensors["encoder.layer.5.output.dense.weight"] = tensors["encoder.layer.5.output.dense.weight"] * 1.5


QK = ("attention.query", "attention.key")
NORMS = ("layernorm_before", "layernorm_after")

FAULTS = {
    "1 head": Fault("blocks.0", "the folder computes with 1, the original with 2", {"num_attention_heads": 1}),
    "8 heads": Fault("blocks.0", "the folder computes with 8, the original with 2", {"num_attention_heads": 8}),
    "eps 1e-12": Fault("blocks.0", "computes with 1e-12, the original with 1e-06", {"layer_norm_eps": 1e-12}),
    "eps 1e-5": Fault("blocks.0", "computes with 1e-05, the original with 1e-06", {"layer_norm_eps": 1e-5}),
    "tanh gelu": Fault("blocks.0", "gelu approximated by tanh, the original exact gelu", {"hidden_act": "gelu_new"}),
    "quick gelu": Fault("blocks.0", "computes quick gelu, the original", {"hidden_act": "quick_gelu"}),
    "silu": Fault("blocks.0", "computes silu, the original exact gelu", {"hidden_act": "silu"}),
    "relu": Fault("blocks.0", "computes relu, the original exact gelu", {"hidden_act": "relu"}),
    "queries for keys": Fault("blocks.0", "queries and keys are swapped in every block", edit=swap(*QK)),
    "queries for values": Fault(
        "blocks.0", "queries and values are swapped in every block", edit=swap("attention.query", "attention.value")
    ),
    "queries for keys, once": Fault(
        "blocks.7", "queries and keys are swapped in blocks.7", edit=swap(*QK, ".layer.7.")
    ),
    "qkv by head": Fault("blocks.0", "taken to be ordered by head", edit=by_head),
    "norms": Fault("blocks.0", "norm1 and norm2 are swapped in every block", edit=swap(*NORMS)),
    "norms, once": Fault("blocks.3", "norm1 and norm2 are swapped in blocks.3", edit=swap(*NORMS, ".layer.3.")),
    "blocks as text": Fault("blocks.2", "the blocks are in alphabetical order", edit=alphabetical),
    "CLS token last": Fault("embedding", "the position table has the CLS token last", edit=cls_last),
    "BGR": Fault("embedding", "the colours are BGR where the original takes RGB", edit=colours),
    "transposed": Fault("blocks.0", "attn.proj is transposed in every block", edit=transposed),
    "student": Fault("embedding", "the folder holds the weights of student", edit=student),
    "float16": Fault("embedding", "the weights were rounded to float16", edit=halved),
    "one tensor": Fault("blocks.5", "the folder's weights are not the original's", edit=one_value),
    "swap and eps": Fault(
        "blocks.0",
        "44 tensors are in each other's place; and eps: the folder computes with 1e-12, the original with 1e-06",
        {"layer_norm_eps": 1e-12},
        swap("attention.key", "attention.value"),
    ),
}


W12 = swap("gate_proj", "up_proj")
SCALES = swap("layer_scale1", "layer_scale2")
FIRST_NORMS = swap("layer.0.normalization", "layer.1.normalization")

IN_OTHER_FAMILIES = {
    ("dinov2", "2 heads"): Fault("blocks.0", "computes with 2, the original with 1", {"num_attention_heads": 2}),
    ("dinov2-swiglu", "norms"): Fault("blocks.0", "norm1 and norm2 are swapped", edit=swap("norm1", "norm2")),
    ("dinov2-registers", "eps"): Fault("blocks.0", "with 1e-12, the original with 1e-06", {"layer_norm_eps": 1e-12}),
    ("dinov3", "4 heads"): Fault("blocks.0", "computes with 4, the original with 2", {"num_attention_heads": 4}),
    ("dinov3", "eps"): Fault("blocks.0", "with 1e-06, the original with 1e-05", {"layer_norm_eps": 1e-6}),
    ("dinov3", "tanh gelu"): Fault("blocks.0", "gelu approximated by tanh", {"hidden_act": "gelu_new"}),
    ("dinov3", "layer scales"): Fault("blocks.0", "ls1 and ls2 are swapped in every block", edit=SCALES),
    ("dinov3-gated", "gelu"): Fault("blocks.0", "computes exact gelu, the original silu", {"hidden_act": "gelu"}),
    ("dinov3-gated", "gate"): Fault("blocks.0", "mlp.w1 and mlp.w2 are swapped in every block", edit=W12),
    ("dinov3-convnext", "eps"): Fault("embedding", "with 1e-05, the original with 1e-06", {"layer_norm_eps": 1e-5}),
    ("dinov3-convnext", "relu"): Fault("stages.0.0", "computes relu, the original exact gelu", {"hidden_act": "relu"}),
    ("resnet", "norms"): Fault("layer1.0", "bn1 and bn2 are swapped in every block", edit=FIRST_NORMS),
}

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
    case = next(case for case in CASES if case.name == name)
    source, request = case.write(folder)
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


def assert_named(report: Report, block: str, cause: str) -> None:
    found = report.proofs.diagnosis
    assert found is not None
    assert found.block == block
    assert found.cause is not None
    assert cause in found.cause
    assert found.remaining is not None
    assert found.remaining < 1e-12
    assert not found.partly
    shown = html.unescape(re.sub(r"<[^>]*>", "", page(report)))
    assert f"The difference begins at {block}\n" in shown
    assert cause_text(found)[1:] in shown
    lines = " ".join(" ".join(report_lines(report)).split())
    assert f"begins at {block}, the first that differs" in lines
    assert f"cause {cause_text(found)}" in lines


def test_nothing_is_looked_for_in_a_folder_that_is_equal(converted: tuple[Path, Path]) -> None:
    assert api.verify(*converted).proofs.diagnosis is None


def replaced(rules: tuple[Rule, ...], *others: Rule) -> tuple[Rule, ...]:
    """The rules with those of the same source, or else of the same target, replaced."""
    sources = {rule.source for rule in others}
    return (*(rule for rule in rules if rule.source not in sources), *others)


LAYER = "encoder.layer.{i}"
MUTANTS = {
    "norms": (
        replaced(
            vit.RULES,
            copy("blocks.{i}.norm1.{p}", f"{LAYER}.layernorm_after.{{p}}"),
            copy("blocks.{i}.norm2.{p}", f"{LAYER}.layernorm_before.{{p}}"),
        ),
        "norm1 and norm2 are swapped in every block",
    ),
    "queries and keys": (
        replaced(
            vit.RULES,
            split_rows(
                "blocks.{i}.attn.qkv.{p}",
                tuple(f"{LAYER}.attention.attention.{part}.{{p}}" for part in ("key", "query", "value")),
            ),
        ),
        "queries and keys are swapped in every block",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_rule_is_named_though_every_tensor_was_transported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exact proof cannot see it: it reads the same rules. The outputs do."""
    rules, cause = MUTANTS[name]
    monkeypatch.setattr(vit, "RULES", rules)
    source, request = SOURCE.write(tmp_path)
    with pytest.raises(NotProvenError) as raised:
        api.convert(source, tmp_path / "out", request)
    report = raised.value.report
    assert report.proofs.exact.passed
    assert_named(report, "blocks.0", cause)
    assert f"likely cause: {cause}; taken into account, both are equal" in str(raised.value)


def test_a_classifier_over_other_features_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dinoport.targets.transformers import dinov2

    wrong = (copy("linear.weight", "classifier.weight"), copy("linear.bias", "classifier.bias"))
    monkeypatch.setattr(dinov2, "INTERLEAVED_CLASSIFIER", wrong)
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
    assert len(FAULTS) + len(IN_OTHER_FAMILIES) + len(MUTANTS) + 2 == 38
