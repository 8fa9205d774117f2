"""The loading proof reports what `from_pretrained` reports, and what it raises."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dinoport.api import convert
from dinoport.codebases.running import LoadingProof
from dinoport.codebases.transformers.running import ClassRunner, quiet
from dinoport.formats.torch.writer import write_torch_file
from dinoport.proofs.verdict import Proofs, judge
from tests import formula, tiny
from tests.conftest import ended_threads
from tests.writing.stub_tensors import tensor

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

QUERY = "encoder.layer.0.attention.attention.query.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    convert(tiny.write(tmp_path / "checkpoint.pth"), tmp_path / "folder", tiny.REQUEST, level="none")
    return tmp_path / "folder"


def load(folder: Path, *, pooler: bool = True) -> tuple[LoadingProof, Any]:
    runner = ClassRunner(folder, "ViTModel", pooler=pooler)
    return runner.load(), runner.model


def change(folder: Path, edit: Callable[[dict[str, np.ndarray]], object]) -> None:
    path = folder / "model.safetensors"
    arrays = load_file(path)
    edit(arrays)
    save_file(arrays, path, metadata={"format": "pt"})


def test_a_folder_loads_clean_in_float64_and_evaluates(folder: Path) -> None:
    proof, model = load(folder)
    assert proof == LoadingProof("ViTModel", transformers.__version__)
    assert proof.passed
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert judge(Proofs(loading=proof), ()).failures == ()


@pytest.mark.parametrize(
    ("edit", "failure"),
    [
        (lambda arrays: arrays.pop("layernorm.bias"), "1 missing key (layernorm.bias)"),
        (lambda arrays: arrays.update(extra=np.ones(1, np.float32)), "1 unexpected key (extra)"),
        (
            lambda arrays: arrays.update({"layernorm.bias": np.ones(9, np.float32)}),
            "1 mismatched key (layernorm.bias)",
        ),
        (lambda arrays: [arrays.pop(f"{QUERY[:-6]}{p}") for p in ("weight", "bias")], "2 missing keys ("),
    ],
    ids=["missing", "unexpected", "another shape", "two missing"],
)
def test_keys_that_do_not_fit_are_named(folder: Path, edit: Callable[[object], object], failure: str) -> None:
    change(folder, edit)
    proof, _ = load(folder)
    assert not proof.passed
    [text] = judge(Proofs(loading=proof), ()).failures
    assert text.startswith(failure)


def test_a_config_that_is_none_fails(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    proof, model = load(folder)
    assert not proof.passed
    assert model is None
    assert proof.failure is not None
    assert proof.failure.startswith("OSError: ")


def test_a_pooler_that_is_left_out_is_not_missed(tmp_path: Path) -> None:
    source = tiny.write(tmp_path / "checkpoint.pth")
    convert(source, tmp_path / "folder", replace(tiny.REQUEST, pooler="none"), level="none")
    assert load(tmp_path / "folder", pooler=False)[0].passed
    proof, _ = load(tmp_path / "folder")
    assert proof.missing == ("pooler.dense.bias", "pooler.dense.weight")


def test_transformers_is_silent_for_a_while_and_then_as_before(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(folder, lambda arrays: arrays.pop("layernorm.bias"))
    ended_threads()  # of tests that were stopped, which may still be silent
    logging = transformers.utils.logging
    level = logging.get_verbosity()
    load(folder)
    assert logging.get_verbosity() == level
    assert logging.is_progress_bar_enabled()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_two_threads_leave_it_as_before_whichever_ends_first() -> None:
    """As where the image processor is compared while a class is loaded."""
    ended_threads()
    logging = transformers.utils.logging
    level = logging.get_verbosity()
    quiet.__enter__()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(quiet.__enter__).result()
        quiet.__exit__()
        assert not logging.is_progress_bar_enabled()
        pool.submit(quiet.__exit__).result()
    assert logging.get_verbosity() == level
    assert logging.is_progress_bar_enabled()


def test_fields_of_the_folders_config_are_as_written(folder: Path) -> None:
    """What the proof loads is the folder's own class and sizes, not defaults."""
    _, model = load(folder)
    config = json.loads((folder / "config.json").read_text())
    assert model.config.num_attention_heads == config["num_attention_heads"] == 2
    assert model.config.layer_norm_eps == config["layer_norm_eps"] == 1e-6


def test_weights_in_float64_are_not_rounded_on_the_way_to_the_proof(tmp_path: Path) -> None:
    """Rounded to float32, they would move outputs by 1e-8."""
    shapes = tiny.ARCHITECTURE.tensors()
    state = {name: formula.tensor(name, shape) * np.float64(np.pi) for name, shape in shapes.items()}
    write_torch_file(tmp_path / "checkpoint.pth", [tensor(*item) for item in state.items()])
    outputs = convert(tmp_path / "checkpoint.pth", tmp_path / "folder", tiny.REQUEST).proofs.outputs
    assert max(difference.relative for difference in outputs.float64.values()) < 1e-14
    assert min(difference.relative for difference in outputs.float32.values()) > 1e-9
