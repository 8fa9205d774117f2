"""There, proven, and back again: the same tests for every family and class."""

import json
from pathlib import Path

import numpy as np
import pytest

from dinoport.api import convert, verify
from dinoport.proofs.verdict import Word
from dinoport.request import Request
from tests.families.cases import CASES, Case
from tests.models import renamed

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path, Path]:
    """A case, its source and its folder, converted once with the full proof."""
    case: Case = request.param
    folder = tmp_path_factory.mktemp(case.name)
    source, wishes = case.write(folder)
    report = convert(source, folder / "out", wishes)
    of_pixels = report.proofs.pixels.exceptions  # which these are is told in tests/proofs/test_samples.py
    assert report.verdict.word is (Word.EQUAL_EXCEPT if of_pixels else Word.EQUAL), str(report.verdict)
    assert report.verdict.exceptions == of_pixels
    assert report.class_name == case.class_name
    return case, source, folder / "out"


def test_the_proofs_counted_every_tensor(converted: tuple[Case, Path, Path]) -> None:
    case, _, folder = converted
    report = json.loads((folder / "dinoport.json").read_text())
    assert report["proofs"]["exact"]["tensors_found"] == len(case.found())
    assert report["proofs"]["exact"]["checksums_held"] == len(case.found())
    assert all(proof["relative"] < 1e-12 for proof in report["proofs"]["outputs"]["float64"].values())
    written = transformers.AutoConfig.from_pretrained(folder)
    assert written.architectures == [case.class_name]


def test_every_block_was_compared(converted: tuple[Case, Path, Path]) -> None:
    case, _, folder = converted
    seen: dict[str, object] = {}
    state = {name: torch.from_numpy(values) for name, values in case.state().items()}
    architecture = case.architecture
    pixels = torch.zeros(1, architecture.channels, architecture.image_size, architecture.image_size)
    canonical = renamed(state, case.classifier, "classifier")
    architecture.network.code.forward(canonical, architecture, pixels, seen.__setitem__)
    blocks = json.loads((folder / "dinoport.json").read_text())["proofs"]["outputs"]["blocks"]
    assert [block["name"] for block in blocks] == list(seen)
    assert all(block["float64"]["relative"] < 1e-12 for block in blocks)
    assert all(block["float32"]["relative"] < 1e-4 for block in blocks)


def test_an_auto_class_loads_it_clean(converted: tuple[Case, Path, Path]) -> None:
    case, _, folder = converted
    if case.request.pooler == "none":
        pytest.skip("without a pooler, ViTModel is loaded with add_pooling_layer=False")
    classifies = case.class_name.endswith("ForImageClassification")
    auto = transformers.AutoModelForImageClassification if classifies else transformers.AutoModel
    model, info = auto.from_pretrained(folder, output_loading_info=True)
    assert type(model).__name__ == case.class_name
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info


def test_it_verifies_again(converted: tuple[Case, Path, Path]) -> None:
    _, source, folder = converted
    head = source.with_name("head.pth.tar")  # no file that the folder's report names is opened
    report = verify(source, folder, Request(head=head) if head.exists() else None, level="exact")
    assert report.verdict.word is Word.TRANSPORTED, str(report.verdict)


def test_it_returns_bit_for_bit(converted: tuple[Case, Path, Path], tmp_path: Path) -> None:
    case, _, folder = converted
    report = convert(folder, tmp_path / "back", to="original")
    assert report.verdict.word is Word.EQUAL, str(report.verdict)
    assert_equal_bits(tmp_path / "back" / "checkpoint.pth", case)


def test_it_returns_from_what_transformers_saves(converted: tuple[Case, Path, Path], tmp_path: Path) -> None:
    case, _, folder = converted
    arguments = {"add_pooling_layer": False} if case.request.pooler == "none" else {}
    getattr(transformers, case.class_name).from_pretrained(folder, **arguments).save_pretrained(tmp_path / "saved")
    convert(tmp_path / "saved", tmp_path / "back", to="original", level="exact")
    assert_equal_bits(tmp_path / "back" / "checkpoint.pth", case)


def assert_equal_bits(path: Path, case: Case) -> None:
    returned = torch.load(path, weights_only=True)
    expected = case.returned(case.state())
    assert returned.keys() == expected.keys()
    for name, values in expected.items():
        assert returned[name].numpy().dtype == values.dtype
        np.testing.assert_array_equal(returned[name].numpy(), values, err_msg=name)
