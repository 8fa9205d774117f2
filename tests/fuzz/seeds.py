"""Sound inputs to begin from, small ones first: what a mutation leaves of them still gets deep into a reader."""

import io
import json
import pickle
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np

from dinoport.exports.graph import Graph, Input, Node
from tests.exports import writing
from tests.exports.cases import RECORDED
from tests.formats.memory import torch_zip
from tests.fuzz.answers import sound as sound_answers
from tests.fuzz.folders import INDEX, PROCESSOR, sound
from tests.fuzz.targets import STORAGES

METADATA = Path(__file__).parents[1] / "fixtures" / "fuzz" / "small.metadata"

TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0%bX\x03\0\0\0cpuK%btQ"
    b"K\0K%bK\x04\x86K\x04K\x01\x86\x89ccollections\nOrderedDict\n)RtR"
)
"""A float tensor of rows of four: the storage's key and its number of elements, then the number of rows."""

CONFIG = b"""\
student:
  arch: vit_small
  patch_size: 16
  drop_path_rate: 1e-3
teacher: {momentum_teacher: 0.992}
crops:
  local_crops_size: [98, 96]
distillation:
  enabled: false
"""


def seeds() -> dict[str, list[bytes]]:
    """By target."""
    pickles = pickles_of_checkpoints()
    files = [torch_zip(pickled, STORAGES) for pickled in pickles]
    return {
        "pickle": pickles,
        "zip": files,
        "legacy": [legacy(pickled) for pickled in pickles[:4]],
        "safetensors": [len(header).to_bytes(8, "little") + header + bytes(64) for header in headers()],
        "header": headers(),
        "metadata": [METADATA.read_bytes(), *pickles[:2]],
        "json": [*headers(), b'{"weight_map": {"a": "model-1.safetensors"}, "architectures": ["ViTModel"], "x": 1e-6}'],
        "config": [sound("config.json")],
        "processor": [sound(PROCESSOR)],
        "report": [sound("dinoport.json")],
        "index": [sound(INDEX)],
        "answers": [sound_answers()],
        "graph": graphs(),
        "yaml": [CONFIG, CONFIG.replace(b"vit_small", b"&a vit_small").replace(b"16", b"*a")],
    }


def pickles_of_checkpoints() -> list[bytes]:
    one = TENSOR % (b"0", bytes([16]), bytes([4]))
    two = TENSOR % (b"1", bytes([8]), bytes([2]))
    state = b"}(X\x09\0\0\0cls_tokenq\x01" + one + b"q\x02X\x10\0\0\0module.norm.biash\x02X\x01\0\0\0b" + two + b"u"
    args = pickle.dumps({"args": Namespace(arch="vit_small", lr=np.float64(0.5)), "epoch": 3}, protocol=2)
    everything = [
        None,
        True,
        1,
        2**70,
        1.5,
        "é",
        b"\xff",
        bytearray(b"a"),
        (1, 2, 3, 4),
        {1},
        frozenset({2}),
        {(1, "a"): []},
    ]
    plain = [pickle.dumps(everything, protocol=protocol) for protocol in range(6)]
    teacher = b"}X\x07\0\0\0teacher" + state + b"s."
    return [
        b"\x80\x02" + state + b".",
        b"\x80\x02" + teacher,
        args,
        *plain,
        pickle.dumps(OrderedDict(a=1), protocol=2),
    ]


def legacy(pickled: bytes) -> bytes:
    """The legacy format around a pickle whose storages are those of `STORAGES` that it names, in order."""
    start = [pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    # A legacy id has one part more: no view of another storage.
    body = pickled.replace(b"tQ", b"NtQ")
    used = [key for key in STORAGES if b"X\x01\0\0\0" + key.encode() + b"X\x03\0\0\0cpu" in pickled]
    file = io.BytesIO()
    file.write(b"".join([*start, body, pickle.dumps(used, protocol=2)]))
    for key in used:
        file.write((len(STORAGES[key]) // 4).to_bytes(8, "little") + STORAGES[key])
    return file.getvalue()


def graphs() -> list[bytes]:
    """Two steps over a picture, one of them with branches; and what the genuine exporter wrote."""
    weight = writing.constant(np.arange(6, dtype=np.float32).reshape(2, 3), "weight")
    branch = Graph((Node("neg", "Neg", "", ("product",), ("z",)),), {}, (), ("z",))
    nodes = (
        Node("product", "MatMul", "", ("weight", "x"), ("product",)),
        Node("if", "If", "", ("flag",), ("y",), {"then_branch": branch, "else_branch": branch}),
    )
    constants = {"weight": weight, "flag": writing.constant(np.array(True), "flag")}
    small = Graph(nodes, constants, (Input("x", writing.FLOAT, (3, "n")),), ("y",))
    return [writing.model(writing.graph(small)), (RECORDED / "vit-dynamo23.onnx").read_bytes()]


def headers() -> list[bytes]:
    entry = {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}
    other = {"dtype": "BF16", "shape": [16], "data_offsets": [32, 64]}
    return [
        json.dumps({"__metadata__": {"format": "pt"}, "cls_token": entry, "backbone.norm.bias": other}).encode(),
        json.dumps({"a": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode(),
    ]
