"""What is fuzzed: readers of a stranger's bytes. Each either succeeds or raises an error of ours; all else is a bug."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from dinoport.errors import DinoportError
from dinoport.exports.reading import read_bytes
from dinoport.finding.statements import training_arguments
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.distributed.metadata import parse_metadata
from dinoport.formats.run_config import find_run_config
from dinoport.formats.safetensors.reader import read_safetensors
from dinoport.formats.single_file import read_file
from dinoport.formats.torch.legacy import read_torch_legacy
from dinoport.formats.transformers_folder import read_json
from dinoport.proofs.exported.prove import all_constants
from tests.formats.memory import Memory, torch_zip
from tests.fuzz.answers import read_from_server
from tests.fuzz.folders import INDEX, PROCESSOR, read_folder_with

STORAGES = {"0": bytes(range(64)), "1": bytes(range(64, 96)), "2": b""}
"""What a fuzzed pickle may refer to."""

MAX_READ_BYTES = 1_000_000
"""Of one tensor; what a small file can announce is limited by state_dicts."""


def whole(tree: object, source: Memory, format_name: str = "fuzzed") -> None:
    """What a conversion does with a file that opened: unwrap it, and read its tensors."""
    checkpoint = Checkpoint(source.where, format_name, tree, (source,))
    training_arguments(checkpoint)
    for state in state_dicts(checkpoint):
        for tensor in state.tensors.values():
            if tensor.size_bytes < MAX_READ_BYTES:
                tensor.read()


def pickle(data: bytes) -> None:
    """Any pickle in a sound zip file."""
    zip_file(torch_zip(data, STORAGES))


def zip_file(data: bytes) -> None:
    source = Memory(data)
    format_name, tree = read_file(source)
    whole(tree, source, format_name)


def legacy(data: bytes) -> None:
    source = Memory(data)
    whole(read_torch_legacy(source), source)


def safetensors(data: bytes) -> None:
    source = Memory(data, "file.safetensors")
    whole(read_safetensors(source), source)


def header(data: bytes) -> None:
    """Any header in front of sixty-four bytes."""
    safetensors(len(data).to_bytes(8, "little") + data + bytes(64))


def metadata(data: bytes) -> None:
    parse_metadata(data, ".metadata")


def json(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        read_json(Path(file.name))


def yaml(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.yaml").write_bytes(data)
        config = find_run_config(Path(folder, "checkpoint.pth"))
    if config is not None:
        config.text("student.arch")
        config.number("student.patch_size")
        config.flag("distillation.enabled")


def config(data: bytes) -> None:
    read_folder_with("config.json", data)


def processor(data: bytes) -> None:
    read_folder_with(PROCESSOR, data)


def report(data: bytes) -> None:
    read_folder_with("dinoport.json", data)


def index(data: bytes) -> None:
    read_folder_with(INDEX, data)


def answers(data: bytes) -> None:
    read_from_server(data)


def graph(data: bytes) -> None:
    """An ONNX file, whose small tensors are read."""
    export, files = read_bytes(Memory(data, "model.onnx"), Path("nowhere"))
    with files:
        for tensor in all_constants(export).values():
            if tensor.size_bytes < MAX_READ_BYTES:
                tensor.read()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "pickle": pickle,
    "zip": zip_file,
    "legacy": legacy,
    "safetensors": safetensors,
    "header": header,
    "metadata": metadata,
    "json": json,
    "yaml": yaml,
    "config": config,
    "processor": processor,
    "report": report,
    "index": index,
    "answers": answers,
    "graph": graph,
}


def run(target: Callable[[bytes], None], data: bytes) -> DinoportError | None:
    """The error of ours that came of it, if any. Raises what is not ours."""
    found = None
    try:
        target(data)
    except DinoportError as error:
        found = error
    assert all(line.isprintable() for line in str(found).split("\n"))
    return found
