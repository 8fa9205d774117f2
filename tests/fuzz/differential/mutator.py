"""Changes to torch files at the level of opcodes and headers. Names come from one closed list, whatever is changed."""

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.fuzz.differential.container import Entry, LegacyFile, TorchFile, ZipFile, with_program
from tests.fuzz.differential.program import Program, integer, name, spans, text

NAMES = (
    "collections.OrderedDict", "collections.Counter", "collections.defaultdict", "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state", "torch._tensor._rebuild_from_type_v2",
    "torch._tensor._rebuild_from_type",
    "torch._utils._rebuild_meta_tensor_no_storage", "torch._utils._rebuild_device_tensor_from_cpu_tensor",
    "torch._utils._rebuild_qtensor", "torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_nested_tensor",
    "torch.nn.parameter.Parameter", "torch.nn.Parameter", "torch.Tensor", "torch.FloatTensor", "torch.IntTensor",
    "torch.Size", "torch.device", "torch.FloatStorage", "torch.IntStorage", "torch.DoubleStorage", "torch.HalfStorage",
    "torch.cuda.FloatStorage", "torch.storage.UntypedStorage", "torch.storage.TypedStorage", "torch.float32",
    "torch.int32", "torch.float16", "torch.uint8", "torch.bfloat16", "torch.complex64", "builtins.dict",
    "builtins.list", "builtins.tuple", "builtins.set", "builtins.frozenset", "builtins.bytes", "builtins.bytearray",
    "builtins.complex", "_codecs.encode", "__builtin__.set", "__builtin__.bytearray", "copyreg._reconstructor",
    "copy_reg._reconstructor", "builtins.object", "torch.neg_", "torch.relu_", "torch.zero_", "torch.nn.init.ones_",
    "torch.nn.modules.linear.Linear", "torch.nn.modules.container.Sequential", "torch.serialization._get_layout",
    "functools.partial", "torch.nn.modules.container.ParameterDict", "torch.nn.parameter.Buffer",
)  # fmt: skip
"""All that a mutated file names, beside what the corpus names."""

ATTRIBUTES = (
    "data", "grad", "requires_grad", "real", "imag", "names", "_metadata", "items", "keys", "_parameters", "_buffers",
    "_modules", "foo", "_backward_hooks", "__class__", "__dict__", "dtype", "shape", "_untyped_storage",
)  # fmt: skip

NUMBERS = (0, 1, 2, 3, 4, 6, 8, 12, 255, 256, 65535, -1, 2**31 - 1, -(2**31))
LINES = (
    b"I1\n", b"I01\n", b"I00\n", b"I010\n", b"I0x2\n", b"I1_0\n", b"I+1\n", b"I 1\n", b"L1L\n", b"L1\n", b"L01L\n",
    b"L0x1L\n", b"F1\n", b"F1.5\n", b"F1_0.5\n", b"Fnan\n", b"F1e1\n", b"F 1\n", b"S'a'\n", b'S"a"\n', b"S'\\x61'\n",
    b"Va\n", b"V\\u0061\n", b"U\1\xff", b"U\2\xc3\xa9", b"T\1\0\0\0a", b"\x8a\1\1", b"\x8a\2\1\0", b"\x8a\0",
    b"\x8b\1\0\0\0\1", b"M\1\0", b"J\1\0\0\0", b"\x88", b"\x89", b"N", b"G?\xf0\0\0\0\0\0\0", b"C\1a", b")", b"]", b"}",
    b"\x8f", b"\x8c\1a", b"\x8e\1\0\0\0\0\0\0\0a",
)  # fmt: skip
SINGLE = (
    b"R", b"\x81", b"b", b"s", b"u", b"a", b"e", b"t", b"\x85", b"\x86", b"\x87", b"(", b"0", b"1", b"2", b"Q", b"d",
    b"l", b"o", b"\x90", b"\x91", b"\x92", b"\x93", b"\x94", b".", b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\6",
    b"\x95\4\0\0\0\0\0\0\0", b"q\0", b"q\1", b"h\0", b"h\1", b"h\2", b"r\2\0\0\0", b"j\1\0\0\0", b"p1\n", b"g1\n",
    b"g01\n",
)  # fmt: skip

Change = Callable[[random.Random, TorchFile, Sequence[TorchFile]], TorchFile]


def mutated(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    """A file after one to three changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        file = rng.choice(CHANGES)(rng, file, pool)
    return file


def value(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> Program:
    """Opcodes that push one value: a part of this file, of another, or something small."""
    kind = rng.random()
    if kind < 0.5:
        program = file.program if rng.random() < 0.8 else rng.choice(pool).program
        found = spans(program)
        if found:
            span = rng.choice(found)
            if span.stop - span.start < 60:
                return program[span.start : span.stop]
    if kind < 0.6:
        return (rng.choice(LINES),)
    if kind < 0.7:
        return (name(rng.choice(NAMES)),)
    if kind < 0.8:
        return (b"h" + bytes([rng.randrange(40)]),)
    if kind < 0.9:
        return (b"}", text(rng.choice(ATTRIBUTES)), *value(rng, file, pool), b"s")
    return (integer(rng.choice(NUMBERS)),)


def insert_opcode(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    ops = list(file.program)
    op = rng.choice(SINGLE) if rng.random() < 0.6 else rng.choice(LINES)
    ops.insert(rng.randrange(len(ops)), op)
    return with_program(file, tuple(ops))


def remove(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    ops = list(file.program)
    del ops[rng.randrange(len(ops))]
    return with_program(file, tuple(ops))


def swap(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    ops = list(file.program)
    at = rng.randrange(len(ops) - 1)
    ops[at], ops[at + 1] = ops[at + 1], ops[at]
    return with_program(file, tuple(ops))


def replace_opcode(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    """Another opcode of the same sort: a call for a new object, one number or text for another."""
    ops = list(file.program)
    at = rng.randrange(len(ops))
    code = ops[at][:1]
    if code == b"c":
        ops[at] = name(rng.choice(NAMES))
    elif code in b"R\x81o":
        ops[at] = rng.choice((b"R", b"\x81", b"b"))
    elif code in b"KMJ\x8aI":
        ops[at] = rng.choice((integer(rng.choice(NUMBERS)), rng.choice(LINES)))
    elif code in b"X\x8cU":
        others = [op for op in ops if op[:1] == code]
        ops[at] = rng.choice(others)
    elif code in b"hj":
        ops[at] = b"h" + bytes([rng.randrange(40)])
    elif code in b"su":
        ops[at] = rng.choice((b"s", b"u", b"e", b"a"))
    else:
        ops[at] = rng.choice(SINGLE)
    return with_program(file, tuple(ops))


def replace_value(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    found = spans(file.program)
    if not found:
        return file
    span = rng.choice(found)
    ops = file.program
    return with_program(file, (*ops[: span.start], *value(rng, file, pool), *ops[span.stop :]))


def wrap(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    """A call of something with a value that is there, and perhaps others."""
    found = spans(file.program)
    if not found:
        return file
    span = rng.choice(found)
    ops = file.program
    inner = ops[span.start : span.stop]
    more = [op for _ in range(rng.choice((0, 0, 1, 2, 3))) for op in value(rng, file, pool)]
    function = name(rng.choice(NAMES))
    call = rng.choice((b"R", b"R", b"\x81"))
    return with_program(file, (*ops[: span.start], function, b"(", *inner, *more, b"t", call, *ops[span.stop :]))


def with_attributes(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    """A value as a parameter whose attributes are set, one of them to another value."""
    calls = [span for span in spans(file.program) if file.program[span.stop - 1] == b"R"]
    if not calls:
        return file
    ops, span, other = file.program, rng.choice(calls), rng.choice(calls)
    state = (b"}", text(rng.choice(ATTRIBUTES)), *ops[other.start : other.stop], b"s")
    hooks = (name("collections.OrderedDict"), b")", b"R")
    function = name("torch._utils._rebuild_parameter_with_state")
    made = (function, b"(", *ops[span.start : span.stop], b"\x89", *hooks, *state, b"t", b"R")
    return with_program(file, (*ops[: span.start], *made, *ops[span.stop :]))


def set_state(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    found = spans(file.program)
    if not found:
        return file
    at = rng.choice(found).stop
    ops = file.program
    count = rng.choice((0, 1, 2, 3, 4, 5))
    tuple_state = (b"(", *(op for _ in range(count) for op in value(rng, file, pool)), b"t")
    state = rng.choice((value(rng, file, pool), tuple_state))
    if rng.random() < 0.4:
        state = (b"}", text(rng.choice(ATTRIBUTES)), *value(rng, file, pool), b"s")
    return with_program(file, (*ops[:at], *state, b"b", *ops[at:]))


def add_and_drop(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    """A call beside the rest, whose result is dropped."""
    found = spans(file.program)
    if not found:
        return file
    at = rng.choice(found).stop
    ops = file.program
    call = (name(rng.choice(NAMES)), b"(", *value(rng, file, pool), b"t", b"R", b"0")
    return with_program(file, (*ops[:at], *call, *ops[at:]))


def add_entry(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    """One more entry of a dict, before SETITEMS: under a name of its own or one that is there."""
    ops = file.program
    places = [at for at, op in enumerate(ops) if op == b"u"]
    texts = [op for op in ops if op[:1] == b"X"]
    if not places or not texts:
        return file
    at = rng.choice(places)
    key = rng.choice((rng.choice(texts), text("blocks.0.x"), rng.choice(LINES)))
    return with_program(file, (*ops[:at], key, *value(rng, file, pool), *ops[at:]))


def set_later(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    """An entry that is set on something remembered, after it was used."""
    ops = file.program
    key = (
        text(rng.choice(ATTRIBUTES)) if rng.random() < 0.5 else rng.choice([*[o for o in ops if o[:1] == b"X"], b"K\0"])
    )
    end = rng.choice((b"s", b"s", b"b"))
    later = (b"h" + bytes([rng.randrange(30)]), *((key,) if end == b"s" else ()), *value(rng, file, pool), end, b"0")
    at = rng.choice([len(ops) - 1, rng.choice(spans(ops)).stop if spans(ops) else len(ops) - 1])
    return with_program(file, (*ops[:at], *later, *ops[at:]))


def change_zip(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    if not isinstance(file, ZipFile):
        return change_legacy(rng, file, pool)
    entries = list(file.entries)
    at = rng.randrange(len(entries))
    entry = entries[at]
    kind = rng.randrange(14)
    other = rng.choice(entries).name
    cased = "".join(rng.choice((c.upper(), c.lower())) for c in entry.name)
    changes: tuple[Entry, ...] = (
        replace(entry, attributes=rng.choice((0x10, 0x20, 0x30, 1 << 16))),
        replace(entry, name=rng.choice((cased, other, entry.name + "/", "./" + entry.name, "b/x"))),
        replace(entry, flags=rng.choice((0, 8, 1, 0x20, 0x800, 0x2000, 0x40))),
        replace(
            entry, data=rng.choice((b"", b"little", b"big", b"3\n", b"11", b"0", b"x", entry.data[:-1], entry.data * 2))
        ),
        replace(entry, before=rng.choice((b"x", bytes(16), b"PK\3\4", bytes(64)))),
        replace(entry, descriptor=rng.choice((b"", bytes(12), bytes(24), b"PK\1\2", bytes(7)))),
        replace(entry, local_name=other),
        replace(entry, size=rng.choice((0, len(entry.data) + 1, max(len(entry.data) - 1, 0), 0xFFFFFFFF))),
        replace(entry, listed=False),
        replace(entry, extra=rng.choice((b"FB\4\0ZZZZ", b"FB", bytes(4), struct.pack("<2H", 1, 8) + bytes(8)))),
    )
    if kind < len(changes):
        entries[at] = changes[kind]
    elif kind == 10:
        twin = replace(entry, name=rng.choice((entry.name, cased, entry.name.swapcase())), data=entry.data[::-1])
        entries.insert(rng.randrange(len(entries) + 1), twin)
    elif kind == 11:
        rng.shuffle(entries)
    elif kind == 12:
        del entries[at]
    else:
        return replace(file, comment=rng.choice((b"", b"c", b"PK\5\6" + bytes(18))), behind=rng.choice((b"", b"x")))
    return replace(file, entries=tuple(entries))


def change_legacy(rng: random.Random, file: TorchFile, pool: Sequence[TorchFile]) -> TorchFile:
    if not isinstance(file, LegacyFile):
        return change_zip(rng, file, pool)
    kind = rng.randrange(5)
    if kind == 0:
        at = rng.choice((0, 1, 2, 4))
        programs = list(file.programs)
        ops = list(programs[at])
        ops.insert(rng.randrange(len(ops)), rng.choice((*SINGLE, *LINES)))
        programs[at] = tuple(ops)
        return replace(file, programs=tuple(programs))
    if kind == 1:
        ops = list(file.programs[4])
        keys = [n for n, op in enumerate(ops) if op[:1] in b"XU"]
        if len(keys) > 1:
            a, b = rng.sample(keys, 2)
            ops[a], ops[b] = ops[b], ops[a]
        return replace(file, programs=(*file.programs[:4], tuple(ops)))
    data = bytearray(file.storages)
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    cut = rng.choice((bytes(data), file.storages[:-1], file.storages + b"x"))
    return replace(file, storages=cut) if kind < 4 else replace(file, before=rng.choice((b"\n", b"N0", b"(0", b"PK")))


CHANGES: tuple[Change, ...] = (
    insert_opcode, remove, swap, replace_opcode, replace_opcode, replace_value, replace_value, wrap, wrap,
    with_attributes, set_state, set_state, add_and_drop, add_entry, add_entry, set_later,
    change_zip, change_zip, change_zip,
)  # fmt: skip
