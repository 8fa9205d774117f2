"""The ResNet-50 that facebookresearch/dino trains: torchvision's, with the stride in the 3×3 convolution."""

from dataclasses import dataclass
from typing import ClassVar

from dinoport.networks.network import Classifier, Network
from dinoport.networks.shapes import linear
from dinoport.tensor import Shape

DEPTHS = (3, 4, 6, 3)
STEM_WIDTH = 64
WIDTHS = (256, 512, 1024, 2048)
BOTTLENECK = 4
"""How much narrower the two inner convolutions of a block are."""


@dataclass(frozen=True)
class ResNet:
    """A bottleneck ResNet for images of `channels`.

    `stride_in_3x3` is true of everything that DINO trained; the first edition of ResNet had the stride in the 1×1
    before. Of a picture of any size it makes one vector; `image_size` is what DINO evaluates with.
    """

    network: ClassVar[Network] = Network("resnet", "ResNet-50", "dinoport.networks.resnet.forward")

    channels: int = 3
    batch_norm_eps: float = 1e-5
    classifier: Classifier | None = None
    image_size: int = 224
    depths: tuple[int, ...] = DEPTHS
    widths: tuple[int, ...] = WIDTHS
    stride_in_3x3: bool = True
    positions: ClassVar[None] = None
    prefix_tokens: ClassVar[int] = 0
    cell: ClassVar[int] = 32

    @property
    def unused(self) -> tuple[str, ...]:
        """Counts of training: a frozen BatchNorm, which computes the same, has none."""
        return tuple(name for name in self.tensors() if name.endswith(".num_batches_tracked"))

    @property
    def strides(self) -> dict[str, int]:
        found = {"conv1.weight": 2}
        for stage, depth in enumerate(self.depths, start=1):
            for block, step in ((f"layer{stage}.{k}", 2 if stage > 1 and k == 0 else 1) for k in range(depth)):
                first, second = (1, step) if self.stride_in_3x3 else (step, 1)
                found |= {f"{block}.conv1.weight": first, f"{block}.conv2.weight": second}
                found |= {f"{block}.downsample.0.weight": step} if block.endswith(".0") else {}
        return found

    def tensors(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"conv1.weight": (STEM_WIDTH, self.channels, 7, 7), **_batch_norm("bn1", STEM_WIDTH)}
        before = STEM_WIDTH
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            inner = width // BOTTLENECK
            for index in range(depth):
                block = f"layer{stage}.{index}"
                shapes |= {f"{block}.conv1.weight": (inner, before, 1, 1), **_batch_norm(f"{block}.bn1", inner)}
                shapes |= {f"{block}.conv2.weight": (inner, inner, 3, 3), **_batch_norm(f"{block}.bn2", inner)}
                shapes |= {f"{block}.conv3.weight": (width, inner, 1, 1), **_batch_norm(f"{block}.bn3", width)}
                if index == 0:
                    shapes |= {f"{block}.downsample.0.weight": (width, before, 1, 1)}
                    shapes |= _batch_norm(f"{block}.downsample.1", width)
                before = width
        return shapes | (linear("classifier", self.classifier.classes, before) if self.classifier else {})


def _batch_norm(name: str, width: int) -> dict[str, Shape]:
    vectors: dict[str, Shape] = {f"{name}.{p}": (width,) for p in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{name}.num_batches_tracked": ()}
