"""Distributed checkpoints, changed in the opcodes of their metadata and in the bytes of their parts."""

import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.differential.mutator import LINES, SINGLE
from tests.fuzz.differential.program import Program, integer, parsed, spans

METADATA = ".metadata"

Files = Mapping[str, bytes]


@cache
def written() -> tuple[Files, ...]:
    """Folders as torch writes them: whole, and split over ranks."""
    from tests.formats.distributed_folders import grid, rows, tensors, write_folder

    found: list[Files] = []
    with TemporaryDirectory() as top:
        for number, split in enumerate((lambda t: [()], lambda t: rows(t, 2), lambda t: grid(t, 2, 2))):
            folder = write_folder(
                Path(top, str(number)), tensors(), lambda name, t, split=split: split(t) if t.dim() > 1 else [()]
            )
            found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    return tuple(found)


def names() -> list[str]:
    """What the metadata of these folders names."""
    ops = [op for files in written() for op in parsed(files[METADATA])[0] if op[:1] == b"c"]
    dotted = {b".".join(op[1:].splitlines()).decode() for op in ops}
    texts = [[op[2:].decode() for op in parsed(files[METADATA])[0] if op[:1] == b"\x8c"] for files in written()]
    return sorted(
        dotted
        | {
            f"{a}.{b}"
            for each in texts
            for a in each
            if a.startswith(("torch", "builtins", "_codecs", "collections"))
            for b in each
        }
    )


def mutated_folder(rng: random.Random) -> Files:
    files = dict(rng.choice(written()))
    program = parsed(files[METADATA])[0]
    for _ in range(rng.choice((1, 1, 2))):
        if rng.random() < 0.75:
            program = _changed(rng, program)
            files[METADATA] = b"".join(program)
        else:
            part = rng.choice([name for name in files if name != METADATA])
            data = bytearray(files[part])
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            files[part] = bytes(data)
    return files


def _changed(rng: random.Random, program: Program) -> Program:
    ops = list(program)
    at, other = (rng.randrange(len(ops)) for _ in range(2))
    kind = rng.randrange(6)
    numbers = [n for n, op in enumerate(ops) if op[:1] in b"KMJ"]
    small = [span for span in spans(program) if span.stop - span.start < 40]
    texts = [n for n, op in enumerate(ops) if op[:1] in b"X\x8c" and not op[2:].startswith((b"torch", b"_"))]
    if kind == 0:
        ops.insert(at, rng.choice((*SINGLE, *LINES)))
    elif kind == 1 and len(ops) > 1:
        del ops[at]
    elif kind == 2:
        ops[at], ops[other] = ops[other], ops[at]
    elif kind == 3 and numbers:
        ops[rng.choice(numbers)] = integer(rng.choice((0, 1, 2, 3, 4, 6, 9, 100, -1)))
    elif kind == 4 and small:
        into, out = rng.choice(small), rng.choice(small)
        ops[into.start : into.stop] = program[out.start : out.stop]
    elif texts:
        ops[rng.choice(texts)] = ops[rng.choice(texts)]
    return tuple(ops)
