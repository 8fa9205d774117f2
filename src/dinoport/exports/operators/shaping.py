"""Operators that move numbers and make none: shapes, slices, joins, repetitions."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch.nn import functional

from dinoport.exports.operators.call import (
    Call,
    Results,
    Tensor,
    UncomputableError,
    UnknownOperatorError,
    fitting,
)

PADS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "edge": lambda places, length: places.clamp(0, length - 1),
    "reflect": lambda places, length: length - 1 - (length - 1 - places.remainder(max(2 * length - 2, 1))).abs(),
    "wrap": lambda places, length: places.remainder(length),
}
"""Where in an axis the value stands that a place before, in or after it repeats."""


def _shape(call: Call) -> Tensor:
    sizes = list(call.tensor(0).shape)
    end = call.node.attributes.get("end")
    return torch.tensor(sizes[call.whole("start", 0) : end if isinstance(end, int) else None], dtype=torch.int64)


def _reshape(call: Call) -> Tensor:
    tensor, wanted = call.tensor(0), call.wholes("shape", 1) or []
    if not call.whole("allowzero", 0):
        wanted = [tensor.shape[place] if size == 0 else size for place, size in enumerate(wanted)]
    return tensor.reshape(wanted)


def _flatten(call: Call) -> Tensor:
    tensor, axis = call.tensor(0), call.whole("axis", 1)
    first = torch.Size(tensor.shape[: axis if axis >= 0 else tensor.dim() + axis]).numel()
    return tensor.reshape(first, -1)


def _transpose(call: Call) -> Tensor:
    tensor = call.tensor(0)
    return tensor.permute(call.wholes("perm") or [*reversed(range(tensor.dim()))])


def _unsqueeze(call: Call) -> Tensor:
    tensor, axes = call.tensor(0), call.wholes("axes", 1) or []
    rank = tensor.dim() + len(axes)
    for axis in sorted(axis + rank if axis < 0 else axis for axis in axes):
        tensor = tensor.unsqueeze(axis)
    return tensor


def _squeeze(call: Call) -> Tensor:
    tensor, axes = call.tensor(0), call.wholes("axes", 1)
    if axes is None:
        return tensor.squeeze()
    for axis in sorted((axis % max(tensor.dim(), 1) for axis in axes), reverse=True):
        if tensor.shape[axis] != 1:
            raise UncomputableError(f"axis {axis} of {tensor.shape[axis]} is not 1")
        tensor = tensor.squeeze(axis)
    return tensor


def _expand(call: Call) -> Tensor:
    tensor, wanted = call.tensor(0), call.wholes("shape", 1) or []
    return tensor.expand(*fitting(np.broadcast_shapes(tensor.shape, tuple(wanted))))


def _tile(call: Call) -> Tensor:
    tensor, times = call.tensor(0), call.wholes("repeats", 1) or []
    fitting([size * count for size, count in zip(tensor.shape, times, strict=True)])
    return tensor.repeat(times)


def _concat(call: Call) -> Tensor:
    tensors = [call.tensor(index) for index in range(len(call.inputs))]
    axis = call.whole("axis", 0)
    fitting([sum(tensor.numel() for tensor in tensors)])
    return torch.cat(tensors, dim=axis)


def _split(call: Call) -> tuple[Tensor, ...]:
    tensor, axis, sizes = call.tensor(0), call.whole("axis", 0), call.wholes("split", 1)
    if sizes is None:
        count = len(call.node.outputs)
        length = -(-tensor.shape[axis] // count)
        sizes = [min(length, tensor.shape[axis] - start) for start in range(0, tensor.shape[axis], max(length, 1))]
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return tuple(tensor.narrow(axis, start, size) for start, size in zip(starts, sizes, strict=True))


def _slice(call: Call) -> Tensor:
    tensor = call.tensor(0)
    starts, ends = call.wholes("starts", 1) or [], call.wholes("ends", 2) or []
    axes = call.wholes("axes", 3) or [*range(len(starts))]
    steps = call.wholes("steps", 4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places = range(*slice(start, end, step).indices(tensor.shape[axis]))
        if step > 0:
            tensor = tensor.narrow(axis, places.start, max(places.stop - places.start, 0))
            tensor = tensor[(slice(None),) * (axis % tensor.dim()) + (slice(None, None, step),)]
        else:
            tensor = tensor.index_select(axis, torch.tensor([*places], dtype=torch.int64))
    return tensor


def _wrapped(places: Tensor, length: int) -> Tensor:
    return torch.where(places < 0, places + length, places)


def _gather(call: Call) -> Tensor:
    tensor, places, axis = call.tensor(0), call.tensor(1), call.whole("axis", 0)
    axis %= max(tensor.dim(), 1)
    fitting([places.numel() * (tensor.numel() // max(tensor.shape[axis], 1))])
    flat = tensor.index_select(axis, _wrapped(places.reshape(-1), tensor.shape[axis]))
    return flat.reshape((*tensor.shape[:axis], *places.shape, *tensor.shape[axis + 1 :]))


def _gather_elements(call: Call) -> Tensor:
    tensor, axis = call.tensor(0), call.whole("axis", 0)
    return tensor.gather(axis, _wrapped(call.tensor(1), tensor.shape[axis]))


def _scatter(call: Call) -> Tensor:
    """Whole slices, or numbers, put where indices say."""
    call.only("reduction", "none", "none")
    tensor, places, updates = call.tensor(0), call.tensor(1), call.tensor(2)
    result = tensor.clone()
    result[tuple(_wrapped(each, tensor.shape[axis]) for axis, each in enumerate(places.unbind(-1)))] = updates
    return result


def _range(call: Call) -> Tensor:
    start, stop, step = (call.tensor(index).item() for index in range(3))
    if step == 0 or abs((stop - start) / step) > 1 << 24:
        raise UncomputableError(f"a range from {start} to {stop} by {step}")
    stop = stop if (stop - start) / step > 0 else start
    return torch.arange(start, stop, step, dtype=call.tensor(0).dtype)


def _filled(call: Call) -> Tensor:
    shape = fitting(call.wholes("shape", 0) or [])
    if "value" not in call.node.attributes:
        return torch.zeros(tuple(shape), dtype=torch.float64)
    value = torch.from_numpy(call.constant("value").read()).reshape(-1)
    dtype = torch.float64 if value.is_floating_point() else value.dtype
    return torch.full(tuple(shape), call.heal(call.node.name, value.item()), dtype=dtype)


def _pad(call: Call) -> Tensor:
    tensor, pads = call.tensor(0), call.wholes("pads", 1) or []
    axes = call.wholes("axes", 3) or [*range(tensor.dim())]
    mode, value = call.text("mode", "constant"), call.given(2)
    if mode != "constant" and mode not in PADS:
        raise UnknownOperatorError(f"Pad with mode = {mode}")
    around = [[0, 0] for _ in range(tensor.dim())]
    for place, axis in enumerate(axes):
        around[axis] = [pads[place], pads[place + len(axes)]]
    fitting([size + before + after for size, (before, after) in zip(tensor.shape, around, strict=True)])
    if mode == "constant":
        flat = [pad for pair in reversed(around) for pad in pair]
        return functional.pad(tensor, flat, value=value.item() if value is not None else 0) if any(flat) else tensor
    for axis, (before, after) in enumerate(around):
        length = tensor.shape[axis]
        tensor = tensor.index_select(axis, PADS[mode](torch.arange(-before, length + after), length))
    return tensor


def _dropout(call: Call) -> Tensor:
    training = call.given(2)
    if training is not None and training.any():
        raise UnknownOperatorError("Dropout that drops, as in training")
    return call.tensor(0)


def _cumulated(call: Call) -> Tensor:
    call.only("exclusive", 0, 0)
    call.only("reverse", 0, 0)
    return call.tensor(0).cumsum(int(call.tensor(1)), dtype=call.tensor(0).dtype)


def _triangle(call: Call) -> Tensor:
    given = call.given(1)
    function = torch.triu if call.whole("upper", 1) else torch.tril
    return function(call.tensor(0), int(given) if given is not None else 0)


SHAPING: Mapping[str, Callable[[Call], Results]] = {
    "Identity": lambda call: call.tensor(0),
    "Dropout": _dropout,
    "Shape": _shape,
    "Size": lambda call: torch.tensor(call.tensor(0).numel(), dtype=torch.int64),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "ScatterND": _scatter,
    "Range": _range,
    "ConstantOfShape": _filled,
    "Pad": _pad,
    "CumSum": _cumulated,
    "Trilu": _triangle,
}
