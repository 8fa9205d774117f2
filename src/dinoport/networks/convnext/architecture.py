"""The ConvNeXt of facebookresearch/dinov3 (`dinov3/models/convnext.py`)."""

from dataclasses import dataclass
from typing import ClassVar

from dinoport.networks.network import Network
from dinoport.networks.shapes import linear, norm
from dinoport.tensor import Shape


@dataclass(frozen=True)
class ConvNeXt:
    """A ConvNeXt of four stages; `depths` in blocks, `widths` in channels."""

    network: ClassVar[Network] = Network("convnext", "ConvNeXt", "dinoport.networks.convnext.forward")

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    channels: int = 3
    layer_scale: bool = True
    layer_norm_eps: float = 1e-6
    image_size: int = 224
    classifier: ClassVar[None] = None
    positions: ClassVar[None] = None
    prefix_tokens: ClassVar[int] = 1
    cell: ClassVar[int] = 32

    @property
    def strides(self) -> dict[str, int]:
        own = {f"downsample_layers.{stage}.1.weight": 2 for stage in range(1, len(self.widths))}
        return {"downsample_layers.0.0.weight": 4, **own}

    def tensors(self) -> dict[str, Shape]:
        stem = self.widths[0]
        shapes: dict[str, Shape] = {
            "downsample_layers.0.0.weight": (stem, self.channels, 4, 4),
            "downsample_layers.0.0.bias": (stem,),
            **norm("downsample_layers.0.1", stem),
        }
        for stage in range(1, len(self.widths)):
            before, width = self.widths[stage - 1], self.widths[stage]
            shapes |= norm(f"downsample_layers.{stage}.0", before)
            shapes[f"downsample_layers.{stage}.1.weight"] = (width, before, 2, 2)
            shapes[f"downsample_layers.{stage}.1.bias"] = (width,)
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for block in (f"stages.{stage}.{index}" for index in range(depth)):
                if self.layer_scale:
                    shapes[f"{block}.gamma"] = (width,)
                shapes |= {f"{block}.dwconv.weight": (width, 1, 7, 7), f"{block}.dwconv.bias": (width,)}
                shapes |= norm(f"{block}.norm", width)
                shapes |= linear(f"{block}.pwconv1", 4 * width, width) | linear(f"{block}.pwconv2", width, 4 * width)
        return shapes | norm("norm", self.widths[-1]) | norm("norms.3", self.widths[-1])
