"""Operators on numbers: element by element, comparisons, casts, and what is reduced over axes."""

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from dinoport.exports.operators.call import (
    ROUNDED_DTYPES,
    TORCH_DTYPES,
    Call,
    Results,
    Tensor,
    UnknownOperatorError,
    together,
)


def _single(function: Callable[[Tensor], Tensor]) -> Callable[[Call], Tensor]:
    return lambda call: function(call.tensor(0))


def _pair(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Call], Tensor]:
    def computed(call: Call) -> Tensor:
        together(call.tensor(0), call.tensor(1))
        return function(call.tensor(0), call.tensor(1))

    return computed


def _several(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Call], Tensor]:
    def computed(call: Call) -> Tensor:
        result = call.tensor(0)
        for index in range(1, len(call.inputs)):
            together(result, call.tensor(index))
            result = function(result, call.tensor(index))
        return result

    return computed


def _divide(first: Tensor, second: Tensor) -> Tensor:
    """Of whole numbers what is left is cut off."""
    return torch.div(first, second, rounding_mode=None if first.is_floating_point() else "trunc")


def _modulo(call: Call) -> Tensor:
    together(call.tensor(0), call.tensor(1))
    function = torch.fmod if call.whole("fmod", 0) else torch.remainder
    return function(call.tensor(0), call.tensor(1))


def _gelu(call: Call) -> Tensor:
    approximate = call.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise UnknownOperatorError(f"Gelu with approximate = {approximate}")
    return functional.gelu(call.tensor(0), approximate=approximate)


def _clip(call: Call) -> Tensor:
    low, high = call.given(1), call.given(2)
    return call.tensor(0) if low is None and high is None else torch.clamp(call.tensor(0), low, high)


def _where(call: Call) -> Tensor:
    together(call.tensor(0), call.tensor(1), call.tensor(2))
    return torch.where(call.tensor(0), call.tensor(1), call.tensor(2))


def _cast(call: Call) -> Tensor:
    """A float made whole is cut off, as everywhere."""
    code = call.whole("to", 0)
    if code not in TORCH_DTYPES:
        raise UnknownOperatorError(f"Cast to ONNX's type {code}")
    tensor = call.tensor(0).to(TORCH_DTYPES[code])
    return tensor.to(ROUNDED_DTYPES[code]).double() if call.rounding and code in ROUNDED_DTYPES else tensor


def _reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[[Call], Tensor]:
    def computed(call: Call) -> Tensor:
        tensor, axes = call.tensor(0), call.wholes("axes", 1)
        if not tensor.dim() or (not axes and call.whole("noop_with_empty_axes", 0)):
            return function(tensor.unsqueeze(-1), [-1], False)  # each number by itself: a norm is still one
        return function(tensor, axes or [*range(tensor.dim())], bool(call.whole("keepdims", 1)))

    return computed


def _product(tensor: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % tensor.dim() for axis in axes), reverse=True):
        tensor = tensor.prod(dim=axis, keepdim=keep)
    return tensor


def _of_wide(function: Callable[..., Tensor], tensor: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Of whole numbers too, with what is left cut off."""
    return function(tensor.double(), dim=axes, keepdim=keep).to(tensor.dtype)


def _infinite(call: Call) -> Tensor:
    tensor = call.tensor(0)
    found = torch.zeros_like(tensor, dtype=torch.bool)
    found = found | (tensor.isposinf() if call.whole("detect_positive", 1) else found)
    return found | (tensor.isneginf() if call.whole("detect_negative", 1) else found)


ARITHMETIC: Mapping[str, Callable[[Call], Results]] = {
    "Abs": _single(torch.abs),
    "Neg": _single(torch.neg),
    "Sign": _single(torch.sign),
    "Floor": _single(torch.floor),
    "Ceil": _single(torch.ceil),
    "Round": _single(torch.round),
    "Sqrt": _single(torch.sqrt),
    "Reciprocal": _single(torch.reciprocal),
    "Exp": _single(torch.exp),
    "Log": _single(torch.log),
    "Sin": _single(torch.sin),
    "Cos": _single(torch.cos),
    "Erf": _single(torch.erf),
    "Tanh": _single(torch.tanh),
    "Sigmoid": _single(torch.sigmoid),
    "Relu": _single(torch.relu),
    "Softplus": _single(lambda tensor: torch.logaddexp(tensor, torch.zeros_like(tensor))),
    "HardSwish": _single(functional.hardswish),
    "Mish": _single(functional.mish),
    "HardSigmoid": lambda call: torch.clamp(
        call.number("alpha", 0.2) * call.tensor(0) + call.number("beta", 0.5), 0, 1
    ),
    "LeakyRelu": lambda call: functional.leaky_relu(call.tensor(0), call.number("alpha", 0.01)),
    "Gelu": _gelu,
    "Swish": lambda call: call.tensor(0) * torch.sigmoid(call.number("alpha", 1.0) * call.tensor(0)),
    "Softmax": lambda call: call.tensor(0).softmax(dim=call.whole("axis", -1)),
    "LogSoftmax": lambda call: call.tensor(0).log_softmax(dim=call.whole("axis", -1)),
    "Add": _pair(torch.add),
    "Sub": _pair(torch.sub),
    "Mul": _pair(torch.mul),
    "Div": _pair(_divide),
    "Pow": _pair(lambda base, exponent: torch.pow(base, exponent).to(base.dtype)),
    "Mod": _modulo,
    "Min": _several(torch.minimum),
    "Max": _several(torch.maximum),
    "Sum": _several(torch.add),
    "Clip": _clip,
    "Equal": _pair(torch.eq),
    "Less": _pair(torch.lt),
    "LessOrEqual": _pair(torch.le),
    "Greater": _pair(torch.gt),
    "GreaterOrEqual": _pair(torch.ge),
    "And": _pair(torch.logical_and),
    "Or": _pair(torch.logical_or),
    "Xor": _pair(torch.logical_xor),
    "Not": _single(torch.logical_not),
    "IsNaN": _single(torch.isnan),
    "IsInf": _infinite,
    "Where": _where,
    "Cast": _cast,
    "CastLike": lambda call: call.tensor(0).to(call.tensor(1).dtype),
    "ReduceMean": _reduced(lambda tensor, axes, keep: _of_wide(torch.mean, tensor, axes, keep)),
    "ReduceSum": _reduced(lambda tensor, axes, keep: tensor.sum(dim=axes, keepdim=keep, dtype=tensor.dtype)),
    "ReduceMax": _reduced(lambda tensor, axes, keep: tensor.amax(dim=axes, keepdim=keep)),
    "ReduceMin": _reduced(lambda tensor, axes, keep: tensor.amin(dim=axes, keepdim=keep)),
    "ReduceProd": _reduced(_product),
    "ReduceSumSquare": _reduced(lambda tensor, axes, keep: tensor.square().sum(dim=axes, keepdim=keep)),
    "ReduceL2": _reduced(lambda tensor, axes, keep: _of_wide(torch.linalg.vector_norm, tensor, axes, keep)),
}
