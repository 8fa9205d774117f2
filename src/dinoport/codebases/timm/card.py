"""What a card says of a timm folder: how timm, and Transformers through timm, load and run it, and what to mind."""

from dinoport.codebases.card import sizes_lines
from dinoport.codebases.target import Target
from dinoport.codebases.timm.builders import CONVNEXT
from dinoport.shown.text import python_text

ON_DISK, AT_HUB = "local-dir:", "hf-hub:"
"""How timm tells a folder on this machine from a repository of the Hub."""


def address(folder: str, where: str = ON_DISK) -> str:
    """The folder as timm takes it, as a literal of Python."""
    return python_text(f"{where}{folder}")


def example(target: Target, folder: str) -> list[str]:
    """Python that loads the folder and runs it on a picture, as a vector, as feature maps, and through Transformers."""
    load = f"timm.create_model({address(folder)}, pretrained=True"
    maps = [
        "",
        "# One feature map for each block, or stage, that is asked for:",
        f"backbone = {load}, features_only=True, out_indices=[-1]).eval()",
        "last_map = backbone(pixels)[0]",
        "",
        "# The same folder in Transformers, which runs it by timm (TimmWrapperModel):",
        "from transformers import AutoModel",
        "",
        f"wrapped = AutoModel.from_pretrained({python_text(folder)})",
    ]
    model = [f"model = {load}).eval()"]
    if target.channels != 3:
        size = f"{target.channels}, {target.image_size}, {target.image_size}"
        pixels = f"pixels = torch.zeros(1, {size})  # yours: values as in training"
        return ["import timm", "import torch", "", *model, pixels, _result(target), *maps]
    return [
        "import timm",
        "from PIL import Image",
        "",
        *model,
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))",
        'pixels = transform(Image.open("picture.jpg").convert("RGB"))[None]',
        _result(target),
        *maps,
    ]


def _result(target: Target) -> str:
    if target.classifies:
        return "print(model(pixels).argmax(-1).item())  # the number of the class"
    if target.config["architecture"] == "resnet50":
        return "features = model(pixels)  # one vector a picture"
    return "features = model(pixels)  # the CLS token; model.forward_features(pixels) gives all tokens"


def cautions(target: Target, *, proven: bool) -> list[str]:
    """What may be otherwise than expected."""
    lines = [
        "- timm 1.0.16 or later loads a folder on disk; published on the Hub, `hf-hub:USER/NAME` takes the place of "
        "`local-dir:…`."
    ]
    arguments = target.config["model_args"]
    if isinstance(arguments, dict) and "global_pool" in arguments:
        lines[0] = lines[0].replace("1.0.16", "1.0.20")
    if target.config["architecture"] in {builder.name for builder in CONVNEXT}:
        lines.append(
            "- timm's ConvNeXt norms the pooled vector alone: that is the original's CLS token. Patch tokens are "
            "`model.forward_features`, each place of the map normed by `model.head.norm`'s weights."
        )
    lines += sizes_lines(target, "timm", "transform", "--to timm --image-size N", proven=proven)
    preprocessing = target.preprocessing
    if preprocessing and preprocessing.crop is None and target.channels == 3:
        lines.append(
            f"- The transform makes a square of {preprocessing.size}×{preprocessing.size} pixels (bilinear), as the "
            "original's README does; timm's own DINOv3 folders resize the shorter side (bicubic) and crop."
        )
    if target.channels != 3:
        lines.append(f"- No transform is known for {target.channels} channels: scale and normalise as in training.")
    return lines
