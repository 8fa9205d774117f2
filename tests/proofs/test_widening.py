"""A class that is widened block by block computes what the class loaded in float64 computes, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dinoport.proofs.widening import widen

from dinoport.api import convert
from dinoport.codebases.transformers.running import blocks_of, outputs_of
from dinoport.proofs import loading
from tests import formula
from tests.families.cases import CASES, Case

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

OF_EACH_CLASS = {(case.class_name, case.request.dtype): case for case in CASES}.values()


def held(model: Any) -> dict[str, Any]:
    """Parameters and all buffers, those among them that the class computes itself and no folder holds."""
    return dict([*model.named_parameters(), *model.named_buffers()])


@pytest.fixture(params=OF_EACH_CLASS, ids=lambda case: case.name)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any]:
    """A class loaded in float64, and loaded in float32 and widened."""
    case: Case = request.param
    source, asked = case.write(tmp_path / "source")
    convert(source, tmp_path / "folder", asked, level="none")
    _, wide = loading.load(tmp_path / "folder", case.class_name)
    _, widened = loading.load(tmp_path / "folder", case.class_name, dtype="float32")
    widen(widened)
    return wide, widened


def test_outputs_are_those_of_the_class_loaded_in_float64(pair: tuple[Any, Any]) -> None:
    size = 64
    images = torch.from_numpy(formula.pixel_values(size, size, batch=1)).double()
    images = torch.cat([images, images[:, :1]], dim=1)[:, : pair[0].config.num_channels]
    with torch.inference_mode():
        ours, theirs = (outputs_of(model, images) for model in pair)
    assert ours.keys() == theirs.keys()
    for name, output in ours.items():
        assert output.dtype == torch.float64
        assert torch.equal(output, theirs[name])


def test_blocks_are_wide_while_they_run_and_what_the_class_computes_stays_as_it_is(pair: tuple[Any, Any]) -> None:
    wide, widened = map(held, pair)
    blocks = blocks_of(pair[1]).values()
    assert blocks
    inside = {id(tensor) for block in blocks for tensor in held(block).values() if tensor.is_floating_point()}
    during: set[Any] = set()
    for block in blocks:
        block.register_forward_pre_hook(lambda block, inputs: during.update(t.dtype for t in block.parameters()))
    for name, tensor in widened.items():
        assert tensor.dtype == (torch.float32 if id(tensor) in inside else wide[name].dtype)
        assert torch.equal(tensor.double(), wide[name].double())
    with torch.inference_mode():
        outputs_of(pair[1], torch.zeros(1, pair[1].config.num_channels, 64, 64, dtype=torch.float64))
    assert during == {torch.float64}
    assert {tensor.dtype for name, tensor in widened.items() if id(tensor) in inside} == {torch.float32}
