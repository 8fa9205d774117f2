"""Pickles and files of a few bytes, or of as many as are read, that are made to exhaust something.

Each is worth one line in the docstring of its function: what it is after.
"""

import struct
from collections.abc import Callable

from tests.formats.memory import torch_zip
from tests.fuzz.seeds import TENSOR

MERSENNE = 2**61 - 1
"""CPython's hash of an integer is its remainder by this prime."""

DICT = b"ccollections\nOrderedDict\n"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    size = value.bit_length() // 8 + 1
    return (b"\x8a" + bytes([size]) if size < 256 else b"\x8b" + struct.pack("<i", size)) + value.to_bytes(
        size, "little"
    )


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def tensor(rows: int = 4, key: bytes = b"0") -> bytes:
    return TENSOR % (key, b"\x10", bytes([rows]))


def many_sets() -> bytes:
    """Memory: an empty set takes 216 bytes, and one byte of a pickle."""
    return b"(" + b"\x8f" * 600_000 + b"l."


def many_floats() -> bytes:
    """Memory: a list of numbers."""
    return b"(" + b"G\x3f\xf0\0\0\0\0\0\1" * 1_100_000 + b"l."


def wide_text() -> bytes:
    """Memory: one character beyond Unicode's first plane makes all of a text four bytes wide."""
    return text("\U0001f995" + "a" * 16_000_000) + b"."


def copied_text() -> bytes:
    """Memory: one text, turned into bytes again and again."""
    call = b"c_codecs\nencode\n" + get(0) + b"X\x06\0\0\0latin1\x86R"
    return text("a" * 8_000_000) + put(0) + b"(" + call * 1000 + b"l."


def copied_list(function: bytes) -> Callable[[], bytes]:
    def attack() -> bytes:
        """Memory: one list, given to a call that copies it again and again."""
        return b"(" + b"N" * 100_000 + b"l" + put(0) + b"(" + (function + get(0) + b"\x85R") * 20_000 + b"l."

    return attack


def long_arguments() -> bytes:
    """Time: a tuple of many arguments, given to a call again and again."""
    call = b"ctorch._utils\n_rebuild_parameter\n" + get(0) + b"R0"
    return b"(" + b"N" * 100_000 + b"t" + put(0) + call * 1000 + b"."


def doubled(levels: int = 100) -> bytes:
    """A tuple of two of the same tuple, and so on: a thousand bytes whose text would take 2^100."""
    return b"N" + b"".join(put(level) + b"0" + get(level) * 2 + b"\x86" for level in range(levels))


def doubled_key() -> bytes:
    """Time: hashing walks through all that a tuple holds."""
    return b"}" + doubled() + b"Ns."


def doubled_shape() -> bytes:
    """Time: the shape of a tensor, in a message."""
    return b"}" + text("a") + tensor().replace(b"K\x04K\x04\x86", doubled()) + b"s."


def doubled_storage() -> bytes:
    """Time: the persistent id of a storage, in a message."""
    return doubled() + b"Q."


def doubled_storage_name() -> bytes:
    """Time: the name of a storage, where text is expected."""
    return b"(" + text("storage") + b"ctorch\nFloatStorage\n" + doubled() + text("cpu") + b"K\x10tQ."


def doubled_tree() -> bytes:
    """Time: whatever walks through a list in a checkpoint."""
    return b"}" + text("state_dict") + doubled() + b"s."


def colliding_integers() -> bytes:
    """Time: integers of one hash as keys. Each is compared with all before it."""
    return b"}(" + b"".join(integer(MERSENNE * n) + b"N" for n in range(2, 50_000)) + b"u."


def colliding_tuples() -> bytes:
    """Time: tuples of one hash as keys, by CPython's mixing of two numbers solved for the second."""
    return b"}(" + b"".join(integer(a) + integer(b) + b"\x86N" for a, b in pairs_of_one_hash(3000)) + b"u."


def pairs_of_one_hash(count: int) -> list[tuple[int, int]]:
    """By the constants of xxHash in CPython's `Objects/tupleobject.c`."""
    first, second, fifth, modulus = 11400714785074694791, 14029467366897019727, 2870177450012600261, 2**64
    inverse = pow(second, -1, modulus)
    found: list[tuple[int, int]] = []
    for a in range(1, 100 * count):
        mixed = (fifth + a * second) % modulus
        mixed = ((mixed << 31) | (mixed >> 33)) % modulus * first % modulus
        b = (2**50 - mixed) * inverse % modulus
        if b < MERSENNE:
            found.append((a, b))
    return found[:count]


def colliding_memo() -> bytes:
    """Time: the memo's keys may be any number in the text protocol."""
    return b"N" + b"".join(b"p%d\n" % (MERSENNE * n) for n in range(1, 50_000)) + b"."


def colliding_pairs() -> bytes:
    """Time: the same, as the pairs that Python 2 made an OrderedDict of."""
    pairs = b"".join(integer(MERSENNE * n) + b"N\x86" for n in range(2, 50_000))
    return DICT + b"(" + pairs + b"l\x85R."


def deep_lists() -> bytes:
    """The stack of C: lists in lists are freed one within the other."""
    return b"]" * 450_000 + b"a" * 449_999 + b"."


def deep_objects() -> bytes:
    """The stack of C: an object whose state is an object, and so on."""
    return b"cmodule\nClass\n" + put(0) + b"0" + (get(0) + b")R") * 200_000 + b"b" * 199_999 + b"."


def list_within_itself() -> bytes:
    """Time: a list that is extended by itself."""
    return b"}" + text("state_dict") + b"]" + put(0) + (b"(" + get(0) * 100 + b"e") * 1000 + b"s."


def endless_shape() -> bytes:
    """Time: the product of a million large numbers."""
    shape = b"(" + integer(2**62) * 50_000 + b"t"
    return b"}" + text("a") + tensor().replace(b"K\x04K\x04\x86", shape).replace(b"K\x04K\x01\x86", shape) + b"s."


def long_numbers() -> bytes:
    """Time: parsing digits takes a time that grows with the square of their number."""
    return b"(" + (b"F" + b"1" * 60_000 + b".5\n") * 200 + b"l."


def many_tensors() -> bytes:
    """Memory: tensors over one storage."""
    made = tensor().replace(b"ccollections\nOrderedDict\n)R", b"N")
    return b"}(" + b"".join(text(f"n{n}") + made for n in range(55_000)) + b"u."


def shared_tensor() -> bytes:
    """Disk: one tensor under many names, each of which would be written."""
    made = b"ctorch._utils\n_rebuild_tensor_v2\n" + tensor()[len(b"ctorch._utils\n_rebuild_tensor_v2\n") :]
    wide = made.replace(b"K\x04K\x04\x86", integer(4096) + integer(1024) + b"\x86").replace(
        b"K\x04K\x01\x86", b"K\0K\0\x86"
    )
    return b"}(" + text("first") + wide + put(0) + b"".join(text(f"n{n}") + get(0) for n in range(49_000)) + b"u."


NO_TENSORS = b"}" + text("_parameters") + b"}s" + text("_buffers") + b"}s"
"""The attributes of a module that has no tensors, but for its modules."""


def shared_module() -> bytes:
    """Time and memory: a module that holds one module under many names, which holds one under many names …"""
    module = b"cmodule\nClass\n)R" + NO_TENSORS + text("_modules") + b"}(%bus" + b"b"
    children = b"".join(text(f"m{n}") + get(0) for n in range(300))
    parts = [b"}" + text("model"), module % b"", put(0)]
    for _ in range(60):
        parts += [b"0", module % children, put(0)]
    return b"".join([*parts, b"s."])


def module_within_itself() -> bytes:
    """Time: a module that holds itself."""
    module = b"cmodule\nClass\n)R" + put(0) + NO_TENSORS + text("_modules") + b"}" + text("m") + get(0) + b"ssb"
    return b"}" + text("model") + module + b"s."


def many_paths() -> bytes:
    """Time: one dict under many names, in one dict under many names, …"""
    names = [b"".join(text(f"{level}.{n}") + get(0) for n in range(2000)) for level in range(14)]
    layers = b"".join(b"0}(" + layer + b"u" + put(0) for layer in names)
    return b"}" + text("w") + tensor() + b"s" + put(0) + layers + b"."


def long_names() -> bytes:
    """Memory: a name of megabytes, joined with others."""
    inner = b"}" + text("a" * 4_000_000) + tensor() + b"s"
    return b"}" + text("b" * 4_000_000) + inner + b"s."


PICKLES: tuple[Callable[[], bytes], ...] = (
    many_sets, many_floats, wide_text, copied_text, long_arguments, doubled_key, doubled_shape, doubled_storage,
    doubled_storage_name, doubled_tree, colliding_integers, colliding_tuples, colliding_memo, colliding_pairs,
    deep_lists, deep_objects, list_within_itself, endless_shape, long_numbers, many_tensors, shared_tensor,
    shared_module, module_within_itself, many_paths, long_names,
)  # fmt: skip
COPIES = (DICT, b"cbuiltins\nset\n", b"ctorch\nSize\n", b"ccollections\nCounter\n")


def safetensors(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def headers() -> dict[str, bytes]:
    """Safetensors files whose header is as large as is read, and made of what costs most."""
    million = 15_000_000
    return {
        "many_lists": b'{"a":[' + b"[]," * (million // 3) + b"[]]}",
        "many_dicts": b'{"a":[' + b"{}," * (million // 3) + b"{}]}",
        "many_numbers": b'{"a":[' + b"999," * (million // 4) + b"9]}",
        "many_texts": b'{"a":[' + b'"ab",' * (million // 5) + b'"a"]}',
        "many_values_within_limits": b'{"a":[' + b'"abcdefghijklm",' * 450_000 + b'"a"]}',
        "many_names": b"{" + b",".join(b'"%d":0' % n for n in range(450_000)) + b"}",
        "long_integer": b'{"a":' + b"9" * million + b"}",
        "long_float": b'{"a":' + b"9" * million + b".5}",
        "wide_name": b'{"' + "\U0001f995".encode() + b"a" * million + b'":0}',
        "escapes": b'{"' + b"\\u0041" * (million // 6) + b'":0}',
        "deep_dicts": b'{"a":' * 500_000 + b"0" + b"}" * 500_000,
        "doubled_names": b"{" + b",".join(b'"%d":0' % (n % 200_000) for n in range(450_000)) + b"}",
    }


def _file(pickled: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: torch_zip(pickled(), {"0": bytes(64)})


def _header(name: str) -> Callable[[], bytes]:
    return lambda: safetensors(headers()[name])


FILES: dict[str, Callable[[], bytes]] = {
    **{attack.__name__: _file(attack) for attack in PICKLES},
    **{f"copied_by_{function.split()[-1].decode()}": _file(copied_list(function)) for function in COPIES},
    **{name: _header(name) for name in headers()},
}
