"""What a card says of a folder of Transformers: how it is loaded and run, and what to mind."""

from dinoport.codebases.card import sizes_lines
from dinoport.codebases.target import Target
from dinoport.codebases.transformers.forms import CLASSES
from dinoport.networks.preprocessing import Preprocessing
from dinoport.shown.text import python_text


def auto_class(target: Target) -> str:
    return "AutoModelForImageClassification" if target.classifies else CLASSES[target.form].auto


def result(target: Target) -> str:
    """A line of Python that takes what people want from a model's outputs."""
    if target.classifies:
        return "print(model.config.id2label[outputs.logits.argmax(-1).item()])"
    of_cls = "features = outputs.last_hidden_state[:, 0]  # the CLS token"
    return CLASSES[target.form].results.get(target.model_type, of_cls)


def example(target: Target, folder: str) -> list[str]:
    name = python_text(folder)
    if target.channels != 3:
        return _usage_of_channels(target, name)
    return [
        "from PIL import Image",
        f"from transformers import AutoImageProcessor, {auto_class(target)}",
        "",
        f"processor = AutoImageProcessor.from_pretrained({name})",
        f"model = {auto_class(target)}.from_pretrained({name})",
        'inputs = processor(Image.open("picture.jpg").convert("RGB"), return_tensors="pt")',
        "outputs = model(**inputs)",
        result(target),
    ]


def _usage_of_channels(target: Target, name: str) -> list[str]:
    """The same for other than three channels: no processor fits them, and these lines apply what is known."""
    numbers = {field: list(values) for field, values in _statistics(target).items()}
    normalised = "picture - mean" if "mean" in numbers else "picture"
    if "std" in numbers:
        normalised = f"({normalised}) / std" if "mean" in numbers else "picture / std"
    comment = f"yours: {target.channels} channels, values from 0 to 1"
    return [
        "import numpy as np",
        "import torch",
        f"from transformers import {auto_class(target)}",
        "",
        f"model = {auto_class(target)}.from_pretrained({name})",
        f"picture = np.zeros(({target.image_size}, {target.image_size}, {target.channels}))  # {comment}",
        *(f"{field} = {values}" for field, values in numbers.items()),
        f"pixels = np.asarray({normalised}, dtype=np.float32).transpose(2, 0, 1)[None]",
        "outputs = model(torch.tensor(pixels))",
        result(target),
    ]


def _statistics(target: Target) -> dict[str, tuple[float, ...]]:
    """Mean and deviation of each channel, where the user gave one for each."""
    given = target.preprocessing
    known = {"mean": given.mean, "std": given.std} if given else {}
    return {name: values for name, values in known.items() if len(values) == target.channels}


def cautions(target: Target, *, proven: bool) -> list[str]:
    lines: list[str] = []
    if target.pooler is not None:
        if target.pooler:
            load = "`AutoModel` and `ViTModel` load without a missing key: the" if proven else "The"
            lines.append(
                f"- {load} pooler is an identity, and `pooler_output` is the CLS token. With "
                "`add_pooling_layer=False` two unused keys are reported."
            )
        else:
            lines.append(
                "- The folder holds no pooler, as the original has none: load it with `add_pooling_layer=False`; "
                "without it `pooler_output` is noise."
            )
    lines += sizes_lines(target, "Transformers", "image processor", "--image-size N", proven=proven)
    if target.preprocessing and target.preprocessing.crop is None and target.channels == 3:
        lines += _square(target.preprocessing)
    if target.channels != 3:
        lines.append(f"- The folder has no image processor: {_own_preprocessing(target)}.")
    else:
        lines.append(
            "- Open pictures with PIL and convert them to RGB, as above and as the original does. Transformers 5 lays "
            "transparent pictures on white instead, and a path or an address is turned by its orientation tag."
        )
    return lines


def _own_preprocessing(target: Target) -> str:
    """What a user of a model of other than three channels has to do, as far as it is known."""
    words = {"mean": "mean", "std": "standard deviation"}
    values = [
        f"{words[name]} {', '.join(f'{value:g}' for value in numbers)}" for name, numbers in _statistics(target).items()
    ]
    known = f" (from 0 to 1; {'; '.join(values)})" if values else ""
    return f"scale and normalise the {target.channels} channels as in training{known}"


def _square(transform: Preprocessing) -> list[str]:
    """Pictures lose their proportions; and how DINOv3's processor differs from the two transforms of the original."""
    size = transform.size
    if not transform.official:
        square = f"makes a square of {size}×{size} pixels ({transform.resample}), whatever the picture's proportions"
        return [f"- The image processor {square}, {transform.reason}."]
    return [
        "- The image processor is DINOv3's own class, which needs torchvision.",
        f"- It makes a square of {size}×{size} pixels (bilinear), whatever the picture's proportions, as the official "
        "Transformers repositories do with 224×224. The README of facebookresearch/dinov3 makes a square of 256×256 "
        "(bilinear); its classification evaluation makes the shortest side 256 (bicubic) and crops the centre of "
        "224×224. To repeat that evaluation's figures, preprocess as it does.",
    ]
