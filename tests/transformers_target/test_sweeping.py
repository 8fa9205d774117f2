"""A class in float32 and in float64, in one sweep: each pass is that of the class loaded in its dtype, bit for bit."""

from pathlib import Path
from typing import Any

import pytest

from dinoport.api import convert
from dinoport.codebases.running import Pass
from dinoport.codebases.transformers.running import ClassRunner, outputs_of
from tests import formula
from tests.families.cases import CASES, Case

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

OF_EACH_CLASS = {(case.class_name, case.request.dtype): case for case in CASES}.values()
SIZE = 64


def held(model: Any) -> dict[str, Any]:
    """Parameters and all buffers, those among them that the class computes itself and no folder holds."""
    return dict([*model.named_parameters(), *model.named_buffers()])


@pytest.fixture(params=OF_EACH_CLASS, ids=lambda case: case.name)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Case, Path]:
    case: Case = request.param
    source, asked = case.write(tmp_path / "source")
    convert(source, tmp_path / "folder", asked, level="none")
    return case, tmp_path / "folder"


def loaded(folder: tuple[Case, Path], dtype: str) -> ClassRunner:
    runner = ClassRunner(folder[1], folder[0].class_name)
    assert runner.load(dtype).passed
    return runner


def pixels_of(runner: ClassRunner) -> formula.Array:
    return formula.noise("pixels", (1, runner.model.config.num_channels, SIZE, SIZE))


def assert_same(ours: Pass, theirs: Pass, dtype: Any) -> None:
    assert ours.outputs.keys() == theirs.outputs.keys()
    assert list(ours.blocks) == list(theirs.blocks)
    for name, output in {**ours.outputs, **ours.blocks}.items():
        assert output.dtype == dtype
        assert torch.equal(output, {**theirs.outputs, **theirs.blocks}[name]), name


def test_both_passes_are_those_of_the_class_loaded_in_their_dtype(folder: tuple[Case, Path]) -> None:
    swept, single, double = loaded(folder, "float32"), loaded(folder, "float32"), loaded(folder, "float64")
    pixels = pixels_of(swept)
    images = torch.from_numpy(pixels)
    narrow, wide = swept.run_both(pixels)
    assert_same(narrow, single.once(single.model, images), torch.float32)
    assert_same(wide, double.once(double.model, images.double()), torch.float64)
    assert_same(single.run(images.double()), wide, torch.float64)
    assert not torch.equal(*(each.outputs[min(each.outputs)].double() for each in (narrow, wide)))


def test_a_class_of_wider_weights_gives_both_passes_too(folder: tuple[Case, Path]) -> None:
    narrow, wide = loaded(folder, "float64").run_both(pixels := pixels_of(double := loaded(folder, "float64")))
    assert_same(wide, double.once(double.model, torch.from_numpy(pixels).double()), torch.float64)
    assert {output.dtype for output in narrow.outputs.values()} == {torch.float32}


def test_blocks_are_wide_while_they_run_and_all_is_as_before_afterwards(folder: tuple[Case, Path]) -> None:
    runner = loaded(folder, "float32")
    before = {name: (tensor.dtype, tensor.data_ptr()) for name, tensor in held(runner.model).items()}
    blocks = runner.blocks(runner.model).values()
    assert blocks
    during: list[set[Any]] = []
    for block in blocks:
        block.register_forward_pre_hook(lambda block, inputs: during.append({t.dtype for t in block.parameters()}))
    runner.run_both(pixels_of(runner))
    assert {frozenset(dtypes) for dtypes in during} == {frozenset({torch.float32})}, "looked at before it is widened"
    assert {name: (tensor.dtype, tensor.data_ptr()) for name, tensor in held(runner.model).items()} == before


def test_a_block_is_run_in_both_precisions_before_the_next_is_touched(folder: tuple[Case, Path]) -> None:
    """So that the weights of a model that memory does not hold are read from the disk once."""
    runner = loaded(folder, "float32")
    order: list[str] = []
    blocks = runner.blocks(runner.model)
    for name, block in blocks.items():
        block.register_forward_pre_hook(lambda block, inputs, name=name: order.append(name))
    runner.run_both(pixels_of(runner))
    assert order == [name for name in blocks for _ in range(2)]


def test_a_pass_that_fails_ends_both_and_leaves_the_weights_as_they_were(folder: tuple[Case, Path]) -> None:
    runner = loaded(folder, "float32")
    before = {name: (tensor.dtype, tensor.data_ptr()) for name, tensor in held(runner.model).items()}
    [*_, last] = runner.blocks(runner.model).values()

    def fail(*_: Any) -> None:
        raise MemoryError("no memory for a block")

    hook = last.register_forward_hook(fail)
    with pytest.raises(MemoryError, match="no memory for a block"):
        runner.run_both(pixels_of(runner))
    hook.remove()
    assert {name: (tensor.dtype, tensor.data_ptr()) for name, tensor in held(runner.model).items()} == before
    with torch.inference_mode():
        outputs_of(runner.model, torch.from_numpy(pixels_of(runner)))
