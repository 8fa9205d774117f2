"""Sound files, changed with an eye on their structure: each ends in a reading or in an error of ours, and soon.

Deterministic and quick, for every run of the suite; run.py goes on from the same seeds for as long as one likes.
"""

import json
import pickle
import struct
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.formats.memory import zipped
from tests.fuzz import targets
from tests.fuzz.seeds import TENSOR, legacy, pickles_of_checkpoints, seeds

MAX_SECONDS = 5.0

quick = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

INTERESTING = (0, 1, 2, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)

OPCODES = b"(.012FGIJKLMNPQRSTUVXabcd}eghijl]opqrst)uBC" + bytes(range(0x80, 0x99))

FRAGMENTS = (
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\nFloatStorage\n",
    b"ctorch\nBFloat16Storage\n", b"ctorch\nSize\n", b"ccollections\nOrderedDict\n", b"c__builtin__\nset\n",
    b"c_codecs\nencode\n", b"cbuiltins\ngetattr\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\nscalar\n",
    b"cmodule\nClass\n", b"X\7\0\0\0storage", b"X\x0b\0\0\0_parameters", b"X\x08\0\0\0_modules", b"X\7\0\0\0teacher",
    b"X\1\0\0\x000", b"X\3\0\0\0cpu", b"K\0", b"K\4", b"K\x10", b"\x86", b"\x85", b"R", b"Q", b"b", b"s", b"u", b"t",
    b"q\1", b"h\1", b"h\2", TENSOR % (b"0", b"\x10", b"\4"), TENSOR % (b"2", b"\0", b"\0"),
)  # fmt: skip
"""What the pickles of checkpoints are made of."""


@st.composite
def mutated(draw: st.DrawFn, sound: list[bytes]) -> bytes:
    """A few edits of a sound file: bytes flipped, numbers replaced, parts cut, doubled, moved or put in."""
    data = bytearray(draw(st.sampled_from(sound)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["flip", "number", "cut", "double", "move", "insert", "end"]))
        size = draw(st.integers(1, 40))
        if kind == "flip" and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "number":
            number = struct.pack("<Q", draw(st.sampled_from(INTERESTING)))[: draw(st.sampled_from([1, 2, 4, 8]))]
            data[at : at + len(number)] = number
        elif kind == "cut":
            del data[at : at + size]
        elif kind == "double":
            data[at:at] = data[at : at + size]
        elif kind == "move":
            part = data[at : at + size]
            del data[at : at + size]
            to = draw(st.integers(0, len(data)))
            data[to:to] = part
        elif kind == "insert":
            data[at:at] = draw(st.sampled_from(FRAGMENTS) | st.binary(max_size=8))
        elif kind == "end":
            del data[at:]
    return bytes(data)


@st.composite
def programs(draw: st.DrawFn) -> bytes:
    """Opcodes and fragments in any order, which a pickle of a state dict may hold up to some point."""
    parts = draw(
        st.lists(st.sampled_from(FRAGMENTS) | st.sampled_from([bytes([code]) for code in OPCODES]), max_size=40)
    )
    start = draw(st.sampled_from([b"", b"\x80\2", b"}(X\1\0\0\0a", b"}X\7\0\0\0teacher}(X\1\0\0\0a"]))
    return start + b"".join(parts) + draw(st.sampled_from([b".", b"u.", b"s.", b""]))


def check(target: str, data: bytes) -> None:
    begin = time.process_time()
    targets.run(targets.TARGETS[target], data)
    assert time.process_time() - begin < MAX_SECONDS


@pytest.mark.parametrize("target", targets.TARGETS)
def test_the_seeds_get_through(target):
    errors = [targets.run(targets.TARGETS[target], seed) for seed in seeds()[target]]
    assert errors[0] is None


WHOLE_FOLDERS = ("config", "processor", "report", "index")
"""Targets that run every command, which takes longer; test_folders.py changes their fields."""


@pytest.mark.parametrize("target", targets.TARGETS)
def test_mutations_of_sound_files(target):
    @settings(quick, max_examples=25 if target in WHOLE_FOLDERS else 150)
    @given(mutated(seeds()[target]))
    def mutations(data: bytes) -> None:
        check(target, data)

    mutations()


@quick
@given(programs())
def test_pickles_of_any_opcodes(data):
    check("pickle", data)


@quick
@given(st.lists(programs() | st.sampled_from(pickles_of_checkpoints()), min_size=1, max_size=1), st.binary(max_size=40))
def test_legacy_files_of_any_pickle(pickled, behind):
    check("legacy", legacy(pickled[0]) + behind)


NAMES = st.sampled_from(
    ["a/data.pkl", "a/data/0", "a/data/1", "a/byteorder", "a/version", "b/data.pkl", "../x", "a/é", ""]
)


@quick
@given(
    st.dictionaries(NAMES, st.sampled_from([*pickles_of_checkpoints(), b"big", b"little", bytes(64)]), max_size=6),
    st.lists(st.tuples(st.integers(1, 200), st.sampled_from([2, 4, 8]), st.sampled_from(INTERESTING)), max_size=3),
)
def test_zip_files_whose_directory_lies(records, lies):
    """Numbers are put over others, counted from the end, where the directory is."""
    data = bytearray(zipped(records))
    for place, width, value in lies:
        at = max(len(data) - place, 0)
        data[at : at + width] = struct.pack("<Q", value)[:width]
    check("zip", b"PK\3\4"[: 4 * (not records)] + bytes(data))


NUMBERS = st.sampled_from(INTERESTING) | st.integers(-2, 70)
ODD = st.none() | st.booleans() | st.floats() | st.text(max_size=4) | NUMBERS
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "U8", "BOOL", "F99", "I64"]) | ODD,
        "shape": st.lists(NUMBERS, max_size=4) | ODD,
        "data_offsets": st.tuples(NUMBERS, NUMBERS) | st.lists(NUMBERS, max_size=3) | ODD,
    },
    optional={"more": ODD},
)


@quick
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "__metadata__", "blocks.0.norm1.weight"]) | st.text(max_size=3), ENTRY | ODD
    )
)
def test_headers_of_any_values(header):
    check("header", json.dumps(header).encode())


JSON = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
)


@quick
@given(JSON)
def test_any_json(value: Any):
    check("json", json.dumps(value).encode())
    check("yaml", json.dumps({"student": {"arch": value}, "teacher": value}).encode())


@quick
@given(JSON, st.integers(0, 5))
def test_any_plain_data(value, protocol):
    check("pickle", pickle.dumps({"teacher": value, "args": value}, protocol=protocol))


STATUSES = st.sampled_from(["200", "206", "206!", "302", "307", "404", "401", "416", "412", "429", "503", "304", "000"])
RANGES = st.sampled_from(
    ["bytes {range}/90066", "bytes {range}/*", "bytes 0-0/90066", "bytes */0", "bytes */90066", "bytes 0-65535/90066"]
) | st.tuples(NUMBERS, NUMBERS, NUMBERS).map(lambda numbers: "bytes {}-{}/{}".format(*numbers))
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-range": RANGES,
        "content-length": NUMBERS.map(str) | st.just("90066"),
        "etag": st.sampled_from(['"one"', '"two"', 'W/"one"', "", "\\x1b"]),
        "last-modified": st.sampled_from(["Tue, 24 Nov 2026 10:00:00 GMT", "yesterday", ""]),
        "location": st.sampled_from(
            ["https://cdn.example.org/x", "/x", "http://plain.org", "file:///etc/passwd", "https://[bad", "//", ""]
        ),
        "retry-after": st.sampled_from(["1", "99999999999999999999", "-1", "²", "soon"]),
        "x-repo-commit": st.sampled_from(["0" * 40, "..", ""]),
    },
)


@quick
@given(st.lists(st.tuples(STATUSES, HEADERS), min_size=1, max_size=5))
def test_servers_that_answer_anything(given_answers):
    blocks = [
        "\n".join([status, *(f"{name}: {value}" for name, value in headers.items())])
        for status, headers in given_answers
    ]
    check("answers", "\n\n".join(blocks).encode("latin-1"))
