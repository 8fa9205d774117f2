"""The unpickler itself: every opcode against the standard library's, and what it refuses."""

import io
import pickle
import pickletools
import struct
from collections import OrderedDict

import pytest

from dinoport.errors import CheckpointError, UnsafeCheckpointError
from dinoport.files.names import short_text
from dinoport.formats.torch import inert_pickle as reader
from dinoport.formats.torch.builders import builders
from dinoport.formats.torch.inert_pickle import InertUnpickler
from dinoport.formats.torch.stand_ins import Global, Opaque

BY_OPCODE = {
    "INT": b"I-12\n.",
    "BININT": b"J\xfe\xff\xff\xff.",
    "BININT1": b"K\xff.",
    "BININT2": b"M\xff\xfe.",
    "LONG": b"L123456789012345678901234567890L\n.",
    "LONG1": b"\x8a\x09\0\0\0\0\0\0\0\0\x80.",
    "LONG4": b"\x8b\2\0\0\0\xff\xff.",
    "STRING": b"S'a\\n\\x41'\n.",
    "BINSTRING": b"T\2\0\0\0ab.",
    "SHORT_BINSTRING": b"U\2ab.",
    "BINBYTES": b"B\2\0\0\0\xff\0.",
    "SHORT_BINBYTES": b"C\2\xff\0.",
    "BINBYTES8": b"\x8e\2\0\0\0\0\0\0\0\xff\0.",
    "BYTEARRAY8": b"\x96\2\0\0\0\0\0\0\0\xff\0.",
    "NONE": b"N.",
    "NEWTRUE": b"\x88.",
    "NEWFALSE": b"\x89.",
    "UNICODE": b"V\\u00e9a\n.",
    "SHORT_BINUNICODE": b"\x8c\2\xc3\xa9.",
    "BINUNICODE": b"X\2\0\0\0\xc3\xa9.",
    "BINUNICODE8": b"\x8d\2\0\0\0\0\0\0\0\xc3\xa9.",
    "FLOAT": b"F-1.5e3\n.",
    "BINFLOAT": b"G\x3f\xf8\0\0\0\0\0\0.",
    "EMPTY_LIST": b"].",
    "APPEND": b"]K\1a.",
    "APPENDS": b"](K\1K\2e.",
    "LIST": b"(K\1K\2l.",
    "EMPTY_TUPLE": b").",
    "TUPLE": b"(K\1K\2K\3K\4t.",
    "TUPLE1": b"K\1\x85.",
    "TUPLE2": b"K\1K\2\x86.",
    "TUPLE3": b"K\1K\2K\3\x87.",
    "EMPTY_DICT": b"}.",
    "DICT": b"(K\1K\2d.",
    "SETITEM": b"}K\1K\2s.",
    "SETITEMS": b"}(K\1K\2K\3K\4u.",
    "EMPTY_SET": b"\x8f.",
    "ADDITEMS": b"\x8f(K\1K\2\x90.",
    "FROZENSET": b"(K\1K\2\x91.",
    "POP": b"K\1K\0020.",
    "DUP": b"]2a.",
    "MARK": b"(K\0010K\2t.",
    "POP_MARK": b"K\1(K\2K\0031.",
    "GET": b"K\7p1\n0g1\n.",
    "BINGET": b"K\7q\0010h\1.",
    "LONG_BINGET": b"K\7r\1\0\0\0000j\1\0\0\0.",
    "PUT": b"K\7p5\n.",
    "BINPUT": b"K\7q\5.",
    "LONG_BINPUT": b"K\7r\5\0\0\0.",
    "MEMOIZE": b"K\7\x94h\0\x86.",
    "GLOBAL": b"ccollections\nOrderedDict\n)R.",
    "STACK_GLOBAL": b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R.",
    "REDUCE": b"ctorch\nSize\n(K\2K\3t\x85R.",
    "BUILD": b"ccollections\nOrderedDict\n)R}b.",
    "INST": b"(icollections\nOrderedDict\n.",
    "OBJ": b"(ccollections\nOrderedDict\no.",
    "NEWOBJ": b"ccollections\nOrderedDict\n)\x81.",
    "NEWOBJ_EX": b"ccollections\nOrderedDict\n)}\x92.",
    "PROTO": b"\x80\4N.",
    "STOP": b"N.",
    "FRAME": b"\x80\4\x95\2\0\0\0\0\0\0\0N.",
    "PERSID": b"Pkey\n.",
    "BINPERSID": b"X\3\0\0\0keyQ.",
}  # fmt: skip

REFUSED = {
    "EXT1": b"\x82\1.",
    "EXT2": b"\x83\1\0.",
    "EXT4": b"\x84\1\0\0\0.",
    "NEXT_BUFFER": b"\x97.",
    "READONLY_BUFFER": b"N\x98.",
}


def load(data: bytes, **limits: int) -> object:
    return InertUnpickler(data, "file.pth", builders("file.pth"), lambda key: ("outside", key), **limits).load()


def refused(data: bytes, **limits: int) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(data, **limits)
    return str(caught.value)


def message(found: str) -> str:
    return (
        "file.pth is not a sound pickle\n"
        f"  found: {found}\n"
        "  likely cause: a damaged file, a file of another kind, or one that was made to mislead\n"
        "  try: fetch the file again; a genuine checkpoint comes from torch.save"
    )


class Reference(pickle.Unpickler):
    def persistent_load(self, key: object) -> object:
        return "outside", key

    def find_class(self, module: str, name: str) -> object:
        return {"OrderedDict": OrderedDict, "Size": tuple}[name]


@pytest.mark.parametrize("name", BY_OPCODE)
def test_every_opcode_does_what_the_standard_library_does(name):
    data = BY_OPCODE[name]
    assert name in {opcode.name for opcode, _, _ in pickletools.genops(data)}
    if name == "DUP":  # a list that holds itself
        ours = load(data)
        assert isinstance(ours, list)
        assert ours[0] is ours
        return
    assert load(data) == Reference(io.BytesIO(data), encoding="latin-1").load()


@pytest.mark.parametrize("name", REFUSED)
def test_opcodes_that_reach_outside_are_refused(name):
    opcode = REFUSED[name].lstrip(b"N")
    at = len(REFUSED[name]) - len(opcode) + 1
    assert refused(REFUSED[name]) == message(f"opcode {opcode[0]:#04x}, which checkpoints do not use, at byte {at}")


def test_every_opcode_of_every_protocol_is_known():
    assert {opcode.name for opcode in pickletools.opcodes} == BY_OPCODE.keys() | REFUSED.keys()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an end within a pickle, at byte 0"),
        (b"N", "an end within a pickle, at byte 1"),
        (b"X\5\0\0\0ab.", "5 bytes wanted at byte 5 of 8"),
        (b"\x8e" + b"\xff" * 8 + b".", f"{2**64 - 1} bytes wanted at byte 9 of 10"),
        (b"T\xff\xff\xff\xff.", "-1 bytes wanted at byte 5 of 6"),
        (b"Ia\n.", 'the integer "a" at byte 3'),
        (b"I1.", "a text line without an end at byte 1"),
        (b"L" + b"1" * 1025 + b"L\n.", "an integer of 1025 digits at byte 1028"),
        (b"\x8b\1\4\0\0" + b"\1" * 1025 + b".", "an integer of 1025 bytes at byte 5"),
        (b"\x8b\xff\xff\xff\xff.", "an integer of -1 bytes at byte 5"),
        (b"F" + b"1" * 64 + b"\n.", "a text line without an end at byte 1"),
        (b"Sabc\n.", "a string without quotes at byte 5"),
        (b"X\1\0\0\0\xff.", "an instruction that does not fit its arguments (UnicodeDecodeError) at byte 6"),
        (b".", "an instruction that does not fit its arguments (IndexError) at byte 1"),
        (b"t.", "an instruction that does not fit its arguments (IndexError) at byte 1"),
        (b"N(\x85.", "an empty stack at byte 3"),
        (b"h\1.", "an instruction that does not fit its arguments (KeyError) at byte 2"),
        (b"Np-1\n.", "a memo of -1 entries at byte 5"),
        (b"Np2147483648\n.", "a memo of 2.15e+09 entries at byte 13"),
        (b"NK\1a.", "items for a NoneType at byte 4"),
        (b"]K\1K\2s.", "keys for a list at byte 6"),
        (b"}(K\1u.", "a key without a value at byte 5"),
        (b"}]Ns.", "a list as a key at byte 4"),
        (b"}}Ns.", "a dict as a key at byte 4"),
        (b"\x8f(]\x90.", "a list as a key at byte 4"),
        (b"(]\x91.", "a list as a key at byte 3"),
        (b"}]\x85Ns.", "a list as a key at byte 5"),
        (b"}" + b")" * 40 + b"N", "an end within a pickle, at byte 42"),
        (b"}(" + b"N" * 33 + b"tNs.", "a tuple of more than 32 parts as a key at byte 38"),
        (b"N)R.", "a call of a NoneType at byte 3"),
        (b"ccollections\nOrderedDict\n]R.", "arguments that are not a tuple at byte 27"),
        (b"]Nb.", "state for a list at byte 3"),
        (b"NN\x93.", "a name that is not text at byte 3"),
        (b"\x80\2U\5torchU\4a.b_\x93.", "the dotted name a.b_ under protocol 2 at byte 16"),
        (b"U\5torchU\4a.b_\x93.", "the dotted name a.b_ under protocol 0 at byte 14"),
    ],
)  # fmt: skip
def test_what_is_not_sound(data, found):
    assert refused(data) == message(found)


def test_limits():
    assert refused(b"N0" * 10 + b"N.", max_opcodes=20) == message("more than 20 opcodes at byte 20")
    assert refused(b"]" * 10 + b".", max_objects=9) == message("more than 9 objects at byte 10")
    assert refused(b"N" + b"q\1" * 10 + b".", max_objects=9) == message("more than 9 objects at byte 21")
    sized = b"(" + b"K\1" * 20 + b"t\x85"
    assert refused(b"ctorch\nSize\n" + sized + b"R.", max_objects=20).startswith("file.pth is not a sound pickle")
    assert load(b"ctorch\nSize\n" + sized + b"R.", max_objects=25) == (1,) * 20


def test_objects_at_once(monkeypatch):
    monkeypatch.setattr(reader, "MAX_STACK", 5)
    assert refused(b"N" * 6 + b".") == message("more than 5 objects at once at byte 6")


def test_a_second_pickle_begins_where_the_first_ends():
    unpickler = InertUnpickler(b"K\1.K\2.", "file.pth", {})
    assert (unpickler.load(), unpickler.bytes.position) == (1, 3)
    assert InertUnpickler(b"K\1.K\2.", "file.pth", {}, position=3).load() == 2


def test_without_a_meaning_for_what_is_outside():
    with pytest.raises(CheckpointError, match="a reference to something outside at byte 2"):
        InertUnpickler(b"NQ.", "file.pth", {}).load()


UNSAFE = (
    b"cposix\nsystem\n.",
    b"\x8c\5posix\x8c\6system\x93.",
    b"(iposix\nsystem\n.",
    b"(cposix\nsystem\nN\x85o.",
    b"cbuiltins\ngetattr\n(cposixpath\nos\nt.",
)


@pytest.mark.parametrize("data", UNSAFE)
def test_a_forbidden_name_is_refused_by_name_wherever_it_stands(data):
    with pytest.raises(UnsafeCheckpointError) as caught:
        load(data)
    name = "posixpath.os" if b"posixpath" in data else "posix.system"
    assert str(caught.value) == (
        f"file.pth names {name}, which no checkpoint needs\n"
        "  expected: tensors, numbers, text, and classes that hold data\n"
        f"  found: a pickle that would have {name} called when it is loaded\n"
        "  likely cause: the file was made to run code on the machine that opens it; nothing of it was run here\n"
        "  try: do not open it elsewhere; get the checkpoint from its author"
    )


@pytest.mark.parametrize(
    "args",
    [
        b"(cmodule\nClass\nX\x08\0\0\0__init__t",
        b"(cmodule\nClass\nX\6\0\0\0methodt",
        b"(cmodule\nname\nX\5\0\0\0Innert",
        b"(X\1\0\0\0aX\1\0\0\0At",
        b")",
        b"(cmodule\nClass\n)\x81X\x07\0\0\0__dict_t",
        b"(cmodule\nClass\n)\x81X\2\0\0\0ost",
        b"(cmodule\nClass\n)\x81X\3\0\0\0a.bt",
        b"(ctorch.utils.data.dataloader\nDataLoader\n)\x81X\1\0\0\0at",
        b"(cfunctools\npartial\n)\x81X\4\0\0\0funct",
        b"(cbuiltins\ngetattr\n(cmodule\nClass\n)\x81X\1\0\0\0atRX\1\0\0\0bt",
    ],
)
def test_getattr_looks_up_nested_classes_and_methods_alone(args):
    with pytest.raises(UnsafeCheckpointError, match=r"file\.pth names builtins\.getattr, which no checkpoint needs"):
        load(b"cbuiltins\ngetattr\n" + args + b"R.")


METHOD = b"cbuiltins\ngetattr\n(cmodule\nClass\n)\x81X\4\0\0\0keeptR"


def test_a_method_that_is_kept_is_data_and_nobody_calls_it():
    kept = load(METHOD + b".")
    assert (kept.name, kept.args[0].name, kept.args[1]) == ("builtins.getattr", "module.Class", "keep")
    with pytest.raises(UnsafeCheckpointError, match=r"names builtins\.getattr, which no checkpoint needs"):
        load(METHOD + b")R.")
    with pytest.raises(UnsafeCheckpointError, match=r"names builtins\.getattr, which no checkpoint needs"):
        load(b"(" + METHOD + b"o.")


def test_a_nested_class_is_named():
    assert load(b"c__builtin__\ngetattr\n(cmodule\nOuter\nX\5\0\0\0InnertR.") == Global("module.Outer.Inner")


def test_the_message_of_a_name_is_one_line_however_the_name_looks():
    name = "system\n  try: sudo \x1b[2Jsh"
    data = b"\x8c\5posix" + b"X" + struct.pack("<I", len(name)) + name.encode() + b"\x93."
    with pytest.raises(UnsafeCheckpointError) as caught:
        load(data)
    first, *rest = str(caught.value).split("\n")
    assert first == r"file.pth names posix.system\n  try: sudo \x1b[2Jsh, which no checkpoint needs"
    assert len(rest) == 4


class TestNumpyScalars:
    """Their raw bytes become a Python number; what is no such number becomes an Opaque."""

    def scalar(self, dtype: str, data: bytes, order: str = "<") -> object:
        state = f"(K\3S'{order}'\nNNNI-1\nI-1\nK\0tb".encode()
        body = b"C" + bytes([len(data)]) + data
        head = f"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'{dtype}'\nI00\nI01\ntR".encode()
        return load(head + state + body + b"tR.")

    def test_each(self):
        assert self.scalar("f8", struct.pack("<d", 0.25)) == 0.25
        assert self.scalar("f8", struct.pack(">d", 0.25), ">") == 0.25
        assert self.scalar("i8", struct.pack("<q", -5)) == -5
        assert self.scalar("b1", b"\1") is True

    @pytest.mark.parametrize(
        ("dtype", "data"), [("f8", b"1234"), ("O8", b"12345678"), ("U9", b"12345678"), ("f16", b"1" * 16)]
    )
    def test_others_are_opaque(self, dtype, data):
        assert isinstance(self.scalar(dtype, data), Opaque)


@pytest.mark.parametrize(
    "data",
    [
        b"ctorch\nSize\nX\1\0\0\0a\x85R.",
        b"cbuiltins\nset\n}\x85R.",
        b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.",
        b"cbuiltins\ncomplex\nX\1\0\0\x001\x85R.",
        b"c_codecs\nencode\nX\1\0\0\0aX\4\0\0\0zlib\x86R.",
        b"ccollections\nOrderedDict\n](]N\x86e\x85R.",
        b"ccollections\nOrderedDict\nK\1\x85R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NK\0))\x89NtR.",
    ],
)
def test_calls_that_mean_data_take_data_alone(data):
    assert "an instruction that does not fit its arguments" in refused(data)


def test_what_a_message_shows_of_a_value():
    doubled: object = None
    for _ in range(100):
        doubled = (doubled, doubled)
    assert short_text(doubled) == "(((...), (...)), ((...), (...)))"
    assert short_text(Opaque("module.Class", (doubled,))) == "<module.Class>"
    assert len(short_text("a" * 10_000)) <= 60
    assert len(short_text([10**300] * 100)) <= 200
