"""ONNX Runtime on the file as it is, in float32: what people run. Close outputs are not a proof of equality."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.exports.tensors import DTYPES
from dinoport.shown.packages import missing
from dinoport.tensor import Array

ELEMENT_TYPES = (1, 10, 11)
"""Of a picture, by ONNX's number: float32, float16 and float64."""


@dataclass
class Runtime:
    """A session over one file. `failure` is what the runtime says where it cannot load or run it."""

    path: Path
    element_type: int
    failure: str | None = None
    _session: Any = None

    @property
    def version(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def run(self, pixels: Array) -> list[Any]:
        """The outputs as torch tensors of float64; none where the runtime fails."""
        import onnxruntime
        import torch

        try:
            if self._session is None:
                options = onnxruntime.SessionOptions()
                options.log_severity_level = 4
                self._session = onnxruntime.InferenceSession(
                    str(self.path), options, providers=["CPUExecutionProvider"]
                )
            wanted = self._session.get_inputs()[0].name
            results = self._session.run(None, {wanted: pixels.astype(DTYPES[self.element_type])})
        except Exception as error:  # whatever it raises is the proof's finding
            self.failure = str(error).partition("\n")[0][:300]
            return []
        return [torch.from_numpy(np.asarray(result, dtype=np.float64)) for result in results]


def runtime_of(path: Path, element_type: int) -> Runtime | None:
    """A runtime for a file; None where it is not installed, or the picture's dtype is not known."""
    if missing("onnxruntime") or element_type not in ELEMENT_TYPES:
        return None
    return Runtime(path, element_type)
