"""ResNet: the home of DINO's ResNet-50 in timm (`timm/models/resnet.py`), whose names are torchvision's too."""

from collections.abc import Mapping

from dinoport.codebases.codebase import canonical_rules
from dinoport.codebases.target import Target, input_size
from dinoport.codebases.timm.builders import RESNET
from dinoport.codebases.timm.pretrained import folder_of
from dinoport.codebases.timm.refusals import refuse, refuse_head
from dinoport.model import Model
from dinoport.networks.resnet.architecture import WIDTHS, ResNet
from dinoport.request import Request


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """Timm's ResNet, with its classifier if it has one. Raises UnknownModelError for another kind of bottleneck."""
    network = model.architecture_as(ResNet)
    refuse_head(model)
    if not network.stride_in_3x3:
        raise refuse(model, "this stride", "the stride in the first 1×1 convolution of a block")
    if network.widths != WIDTHS or network.batch_norm_eps != RESNET.eps:
        raise refuse(model, "these sizes", f"widths {network.widths}, BatchNorm eps {network.batch_norm_eps:g}")
    size = input_size(request, network.image_size, 1)
    rules = canonical_rules(network.tensors(), "fc" if network.classifier else None)
    layers = ("conv1", "fc")
    return folder_of(model, request, labels, RESNET, shown(network), rules, size, layers, classifier=model.classifier)


def shown(network: ResNet) -> dict[str, object]:
    """What timm's class is asked for that tensors show."""
    return {"layers": list(network.depths), "in_chans": network.channels}
