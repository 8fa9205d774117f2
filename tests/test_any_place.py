"""Any place that holds a model is a source for any target that has its network, and can be proven against any other."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from dinoport.api import convert, verify
from dinoport.errors import PlanError
from dinoport.formats.transformers_folder import ORIGINAL_FILE
from dinoport.proofs.verdict import Word
from tests.families.cases import BY_NAME, Case, tensors, without_masked_keys
from tests.report.test_json import leaves

torch = pytest.importorskip("torch")

SOURCES = [BY_NAME[name] for name in ("vit-heads", "dinov2-registers", "dinov3", "dinov3-convnext")]
each = pytest.mark.parametrize("case", SOURCES, ids=lambda case: case.name)


def training(case: Case, path: Path, **more: np.ndarray) -> Path:
    """A checkpoint of training, with nothing that one of its places has no room for."""
    state = {**without_masked_keys(case.state()), **more}
    torch.save({"teacher": tensors({f"backbone.{name}": values for name, values in state.items()})}, path)
    return path


@each
def test_all_places_of_one_model_are_proven_equal_to_each_other(tmp_path: Path, case: Case) -> None:
    source, folder = training(case, tmp_path / "run.pth"), tmp_path / "folder"
    convert(source, folder, case.request, level="exact")
    convert(source, tmp_path / "original", case.request, to="original", level="exact")
    convert(folder, tmp_path / "back", to="original", level="exact")
    places = (source, folder, tmp_path / "original" / ORIGINAL_FILE, tmp_path / "back" / ORIGINAL_FILE)
    for one, other in permutations(places, 2):
        request = None if one == folder else case.request
        report = verify(one, other, request, level="exact")
        assert (report.verdict.word, report.proofs.exact.recomputed) == (Word.TRANSPORTED, 0), (one, other)


@each
def test_one_value_in_one_place_is_told_from_every_other(tmp_path: Path, case: Case) -> None:
    source, folder = training(case, tmp_path / "run.pth"), tmp_path / "folder"
    state = without_masked_keys(case.state())
    name = max(state, key=lambda name: state[name].size)
    state[name] = state[name].copy()
    state[name].reshape(-1)[-1] += 1
    other = tmp_path / "other.pth"
    torch.save(tensors(state), other)
    convert(source, folder, case.request, level="exact")
    for one, two in ((source, other), (other, source), (other, folder), (folder, other)):
        report = verify(one, two, None if one == folder else case.request, level="exact")
        assert report.verdict.word is Word.NOT_EQUAL, (one, two)
        assert any(name in failure for failure in report.verdict.failures)


@pytest.mark.parametrize("to", ["transformers", "original"])
@pytest.mark.parametrize("stray", ["adapter.weight", "blocks.0.attn.surprise", "norm2.bias"])
def test_a_tensor_of_no_network_is_refused_whatever_the_target(tmp_path: Path, stray: str, to: str) -> None:
    case = BY_NAME["vit-heads"]
    source = training(case, tmp_path / "run.pth", **{stray: np.ones(3, np.float32)})
    with pytest.raises(PlanError, match=f"  - {stray} is not part of this model\n"):
        convert(source, tmp_path / "out", case.request, to=to, level="exact")


@pytest.mark.parametrize(("change", "word"), [({"dtype": "bfloat16"}, "rounding"), ({"image_size": 98}, "98×98")])
def test_a_folder_of_transformers_is_changed_and_proven(tmp_path: Path, change: dict[str, object], word: str) -> None:
    pytest.importorskip("transformers")
    case = BY_NAME["dinov2-registers"]
    convert(training(case, tmp_path / "run.pth"), tmp_path / "folder", case.request, level="exact")
    report = convert(tmp_path / "folder", tmp_path / "changed", **change)
    assert report.ends == ("Dinov2WithRegistersModel", "Dinov2WithRegistersModel")
    assert word in str(report.verdict)
    assert report.proofs.outputs.passed
    assert report.proofs.exact.recomputed
    again = verify(tmp_path / "folder", tmp_path / "changed")
    assert again.verdict.word is report.verdict.word


def test_a_file_that_was_verified_is_called_what_it_is(tmp_path: Path) -> None:
    """No conversion wrote it, so no command makes it again and nothing is said of loading it."""
    pytest.importorskip("transformers")
    case = BY_NAME["vit-heads"]
    source, other = training(case, tmp_path / "run.pth"), tmp_path / "bare.pth"
    torch.save(tensors(case.state()), other)
    report = verify(source, other, case.request)
    assert report.verdict.word is Word.EQUAL
    assert (report.proofs.loading.class_name, report.proofs.loading.library) == (report.ends[1], "dinoport")
    assert f"only the tensors of {source} and {other} were compared" in report.remarks
    assert (report.command, report.usage, report.files) == ("", (), ())
    assert {type(leaf) for leaf in leaves(report.to_dict())} <= {str, int, float, bool, type(None)}
