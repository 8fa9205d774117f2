"""The layers of networks: products, convolutions, norms, attention, pooling, resizing; quantized ones too."""

from collections.abc import Callable, Mapping
from math import prod, sqrt

import numpy as np
import torch
from torch.nn import functional

from dinoport.exports.operators.call import Call, Results, Tensor, UncomputableError, UnknownOperatorError, fitting


def product(call: Call, first: Tensor, second: Tensor) -> Tensor:
    """A product of matrices that may be made."""
    if first.dim() > 1 and second.dim() > 1:
        batch = np.broadcast_shapes(first.shape[:-2], second.shape[:-2])
        shape = fitting([*batch, first.shape[-2], second.shape[-1]])
        call.spend(prod(shape) * first.shape[-1])
    return first @ second


def _gemm(call: Call) -> Tensor:
    first, second, added = call.tensor(0), call.tensor(1), call.given(2)
    first = first.T if call.whole("transA", 0) else first
    second = second.T if call.whole("transB", 0) else second
    call.spend(prod(fitting([first.shape[0], second.shape[1]])) * first.shape[1])
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    result = first @ second if alpha == 1 else alpha * (first @ second)
    if added is None:
        return result
    return result + (added if beta == 1 else beta * added)


def window(call: Call, tensor: Tensor) -> tuple[list[int], list[int], list[int]]:
    """Strides, dilations and pads (before each axis, then after) of what slides over a picture."""
    strides, dilations = call.wholes("strides") or [1, 1], call.wholes("dilations") or [1, 1]
    pads = call.wholes("pads") or [0, 0, 0, 0]
    mode = call.text("auto_pad", "NOTSET")
    if mode not in ("NOTSET", "VALID", ""):
        raise UnknownOperatorError(f"{call.node.title} with auto_pad = {mode}")
    if len(pads) != 4 or min(strides) < 1 or min(dilations) < 1 or min(pads) < 0:
        raise UncomputableError(f"strides {strides}, dilations {dilations}, pads {pads}")
    fitting([size + pads[axis] + pads[axis + 2] for axis, size in enumerate(tensor.shape[2:])])
    return strides, dilations, pads


def _padded(tensor: Tensor, pads: list[int], value: float = 0.0) -> Tensor:
    rank = len(pads) // 2
    around = [pad for axis in reversed(range(rank)) for pad in (pads[axis], pads[axis + rank])]
    return functional.pad(tensor, around, value=value) if any(around) else tensor


def convolve(call: Call, tensor: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if tensor.dim() != 4 or weight.dim() != 4:
        raise UnknownOperatorError(f"{call.node.title} over {tensor.dim()} axes")
    strides, dilations, pads = window(call, tensor)
    rows, columns = ((tensor.shape[2 + axis] + pads[axis] + pads[axis + 2]) // strides[axis] + 1 for axis in range(2))
    places = prod(fitting([tensor.shape[0], weight.shape[0], rows, columns]))
    groups = call.whole("group", 1)
    window_size = prod(weight.shape[1:])
    fitting([rows, columns, window_size])  # what lies under the window, which PyTorch lays out for each place
    call.spend(places * window_size)
    return functional.conv2d(_padded(tensor, pads), weight, bias, strides, 0, dilations, groups)


def _layer_norm(call: Call) -> Tensor:
    tensor, weight, bias = call.tensor(0), call.tensor(1), call.given(2)
    axis = call.whole("axis", -1) % tensor.dim()
    normed = functional.layer_norm(tensor, tensor.shape[axis:], eps=call.number("epsilon", 1e-5))
    return normed * weight if bias is None else normed * weight + bias


def _rms_norm(call: Call) -> Tensor:
    tensor = call.tensor(0)
    axes = [*range(call.whole("axis", -1) % tensor.dim(), tensor.dim())]
    mean = tensor.square().mean(dim=axes, keepdim=True)
    return tensor / torch.sqrt(mean + call.number("epsilon", 1e-5)) * call.tensor(1)


def _batch_norm(call: Call) -> Tensor:
    call.only("training_mode", 0, 0)
    tensor, weight, bias, mean, variance = (call.tensor(index) for index in range(5))
    return functional.batch_norm(tensor, mean, variance, weight, bias, eps=call.number("epsilon", 1e-5))


def _pooled(call: Call) -> tuple[Tensor, list[int]]:
    """What is pooled, and the kernel."""
    tensor, kernel = call.tensor(0), call.wholes("kernel_shape") or []
    if tensor.dim() != 4 or len(kernel) != 2:
        raise UnknownOperatorError(f"{call.node.title} over {tensor.dim()} axes")
    return tensor, kernel


def _max_pool(call: Call) -> Tensor:
    tensor, kernel = _pooled(call)
    strides, dilations, pads = window(call, tensor)
    if any(pads):
        call.only("ceil_mode", 0, 0)
    padded = _padded(tensor, pads, float("-inf"))
    return functional.max_pool2d(padded, kernel, strides, 0, dilations, bool(call.whole("ceil_mode", 0)))


def _average_pool(call: Call) -> Tensor:
    tensor, kernel = _pooled(call)
    strides, _, pads = window(call, tensor)
    call.only("dilations", None, None)
    call.only("ceil_mode", 0, 0)
    if any(pads) and not call.whole("count_include_pad", 0):
        raise UnknownOperatorError("AveragePool that does not count its pads")
    return functional.avg_pool2d(_padded(tensor, pads), kernel, strides)


def _attention(call: Call) -> Tensor:
    """Of opset 23: queries, keys and values by head, or with all heads in one axis."""
    for name, value in (("is_causal", 0), ("qk_matmul_output_mode", 0)):
        call.only(name, value, value)
    if call.number("softcap", 0.0) or any(call.given(index) is not None for index in (4, 5, 6)):
        raise UnknownOperatorError("Attention with a cap or with what came before")
    queries, keys, values = (call.tensor(index) for index in range(3))
    joined = queries.dim() == 3
    if joined:
        counts = (call.whole("q_num_heads", 0), *[call.whole("kv_num_heads", 0)] * 2)
        queries, keys, values = (
            each.reshape(*each.shape[:2], heads, -1).transpose(1, 2)
            for each, heads in zip((queries, keys, values), counts, strict=True)
        )
    if queries.shape[1] != keys.shape[1]:
        raise UnknownOperatorError("Attention whose queries have more heads than its keys")
    call.spend(2 * prod(fitting([*queries.shape[:3], keys.shape[2]])) * queries.shape[-1])
    mask = call.given(3)
    scale = call.number("scale", 1 / sqrt(queries.shape[-1]))
    attended = functional.scaled_dot_product_attention(queries, keys, values, mask, scale=scale)
    return attended.transpose(1, 2).flatten(2) if joined else attended


def resize(call: Call) -> Tensor:
    """By scales, or to sizes; `linear` and `cubic`."""
    tensor, mode = call.tensor(0), call.text("mode", "nearest")
    if mode not in ("linear", "cubic"):
        raise UnknownOperatorError(f"Resize with mode = {mode}")
    call.only("keep_aspect_ratio_policy", "stretch", "stretch")
    scales, sizes = call.given(2), call.wholes("sizes", 3)
    axes = call.wholes("axes") or [*range(tensor.dim())]
    given = scales.tolist() if scales is not None and scales.numel() else None
    if given is None and sizes is None:
        raise UncomputableError("neither scales nor sizes")
    for place, axis in enumerate(axes):
        length = tensor.shape[axis]
        scale = float(given[place]) if given is not None else (sizes or [])[place] / length
        wanted = (
            (sizes or [])[place] if given is None else int(np.float32(length) * np.float32(scale))
        )  # as runtimes do
        if wanted == length and scale == 1:
            continue
        fitting([*tensor.shape[:axis], wanted, *tensor.shape[axis + 1 :]])
        fitting([wanted, length])
        weights = _weights(call, length, wanted, scale)
        tensor = (tensor.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return tensor


def _weights(call: Call, length: int, wanted: int, scale: float) -> Tensor:
    """How much each of `length` places counts in each of the `wanted` ones: (wanted, length)."""
    cubic = call.text("mode", "") == "cubic"
    factor = call.number("cubic_coeff_a", -0.75)
    stretch = max(1.0, 1 / scale) if call.whole("antialias", 0) else 1.0
    centres = _centres(call, length, wanted, scale)
    reach = (2.0 if cubic else 1.0) * stretch
    first = torch.floor(centres - reach).to(torch.int64)
    count = int(2 * reach) + 2
    weights = torch.zeros(wanted, length, dtype=torch.float64)
    inside = call.whole("exclude_outside", 0) == 1
    for step in range(count + 1):
        neighbours = first + step
        away = ((neighbours - centres) / stretch).abs()
        kernel = _cubic(away, factor) if cubic else (1 - away).clamp(min=0)
        if inside:
            kernel = torch.where((neighbours < 0) | (neighbours >= length), 0.0, kernel)
        weights.scatter_add_(1, neighbours.clamp(0, length - 1)[:, None], kernel[:, None])
    return weights / weights.sum(dim=1, keepdim=True)


def _centres(call: Call, length: int, wanted: int, scale: float) -> Tensor:
    """Where the middle of each new place lies among the old ones."""
    mode = call.text("coordinate_transformation_mode", "half_pixel")
    new = torch.arange(wanted, dtype=torch.float64)
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and wanted > 1):
        return (new + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return new * 0
    if mode == "align_corners":
        return new * ((length - 1) / (wanted - 1) if wanted > 1 else 0.0)
    if mode == "asymmetric":
        return new / scale
    raise UnknownOperatorError(f"Resize with coordinate_transformation_mode = {mode}")


def _cubic(away: Tensor, factor: float) -> Tensor:
    """The cubic kernel of Keys with its free parameter."""
    near = ((factor + 2) * away - (factor + 3)) * away.square() + 1
    far = ((factor * away - 5 * factor) * away + 8 * factor) * away - 4 * factor
    return torch.where(away <= 1, near, torch.where(away < 2, far, 0.0))


LAYERS: Mapping[str, Callable[[Call], Results]] = {
    "MatMul": lambda call: product(call, call.tensor(0), call.tensor(1)),
    "Gemm": _gemm,
    "Conv": lambda call: convolve(call, call.tensor(0), call.tensor(1), call.given(2)),
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "BatchNormalization": _batch_norm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda call: call.tensor(0).mean(dim=[*range(2, call.tensor(0).dim())], keepdim=True),
    "Attention": _attention,
    "Resize": resize,
}


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
    call.only("output_dtype", 0, 0)
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
