"""The weights that a forward pass of a reference runs on, each read when a layer asks for it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from dinoport.formats.values import byte_ranges
from dinoport.tensor import BFLOAT16, TensorRef

LARGE_BYTES = 2**24
"""Of a tensor. A smaller one is read faster than it can be announced."""


@dataclass(frozen=True)
class Weights(Mapping[str, Any]):
    """Tensors as torch's, in float64, after each but those in `kept` was rounded to `cast`.

    None is kept: reading one again takes less time than the system needs to provide memory for all of them in float64,
    and what no layer asks for is never read.
    """

    tensors: Mapping[str, TensorRef]
    cast: np.dtype[Any] | None = None
    kept: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> Any:
        import torch

        tensor = self.tensors[name]
        if name in self._next:
            for source, begin, end in byte_ranges(self.tensors[self._next[name]].values):
                source.expect(begin, end)
        if self.cast is None or name in self.kept:
            return torch.from_numpy(tensor.read(np.dtype(np.float64)))
        return torch_tensor(tensor).to(getattr(torch, self.cast.name)).to(torch.float64)

    @cached_property
    def _next(self) -> Mapping[str, str]:
        """The large tensor after each large one: layers mostly ask for them in the order of the file."""
        return dict(pairwise(name for name, tensor in self.tensors.items() if tensor.size_bytes >= LARGE_BYTES))

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def torch_tensor(tensor: TensorRef) -> Any:
    """Read a tensor into torch, in its own dtype."""
    import torch

    values = tensor.read()
    if tensor.dtype == BFLOAT16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)


def floats(tensors: Mapping[str, TensorRef]) -> dict[str, TensorRef]:
    """Those that are weights: counters and masks are not."""
    return {name: tensor for name, tensor in tensors.items() if tensor.is_float}
