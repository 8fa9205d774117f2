"""torch's storages and dtypes, by the names in its pickles."""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from dinoport.tensor import BFLOAT16

STORAGE_DTYPES: Mapping[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("f8"),
    "FloatStorage": np.dtype("f4"),
    "HalfStorage": np.dtype("f2"),
    "BFloat16Storage": BFLOAT16,
    "LongStorage": np.dtype("i8"),
    "IntStorage": np.dtype("i4"),
    "ShortStorage": np.dtype("i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
    "ComplexFloatStorage": np.dtype("c8"),
    "ComplexDoubleStorage": np.dtype("c16"),
}
"""Storages with a type of their own."""

WRITTEN_STORAGES = {dtype: name for name, dtype in STORAGE_DTYPES.items() if dtype.kind != "c"}
"""What the writer names: storages that every version of torch has."""

UNTYPED = "UntypedStorage"
"""A storage of bytes, whose tensors say which dtype they have."""

TORCH_DTYPES: Mapping[str, np.dtype[Any]] = {
    "torch.float64": np.dtype("f8"), "torch.double": np.dtype("f8"),
    "torch.float32": np.dtype("f4"), "torch.float": np.dtype("f4"),
    "torch.float16": np.dtype("f2"), "torch.half": np.dtype("f2"),
    "torch.bfloat16": BFLOAT16,
    "torch.float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn), "torch.float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "torch.int64": np.dtype("i8"), "torch.int32": np.dtype("i4"), "torch.int16": np.dtype("i2"),
    "torch.int8": np.dtype("i1"), "torch.uint8": np.dtype("u1"), "torch.bool": np.dtype("?"),
    "torch.uint16": np.dtype("u2"), "torch.uint32": np.dtype("u4"), "torch.uint64": np.dtype("u8"),
    "torch.complex64": np.dtype("c8"), "torch.complex128": np.dtype("c16"),
}  # fmt: skip
"""Dtypes, by the names under which a pickle or a checkpoint's metadata mentions them."""
