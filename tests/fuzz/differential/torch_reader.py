"""What torch.load reads of a file, in a process of its own: a path and a mode a line in, what was read a line out.

Run by the interpreter of any version of torch. Each file is read by a fork of this process, in a folder of its own,
within limits and without network, and names that are not on the list given at the start are not imported.
"""

import contextlib
import hashlib
import importlib
import io
import json
import os
import pickle
import resource
import signal
import sys
import tempfile
import types
import warnings
from typing import Any

import torch

MAX_SECONDS = 10
MAX_FILE_BYTES = 1_000_000
MAX_MEMORY_BYTES = 16 * 1024**3
MAX_ELEMENTS = 100_000
MAX_DEPTH = 12

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""In which the bytes of an element are copied as they are, by how many there are."""

OUTSIDE = "a name outside the closed list"


class OutsideError(Exception):
    """A name that no mutation writes on purpose."""


def closed_pickle(names: frozenset[str]) -> Any:
    """A module like pickle, whose unpickler imports the closed list only."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if f"{module}.{name}" not in names:
                raise OutsideError(f"{module}.{name}")
            return super().find_class(module, name)

    made = types.ModuleType("closed_pickle")
    made.Unpickler = Unpickler  # type: ignore[attr-defined]  # a module made here
    made.load = lambda file, **options: Unpickler(file, **options).load()  # type: ignore[attr-defined]  # a module made here
    made.__name__ = "closed_pickle"
    return made


def flat(tree: Any) -> dict[str, list[Any]]:
    """Every tensor in the dicts of a tree: dtype, shape and hash of its bytes, by the names on the way to it."""
    found: dict[str, list[Any]] = {}
    pending: list[tuple[tuple[str, ...], Any]] = [((), tree)]
    while pending:
        path, node = pending.pop()
        if isinstance(node, torch.Tensor):
            found["/".join(path)] = described(node)
        elif isinstance(node, torch.nn.Module):
            with contextlib.suppress(Exception):
                pending.append((path, dict(node.state_dict())))
        elif isinstance(node, dict) and len(path) < MAX_DEPTH:
            pending += [((*path, key), value) for key, value in node.items() if type(key) is str]
    return found


def described(tensor: Any) -> list[Any]:
    dtype, shape = str(tensor.dtype).removeprefix("torch."), list(tensor.shape)
    if tensor.device.type == "meta":
        return [dtype, shape, "meta"]
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.numel() > MAX_ELEMENTS or tensor.is_nested:
        return [dtype, shape, "other"]
    own = tensor.detach().resolve_conj().resolve_neg().as_subclass(torch.Tensor).reshape(-1)
    bits = own.view(BITS.get(own.element_size(), own.dtype))
    plain = torch.empty(bits.shape, dtype=bits.dtype)  # with strides of its own: those of few elements may be any
    plain.copy_(bits)
    return [dtype, shape, hashlib.sha256(plain.view(torch.uint8).numpy().tobytes()).hexdigest()]


def distributed(folder: str, closed: Any) -> dict[str, list[Any]]:
    """Every tensor of a distributed checkpoint, loaded by torch.distributed.checkpoint as the metadata describes it."""
    from torch.distributed.checkpoint import FileSystemReader, filesystem, load
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    filesystem.pickle = closed  # type: ignore[attr-defined]  # torch's module, patched
    entries = FileSystemReader(folder).read_metadata().state_dict_metadata
    described_tensors = {name: entry for name, entry in entries.items() if isinstance(entry, TensorStorageMetadata)}
    state = {name: torch.zeros(entry.size, dtype=entry.properties.dtype) for name, entry in described_tensors.items()}
    load(state, storage_reader=FileSystemReader(folder), no_dist=True)
    return {name: described(tensor) for name, tensor in state.items()}


def read(path: str, mode: str, closed: Any) -> dict[str, Any]:
    options = {"weights_only": True} if mode == "safe" else {"weights_only": False, "pickle_module": closed}
    try:
        if mode == "distributed":
            return {"tensors": distributed(path, closed)}
        tree = torch.load(path, map_location="cpu", **options)
        return {"tensors": flat(tree)}
    except OutsideError as error:
        return {"outside": str(error)}
    except BaseException as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def in_a_fork(path: str, mode: str, closed: Any) -> dict[str, Any]:
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            signal.alarm(MAX_SECONDS)
            limits = {resource.RLIMIT_FSIZE: MAX_FILE_BYTES, resource.RLIMIT_CPU: MAX_SECONDS, resource.RLIMIT_CORE: 0}
            for kind, limit in limits.items():
                resource.setrlimit(kind, (limit, limit))
            with os.fdopen(send, "w") as out:
                json.dump(read(path, mode, closed), out)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if text else {"died": status}


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    closed = closed_pickle(frozenset(json.loads(sys.stdin.readline())))
    torch.load(io.BytesIO(saved()), weights_only=True)  # what is imported on the way is imported before the forks
    torch.load(io.BytesIO(saved()), weights_only=False)
    if "distributed" in sys.argv:
        importlib.import_module("torch.distributed.checkpoint")
    print(json.dumps({"version": f"torch {torch.__version__}"}), flush=True)
    os.chdir(tempfile.mkdtemp())
    for line in sys.stdin:
        wish = json.loads(line)
        reading = read if wish["mode"] == "safe" else in_a_fork  # the safe mode runs nothing that could outlast a file
        print(json.dumps(reading(wish["path"], wish["mode"], closed)), flush=True)


def saved() -> bytes:
    file = io.BytesIO()
    torch.save({"a": torch.ones(1)}, file)
    return file.getvalue()


if __name__ == "__main__":
    main()
