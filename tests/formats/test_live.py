"""State dicts and modules of a running program as sources."""

import hashlib
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from dinoport.api import convert, inspect, plan, verify
from dinoport.errors import CheckpointError, DinoportError, UsageError
from dinoport.formats.live import Live, LiveBytes
from tests import formula, models
from tests.error_text import error_text

TENSORS = {
    "float32": torch.arange(6.0).reshape(2, 3),
    "transposed": torch.arange(20.0).reshape(4, 5).T,
    "bfloat16": torch.arange(300).to(torch.bfloat16),
    "float64": torch.arange(3, dtype=torch.float64) + 0.5,
    "scalar": torch.tensor(7),
    "empty": torch.zeros(0, 4),
    "flags": torch.tensor([True, False]),
    "view": torch.arange(10.0)[3:7],
    "parameter": torch.nn.Parameter(torch.arange(2.0) + 40),
    "array": np.arange(6, dtype=">f4").reshape(2, 3) + 60,
}


def as_array(value: object) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value.astype(value.dtype.newbyteorder("="))
    assert isinstance(value, torch.Tensor)
    if value.dtype == torch.bfloat16:
        return value.float().numpy().astype(ml_dtypes.bfloat16)
    return value.detach().numpy()


def test_every_tensor_is_read_as_it_is() -> None:
    with Live.of(TENSORS).open() as checkpoint:
        assert (checkpoint.where, checkpoint.format) == ("a state dict in memory", "state dict in memory")
        assert list(checkpoint.tensors) == list(TENSORS)
        for name, tensor in checkpoint.tensors.items():
            expected = as_array(TENSORS[name])
            assert (tensor.dtype, tensor.shape) == (expected.dtype, expected.shape), name
            assert np.array_equal(tensor.read(), expected), name
            half = tensor.size // 2
            found = [block.copy() for part in ((half, None), (0, half)) for block in tensor.blocks(*part)]
            flat = expected.ravel().tolist()
            assert [value for block in found for value in block.tolist()] == [*flat[half:], *flat[:half]]


def test_the_digest_is_that_of_the_file_that_it_would_be(tmp_path: Path) -> None:
    from safetensors.torch import load

    with Live.of(TENSORS).open() as checkpoint:
        [source] = checkpoint.sources
        data = source.read(0, source.size_bytes)
        assert checkpoint.remarks == (
            "a state dict in memory, as the safetensors file that it would be: sha256 "
            + hashlib.sha256(data).hexdigest(),
        )
    read = load(data)
    assert torch.equal(read["transposed"], TENSORS["transposed"])
    assert read.keys() == TENSORS.keys()


def test_no_bytes_behind_the_last_tensor_are_made_up() -> None:
    source = LiveBytes("state dict", TENSORS)
    assert len(source.read(0, source.size_bytes)) == source.size_bytes
    with pytest.raises(CheckpointError, match="ends too early") as caught:
        source.read(source.size_bytes - 2, 3)
    assert caught.value.expected == f"3 bytes at offset {source.size_bytes - 2}"
    assert caught.value.found == f"a file of {source.size_bytes} bytes"


def test_a_tensor_that_changes_meanwhile_is_told() -> None:
    state = {"a": torch.arange(3.0), "b": torch.arange(4.0)}
    with Live.of(state).open() as checkpoint:
        checkpoint.check_unchanged()
        state["b"].data.add_(1)
        with pytest.raises(CheckpointError) as caught:
            checkpoint.check_unchanged()
    assert str(caught.value) == (
        "a state dict in memory changed while it was read\n"
        "  likely cause: a training that goes on in another thread, or weights that were loaded meanwhile\n"
        "  try: give a copy: {name: tensor.clone() for name, tensor in model.state_dict().items()}"
    )


class OfItsOwn(torch.Tensor):
    """As quantised tensors of torchao and the tensors of several ranks are."""


class NoTensor:
    dtype = torch.float32


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.empty(3, device="meta"), "a tensor on the meta device: a name and a shape without values"),
        (torch.ones(3).to_sparse(), "a tensor of the layout torch.sparse_coo"),
        (torch.ones(3).as_subclass(OfItsOwn), "a OfItsOwn, which keeps its values in a way of its own"),
        (torch.ones(3, dtype=torch.complex64), "a tensor of torch.complex64"),
        (np.array(["a"], dtype=object), "a tensor of object"),
        ({"weight": torch.ones(3)}, "a dict of its own: give that state dict"),
        (NoTensor(), "a NoTensor"),
        (3, "a int"),
    ],
)
def test_what_is_no_plain_tensor_is_refused(value: object, found: str) -> None:
    assert error_text(CheckpointError, lambda: Live.of({"norm.weight": value}).open()) == (
        "a state dict in memory holds norm.weight in a form that is not read\n"
        "  expected: plain tensors with their values, by name\n"
        f"  found: {found}\n"
        "  likely cause: a model that is spread over several devices, not loaded yet, or quantised\n"
        "  try: gather, load or dequantise it, and give its whole state_dict()"
    )


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_tensors_are_refused() -> None:
    tensor = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    with pytest.raises(CheckpointError, match="found: a quantised tensor"):
        Live.of({"a": tensor}).open()


@pytest.mark.parametrize(
    ("given", "found"), [(5, "an object: int"), ([1], "[1]"), ({}, "{}"), (torch.nn.Linear, "type")]
)
def test_what_is_no_source_is_refused(given: object, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        convert(given, "folder")  # type: ignore[arg-type]  # that is what is refused
    assert "is not a SOURCE\n  expected: a path, a name, an address, a state dict or a torch.nn.Module\n" in str(
        caught.value
    )
    assert found in str(caught.value)


class Net(torch.nn.Module):
    """A backbone in a module of a user's own, with what counts how often it is asked for its tensors."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.asked = 0
        self._state = {f"encoder.{name}": tensor for name, tensor in state.items()}

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:  # type: ignore[override]
        self.asked += 1
        return dict(self._state)


def state() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(each) for name, each in formula.state_dict(models.V2.tensors()).items()}


def test_a_module_is_converted_and_verified_as_a_file_is(tmp_path: Path) -> None:
    own = state()
    module = Net(own)
    report = convert(module, tmp_path / "live", level="exact")
    assert module.asked == 1
    torch.save(own, tmp_path / "file.pth")
    convert(tmp_path / "file.pth", tmp_path / "file", level="exact")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "live" / name).read_bytes() == (tmp_path / "file" / name).read_bytes()
    assert (report.source.where, report.source.branch, report.command) == ("a Net in memory", "encoder", "")
    assert "dinoport convert 'a Net" not in (tmp_path / "live/README.md").read_text()
    pinned = json.loads((tmp_path / "live/dinoport.json").read_text())["source"]["files"]
    assert [file["name"] for file in pinned] == ["a Net in memory"]
    assert not verify(module, tmp_path / "live", level="exact").verdict.failed
    own["norm.bias"] += 1
    assert verify(module, tmp_path / "live", level="exact").verdict.failed


def test_a_state_dict_can_be_looked_at() -> None:
    found = inspect(state())
    assert found.where == "a state dict in memory"
    assert found.plan is not None
    assert found.plan.class_name == "Dinov2Model"
    [part] = [part for part in found.parts if part.model]
    assert part.command == "`dinoport.convert(SOURCE, FOLDER)`"


def test_no_call_names_what_lies_in_memory() -> None:
    """Its words are a description, which no program takes."""
    other = {f"layer.{number}.weight": torch.ones(4, 4) for number in range(3)}
    said = error_text(DinoportError, lambda: plan(other))
    assert said.startswith("a state dict in memory is not a model of the DINO family\n")
    assert said.endswith("  try: `dinoport.inspect(SOURCE)`")


class Attention(torch.nn.Module):
    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv, self.proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)


class Block(torch.nn.Module):
    def __init__(self, heads: int, eps: float, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(width, eps), torch.nn.LayerNorm(width, eps)
        self.attn = Attention(heads, width)
        self.mlp = torch.nn.ModuleDict({"fc1": torch.nn.Linear(width, 8), "fc2": torch.nn.Linear(8, width)})


class Backbone(torch.nn.Module):
    """A ViT by its names alone: it has the attributes of one, and computes nothing."""

    def __init__(self, heads: tuple[int, int] = (4, 4), eps: float = 1e-5, width: int = 64) -> None:
        super().__init__()
        self.cls_token = torch.nn.Parameter(torch.ones(1, 1, width))
        self.pos_embed = torch.nn.Parameter(torch.ones(1, 5, width))
        self.patch_embed = torch.nn.ModuleDict({"proj": torch.nn.Conv2d(3, width, 4, 4)})
        self.blocks = torch.nn.ModuleList(Block(each, eps, width) for each in heads)
        self.norm = torch.nn.LayerNorm(width, eps)


class Segmentor(torch.nn.Module):
    """A decoder beside the backbone has heads and an eps of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 2
        self.encoder, self.decoder = Backbone(), Attention(8, 16)
        self.norm = torch.nn.LayerNorm(3, 0.01)


def said(report: object) -> dict[str, tuple[str, str, str]]:
    settings = report.settings  # type: ignore[attr-defined]
    return {each.name: (each.value, each.origin, each.reason) for each in settings if each.name in ("heads", "eps")}


def test_what_the_modules_say_by_their_attributes_is_taken_and_named(tmp_path: Path) -> None:
    report = convert(Segmentor(), tmp_path / "out", level="exact")
    assert said(report) == {
        "heads": ("4", "stored", "encoder.blocks.0.attn.num_heads of the module"),
        "eps": ("1e-05", "stored", "encoder.blocks.0.norm1.eps of the module"),
    }
    given = convert(Segmentor(), tmp_path / "given", level="exact", num_heads=2)
    assert said(given)["heads"] == ("2", "given", "--num-heads")
    assert said(given)["eps"][0] == "1e-05"


def test_a_pickled_module_says_the_same_of_its_tensors_wherever_else_they_lie(tmp_path: Path) -> None:
    module = Segmentor()
    torch.save(module, tmp_path / "whole.pth")
    assert said(convert(tmp_path / "whole.pth", tmp_path / "whole", level="exact")) == {
        "heads": ("4", "stored", "encoder.blocks.0.attn.num_heads of the module"),
        "eps": ("1e-05", "stored", "encoder.blocks.0.norm1.eps of the module"),
    }
    state = {f"net.{name}": each for name, each in module.state_dict().items()}
    torch.save({"state_dict": state, "models": {"net": module}}, tmp_path / "both.ckpt")
    asked = {"level": "exact", "prefix": "state_dict.net.encoder."}
    assert said(convert(tmp_path / "both.ckpt", tmp_path / "both", **asked))["heads"][0] == "4"
    torch.save({"state_dict": state, "models": {"net": Segmentor()}}, tmp_path / "another.ckpt")
    report = convert(tmp_path / "another.ckpt", tmp_path / "another", **asked)
    told = ("4", "assumed", "as models.net.encoder has it")
    assert said(report)["heads"] == told, "a module with other tensors is another copy, whose number is assumed"


def test_two_pickled_modules_that_differ_say_nothing(tmp_path: Path) -> None:
    one, two = Backbone(), Backbone(heads=(2, 2))
    for name, each in two.named_parameters():
        each.data = one.get_parameter(name).data
    torch.save({"models": {"one": one, "two": two}}, tmp_path / "two.ckpt")
    report = convert(tmp_path / "two.ckpt", tmp_path / "out", level="exact")
    assert said(report)["heads"] == ("1", "assumed", "width / 64")
    assert said(report)["eps"][0] == "1e-05"
