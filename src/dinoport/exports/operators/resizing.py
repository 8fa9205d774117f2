"""ONNX's Resize: each axis by a matrix of weights, in float64."""

import torch

from dinoport.exports.operators.call import Call, Tensor, UncomputableError, UnknownOperatorError, fitting


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
        wanted = (sizes or [])[place] if given is None else int(length * scale)
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
    inside = call.whole("exclude_outside", 0) == 1 or call.whole("antialias", 0) == 1
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
