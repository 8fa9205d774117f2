"""One file, read by us and by torch.load: the same tensors, or refused by us; else a difference in words."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dinoport.errors import DinoportError
from dinoport.finding.completeness import SKIPPED
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.torch.modules import is_module, module_state_dict
from dinoport.formats.torch.rebuilding import NoValues
from dinoport.formats.torch.stand_ins import Opaque
from dinoport.formats.torch.storages import UnknownSteps
from dinoport.tensor import TensorRef
from tests.fuzz.differential.mutator import NAMES

MAX_ELEMENTS = 100_000

ALSO_IN_THE_CORPUS = (
    "torch.nn.modules.batchnorm.BatchNorm1d", "builtins.getattr", "torch.int64", "torch.int16", "torch.int8",
    "torch.uint16", "torch.uint32", "torch.uint64", "torch.float64", "torch.bool", "torch.float8_e4m3fn",
    "torch.float8_e5m2", "torch.LongStorage", "torch.CharStorage", "torch.ByteStorage", "torch.BoolStorage",
    "torch.ShortStorage", "torch.BFloat16Storage", "torch.ComplexFloatStorage", "torch.sparse_coo",
)  # fmt: skip

Tensors = Mapping[str, list[Any]]


@dataclass(frozen=True)
class Answer:
    """What one reader made of a file: its tensors, or why there are none.

    `outside` where the genuine reader did not try; `unknown_steps` where we left a step unread that it may stop at.
    """

    tensors: Tensors | None
    reason: str = ""
    outside: bool = False
    unknown_steps: bool = False


class GenuineReader:
    """A script that asks the genuine library, in an environment of its own, kept running; started anew when it dies.

    `modes` are tried in this order; the first that reads a file counts.
    """

    def __init__(
        self,
        script: str = "torch_reader.py",
        modes: Sequence[str] = ("safe", "unsafe"),
        python: str | Path = sys.executable,
        path: Path | None = None,
        names: Sequence[str] = (*NAMES, *ALSO_IN_THE_CORPUS),
    ) -> None:
        alone = ["unshare", "--map-root-user", "--net"] if _can_unshare() else []
        self._command = [*alone, str(python), str(Path(__file__).with_name(script)), *modes]
        self._environment = {**os.environ, "PYTHONPATH": str(path or ""), "OMP_NUM_THREADS": "1"}
        self._modes, self._names = modes, names
        self._start()

    def _start(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(self._command, env=self._environment, **pipes)
        self.version: str = self._ask(self._names)["version"]

    def _ask(self, wish: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(wish), file=self._process.stdin, flush=True)
        return dict(json.loads(self._process.stdout.readline()))

    def read(self, path: Path) -> Answer:
        """By the first mode that reads it."""
        found: dict[str, Any] = {}
        for mode in self._modes:
            try:
                found = self._ask({"path": str(path), "mode": mode})
            except (OSError, ValueError):
                self.close()
                self._start()
                found = {"died": -1}
            if "tensors" in found:
                return Answer(found["tensors"], mode)
        return Answer(None, str(found), outside="outside" in found or "died" in found)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@cache
def _can_unshare() -> bool:
    tried = ["unshare", "--map-root-user", "--net", "true"]
    return bool(shutil.which("unshare")) and not subprocess.run(tried, capture_output=True).returncode


def ours(path: Path) -> Answer:
    """What dinoport reads, once it has not refused what stands under a model's names.

    An error that is none of ours reads as a tensor that no other reader finds.
    """
    try:
        with _noting() as steps, open_checkpoint(path) as checkpoint:
            tensors = _flat(checkpoint.tree)
            if any(described[2] not in ("meta", "object") for described in tensors.values()):
                state_dicts(checkpoint)
            return Answer(tensors, unknown_steps=bool(steps))
    except DinoportError as error:
        return Answer(None, str(error))
    except Exception as error:
        return Answer({"": [repr(error), [], "fault"]})


@contextmanager
def _noting() -> Iterator[list[str]]:
    """The steps that are left unread while the block runs."""
    steps: list[str] = []
    note = UnknownSteps.note

    def spied(noted: UnknownSteps, step: str, *roots: object) -> None:
        steps.append(step)
        note(noted, step, *roots)

    with patch.object(UnknownSteps, "note", spied):
        yield steps


def _flat(tree: object) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    pending: list[tuple[tuple[str, ...], object]] = [((), tree)]
    while pending:
        path, node = pending.pop()
        if isinstance(node, TensorRef):
            found["/".join(path)] = _described(node)
        elif isinstance(node, Opaque):
            if not is_module(node):
                found["/".join(path)] = ["", [], "unread" if node.is_tensor else "object"]
            try:
                pending += [((*path, name), child) for name, child in module_state_dict(node).items()]
            except ValueError as error:
                raise DinoportError(str(error)) from error
        elif isinstance(node, dict) and len(path) < 12:
            pending += [((*path, key), child) for key, child in node.items() if isinstance(key, str)]
    return found


def _described(tensor: TensorRef) -> list[Any]:
    if isinstance(tensor.values, NoValues):
        return [tensor.dtype.name, list(tensor.shape), "meta"]
    if tensor.size > MAX_ELEMENTS:
        return [tensor.dtype.name, list(tensor.shape), "other"]
    return [tensor.dtype.name, list(tensor.shape), hashlib.sha256(tensor.read().tobytes()).hexdigest()]


def difference(mine: Answer, theirs: Sequence[Answer]) -> str | None:
    """What is wrong with our reading; None where it is torch's, in each version, or a refusal."""
    if mine.tensors is None:
        return None
    for answer in theirs:
        if answer.tensors is None:
            if not (answer.outside or mine.unknown_steps) and any(
                found[2] not in ("unread", "object", "meta") for found in mine.tensors.values()
            ):
                return f"read here alone: the genuine reader says {answer.reason}"
            continue
        for name in sorted(mine.tensors.keys() | answer.tensors.keys()):
            here, there = mine.tensors.get(name), answer.tensors.get(name)
            if here == there or _may_differ(name, here, there):
                continue
            return f"{name!r}: {here} here, {there} by the genuine reader ({answer.reason})"
    return None


def _may_differ(name: str, here: list[Any] | None, there: list[Any] | None) -> bool:
    """Whether a tensor is said to be unread here, as a tensor or an object, or lies where no model is taken from."""
    return (here is not None and here[2] in ("unread", "object")) or (here is None and name.split("/")[0] in SKIPPED)
