"""The dtypes of the safetensors format, by the names in its header. Source: safetensors/src/tensor.rs, `Dtype`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from dinoport.tensor import BFLOAT16

DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("f8"), "F32": np.dtype("f4"), "F16": np.dtype("f2"), "BF16": BFLOAT16,
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn), "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("i8"), "I32": np.dtype("i4"), "I16": np.dtype("i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("u8"), "U32": np.dtype("u4"), "U16": np.dtype("u2"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip

NAMES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items() if not name.startswith("F8")}
"""What the writer writes, by dtype: no weight is kept in eight bits."""
