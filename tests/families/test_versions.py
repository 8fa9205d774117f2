"""Folders that another version of Transformers was given: they load as clean here and compute the same."""

import json

import numpy as np
import pytest

from dinoport.api import convert
from tests.families.cases import CASES, Case
from tests.families.record import RECORDED, VERSION, load_case, outputs

transformers = pytest.importorskip("transformers")

RELATIVE_TOLERANCE = 1e-12
"""In float64; an eps of 1e-12 for 1e-6 moves these outputs by more than 1e-7."""


@pytest.fixture(scope="module", autouse=True)
def recorded_version() -> str:
    if not (RECORDED / VERSION).is_file():
        pytest.skip("nothing was recorded: `make test-transformers-4` does that first")
    version: str = json.loads((RECORDED / VERSION).read_text())["transformers"]
    if version == transformers.__version__:
        pytest.skip(f"recorded by this version of Transformers, {version}")
    return version


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def test_a_folder_loads_clean_and_gives_the_recorded_outputs(case: Case) -> None:
    proof, model = load_case(case, RECORDED / case.name / "out")
    assert proof.passed, proof
    found = outputs(model)
    with np.load(RECORDED / case.name / "outputs.npz") as recorded:
        assert found.keys() == set(recorded.files)
        for name in recorded.files:
            largest = np.abs(recorded[name]).max()
            assert np.abs(found[name] - recorded[name]).max() <= RELATIVE_TOLERANCE * largest, name


def test_a_conversion_here_writes_the_same_bytes(case: Case, tmp_path) -> None:
    source, wishes = case.write(tmp_path)
    convert(source, tmp_path / "out", wishes, level="exact")
    for path in sorted((RECORDED / case.name / "out").iterdir()):
        if path.name != "dinoport.json":  # it names versions and paths
            assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name
