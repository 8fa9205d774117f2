"""What the genuine safetensors reader makes of a file: a path a line in, the tensors a line out."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import safetensors

DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


def read(path: str) -> dict[str, Any]:
    try:
        found = safetensors.deserialize(Path(path).read_bytes())
        with safetensors.safe_open(path, framework="numpy") as file:
            same = sorted(file.keys()) == sorted(name for name, _ in found)
    except Exception as error:
        return {"error": str(error)[:200]}
    assert same
    tensors = {
        name: [DTYPES.get(info["dtype"], info["dtype"]), info["shape"], hashlib.sha256(bytes(info["data"])).hexdigest()]
        for name, info in found
    }
    return {"tensors": tensors}


def main() -> None:
    sys.stdin.readline()
    print(json.dumps({"version": f"safetensors {safetensors.__version__}"}), flush=True)
    for line in sys.stdin:
        print(json.dumps(read(json.loads(line)["path"])), flush=True)


if __name__ == "__main__":
    main()
