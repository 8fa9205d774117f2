"""Operators of models that were quantized to whole numbers: computed as they round, so that it can be measured."""

from collections.abc import Callable, Mapping

import torch

from dinoport.exports.operators.call import Call, Results, Tensor, UnknownOperatorError
from dinoport.exports.operators.layers import convolve, product

RANGES = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int16: (-32768, 32767)}


def _along(call: Call, scale: Tensor, tensor: Tensor) -> Tensor:
    """One scale for all values, or one for each place of an axis."""
    call.only("block_size", 0, 0)
    if scale.numel() == 1:
        return scale.reshape(())
    axis = call.whole("axis", 1) % tensor.dim()
    return scale.reshape([-1 if place == axis else 1 for place in range(tensor.dim())])


def _quantize(call: Call) -> Tensor:
    tensor = call.tensor(0)
    scale, zero = _along(call, call.tensor(1), tensor), call.given(2)
    dtype = zero.dtype if zero is not None else torch.uint8
    if dtype not in RANGES:
        raise UnknownOperatorError(f"QuantizeLinear to {dtype}")
    whole = torch.round(tensor / scale)
    whole = whole if zero is None else whole + _along(call, zero, tensor)
    return whole.clamp(*RANGES[dtype]).to(dtype)


def _dequantize(call: Call) -> Tensor:
    tensor, zero = call.tensor(0), call.given(2)
    wide = tensor.double() if zero is None else tensor.double() - _along(call, zero, tensor).double()
    return wide * _along(call, call.tensor(1), tensor)


def _dynamically(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """To eight bits without a sign, over the range that the values have."""
    tensor = call.tensor(0)
    low, high = tensor.min().clamp(max=0), tensor.max().clamp(min=0)
    scale = (high - low) / 255
    zero = torch.round((-low / scale).clamp(0, 255)) if scale > 0 else torch.zeros_like(scale)
    whole = torch.round(tensor / scale) + zero if scale > 0 else torch.zeros_like(tensor)
    return whole.clamp(0, 255).to(torch.uint8), scale, zero.to(torch.uint8)


def _centred(tensor: Tensor, zero: Tensor | None) -> Tensor:
    return tensor.double() if zero is None else tensor.double() - zero.double()


def _matrix_product(call: Call) -> Tensor:
    first, zero = call.tensor(0), call.given(2)
    if zero is not None and zero.dim() == 1 and zero.numel() > 1:
        zero = zero[:, None]
    return product(call, _centred(first, zero), _centred(call.tensor(1), call.given(3))).to(torch.int32)


def _convolve(call: Call) -> Tensor:
    weight, zero = call.tensor(1), call.given(3)
    if zero is not None and zero.numel() > 1:
        zero = zero.reshape(-1, *[1] * (weight.dim() - 1))
    return convolve(call, _centred(call.tensor(0), call.given(2)), _centred(weight, zero), None).to(torch.int32)


QUANTIZED: Mapping[str, Callable[[Call], Results]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamically,
    "MatMulInteger": _matrix_product,
    "ConvInteger": _convolve,
}
