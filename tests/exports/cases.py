"""The models whose graphs are recorded, or exported while the tests run: narrow, of every network."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dinoport.networks.convnext.architecture import ConvNeXt
from dinoport.networks.resnet.architecture import ResNet
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request
from tests import formula
from tests.models import classifying, dinov2, renamed

RECORDED = Path(__file__).parents[1] / "fixtures" / "onnx"

VIT = ViT(width=16, depth=2, heads=2, mlp_hidden=32, patch_size=8, image_size=32)
V2 = dinov2(width=16, depth=2, heads=2, mlp_hidden=32, patch_size=7, image_size=28)
V3 = RotaryViT(width=16, depth=2, heads=2, mlp_hidden=32, patch_size=8, registers=2, key_bias_mask=True)


@dataclass(frozen=True)
class Exportable:
    """A model, and the size of the picture that its graph is traced with."""

    architecture: Any
    size: int

    @property
    def request(self) -> Request:
        heads = getattr(self.architecture, "heads", None)
        return Request(num_heads=heads)

    def write(self, folder: Path) -> Path:
        """The original's file, filled by the formula."""
        import torch

        shapes = renamed(self.architecture.tensors(), "classifier", "head")
        path = folder / "original.pth"
        torch.save({name: torch.from_numpy(values.copy()) for name, values in formula.state_dict(shapes).items()}, path)
        return path


CASES = {
    "vit": Exportable(VIT, 32),
    "vit-classifier": Exportable(classifying(VIT, 3), 32),
    "dinov2": Exportable(V2, 28),
    "dinov2-registers": Exportable(replace(V2, registers=2), 28),
    "dinov2-swiglu": Exportable(replace(V2, mlp_hidden=48, feed_forward="swiglu"), 28),
    "dinov3": Exportable(V3, 32),
    "dinov3-swiglu": Exportable(replace(V3, feed_forward="swiglu"), 32),
    "dinov3-convnext": Exportable(ConvNeXt(depths=(1, 2, 1, 1), widths=(4, 8, 12, 16)), 64),
    "resnet": Exportable(ResNet(), 64),
}
