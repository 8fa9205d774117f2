"""What each field of preprocessor_config.json does to an image processor of Transformers: known classes and fields.

Measured in both generations, with and without torchvision (`tests/fixtures/moving`).
"""

from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import NamedTuple

from dinoport.codebases.fields import ALWAYS, Effect, Finding, is_plain, opens, same_json
from dinoport.codebases.transformers.class_fields import is_count

BACKENDS = ("", "Fast", "Pil")
"""Ends of a class's name: who resizes. How far that moves pixels is the pixels proof's to say."""

PLAIN_SIZES = ({"shortest_edge"}, {"height", "width"})

OPTIONS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")

NEEDED = {
    "size": "do_resize",
    "resample": "do_resize",
    "crop_size": "do_center_crop",
    "rescale_factor": "do_rescale",
    "image_mean": "do_normalize",
    "image_std": "do_normalize",
}
"""Fields that have a meaning only where an option is on."""


class Processor(NamedTuple):
    """A class, without its backend: `defaults` are what it takes where the file leaves a field out."""

    name: str
    defaults: Mapping[str, object]


def _processor(name: str, **defaults: object) -> Processor:
    always = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
    return Processor(name, {**always, "do_center_crop": None, "crop_size": None, "do_convert_rgb": None, **defaults})


PROCESSORS = (
    _processor(
        "BitImageProcessor",
        size={"shortest_edge": 224},
        resample=3,
        do_center_crop=True,
        crop_size={"height": 224, "width": 224},
        do_convert_rgb=True,
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
    ),
    _processor(
        "DINOv3ViTImageProcessor",
        size={"height": 224, "width": 224},
        resample=2,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ),
    _processor(
        "ViTImageProcessor",
        size={"height": 224, "width": 224},
        resample=2,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    ),
)

OF_MODELS = dict.fromkeys(("vit", "ijepa", "vit_mae", "vit_msn"), "ViTImageProcessor") | {"dinov2": "BitImageProcessor"}
"""What Transformers takes for a model of this type where the file names no class, as those of 2021 do."""

OTHERS = tuple(
    f"{name}ImageProcessor"
    for name in ("Beit", "Blip", "CLIP", "ConvNext", "DPT", "DeiT", "EfficientNet", "Segformer", "Siglip", "Timm")
)
"""Processors of other models, with which folders of these classes were published: Transformers is given none."""

FIXED: Mapping[str, tuple[object, ...]] = {
    "data_format": (None, "channels_first"),
    "device": (None, "cpu"),
    "pad_size": (None,),
}
"""Fields that some class reads, and values by which no pixel moves."""

# fmt: off
INERT = frozenset((
    "default_to_square", "disable_grouping", "image_seq_length", "processor_class", "_processor_class",
    "feature_extractor_type", "_valid_processor_keys", "crop_pct", "reduce_labels", "do_reduce_labels", "do_pad",
    "return_tensors", "input_data_format",
))
"""Fields that processors write, or wrote once. No processor here reads them when it prepares a picture."""

OF_THE_OBJECT = frozenset((
    "_compile_friendly_resize", "_create_repo", "_further_process_kwargs", "_fuse_mean_std_and_rescale_factor",
    "_get_files_timestamps", "_prepare_image_like_inputs", "_prepare_images_structure", "_preprocess",
    "_preprocess_image_like_inputs", "_set_attributes", "_set_processor_class", "_standardize_kwargs",
    "_upload_modified_files", "_validate_preprocess_kwargs", "backend", "center_crop", "convert_to_rgb",
    "fetch_images", "from_dict", "from_json_file", "from_pretrained", "get_image_processor_dict", "image_processor",
    "is_fast", "normalize", "pad", "preprocess", "process_image", "push_to_hub", "register_for_auto_class", "rescale",
    "rescale_and_normalize", "resize", "save_pretrained", "to_dict", "to_json_file", "to_json_string", "valid_kwargs",
))
# fmt: on
"""Methods and attributes of every processor: a field of such a name takes their place, and no picture is read."""


def processor_of(config: Mapping[str, object], model_type: object = None) -> Processor | None:
    """The class that a file names, by today's field or by the one of old folders, else the one that goes with a model;
    None for one that is not known.
    """
    name = _class_name(config) or OF_MODELS.get(str(model_type))
    return next((each for each in PROCESSORS for end in BACKENDS if f"{each.name}{end}" == name), None)


def _class_name(config: Mapping[str, object]) -> object:
    name, old = config.get("image_processor_type"), config.get("feature_extractor_type")
    if name is None and isinstance(old, str):
        name = old
    return name.replace("FeatureExtractor", "ImageProcessor") if isinstance(name, str) else name


def compare_processor(expected: Mapping[str, object], found: Mapping[str, object]) -> tuple[Finding, ...]:
    """What in a folder's preprocessor_config.json is not what a conversion writes, and what that does to pixels."""
    ours, theirs = processor_of(expected), processor_of(found)
    if ours is None or theirs is None or ours != theirs:
        one, other = (config.get("image_processor_type") for config in (expected, found))
        return (Finding("image_processor_type", one, other, "outputs" if theirs else "unknown"), *_opened(found))
    pixels = effective(ours, expected), effective(theirs, found)
    return tuple(_differing(expected, found, *pixels))


def _differing(
    expected: Mapping[str, object], found: Mapping[str, object], one: Mapping[str, object], other: Mapping[str, object]
) -> Iterator[Finding]:
    for name in sorted({*one, *found}):
        written, there = expected.get(name, one.get(name)), found.get(name, other.get(name))
        if name in NEEDED and one[NEEDED[name]] != other[NEEDED[name]]:
            continue  # the option says it
        if name in KINDS:
            if not fits(name, there) or not same_json(one[name], other[name]):
                yield Finding(name, written, there, "outputs")
        elif not same_json(written, there) or (name in ALWAYS and name not in expected):
            yield Finding(name, written, there, effect_of(name, there))


def effect_of(name: str, value: object) -> Effect:
    """What a field that takes no part in the pixels does."""
    if name in KINDS or name == "image_processor_type":
        return "none"  # its meaning is the same, or has none: `effective` compares that
    if name in FIXED:
        return "none" if value in FIXED[name] else "outputs"
    if opens(name, value):
        return "opens"
    if name in OF_THE_OBJECT or name.startswith("__"):
        return "unknown"
    return "none" if is_plain(value) or (name in INERT and isinstance(value, str)) else "unknown"


def strange_processor_fields(config: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Fields by which a processor may open something, and values that they cannot have; a class that is not known."""
    others = [f"{name}{end}" for name in OTHERS for end in BACKENDS]
    if processor_of(config) is None and _class_name(config) not in (None, *others):
        yield "image_processor_type", config.get("image_processor_type")
    for name, value in config.items():
        if not fits(name, value) or effect_of(name, value) in ("opens", "unknown"):
            yield name, value


def known_processor(config: Mapping[str, object]) -> dict[str, object]:
    """What of a preprocessor_config.json Transformers is given: nothing of a class that is not among these.

    Ask `strange_processor_fields` first.
    """
    if processor_of(config) is None:
        return {}
    names = ("image_processor_type", "feature_extractor_type", *KINDS)
    return {name: config[name] for name in names if name in config}


def _opened(found: Mapping[str, object]) -> tuple[Finding, ...]:
    effects = {name: effect_of(name, value) for name, value in found.items()}
    return tuple(Finding(name, None, found[name], effect) for name, effect in effects.items() if effect == "opens")


def effective(processor: Processor, config: Mapping[str, object]) -> dict[str, object]:
    """The fields that make pixels, as the class takes them."""
    whole = {**processor.defaults, **{name: config[name] for name in KINDS if name in config}}
    for name in OPTIONS:
        whole[name] = bool(whole[name]) if whole[name] is None else whole[name]
    for name in ("size", "crop_size"):
        whole[name] = _sides(processor, name, whole[name], "default_to_square" in config)
    for name in ("image_mean", "image_std"):
        if isinstance(values := whole[name], list) and fits(name, values):
            whole[name] = [float(value) for value in values]
    for name, option in NEEDED.items():
        if whole[option] is False:
            whole[name] = None
    whole["do_convert_rgb"] = whole["do_convert_rgb"] or False
    return whole


def _sides(processor: Processor, name: str, value: object, squared_by_field: bool) -> object:
    """A size without the empty fields that version 5 writes, and a number as what it stands for."""
    if isinstance(value, dict):
        return {side: length for side, length in value.items() if length is not None}
    if is_count(value) and (name == "crop_size" or not squared_by_field):
        squared = name == "crop_size" or processor.name != "BitImageProcessor"
        return {"height": value, "width": value} if squared else {"shortest_edge": value}
    return value


def fits(name: str, value: object) -> bool:
    """Whether a field that makes pixels has a value that it may have."""
    return name not in KINDS or KINDS[name](value)


def _is_size(value: object) -> bool:
    if isinstance(value, dict):
        sides = {side for side, length in value.items() if length is not None}
        return sides in PLAIN_SIZES and all(is_count(length) for length in value.values() if length is not None)
    return value is None or is_count(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and isfinite(value)


def _are_statistics(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(map(_is_number, values))


KINDS: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys((*OPTIONS, "do_convert_rgb"), lambda value: value is None or type(value) is bool),
    "size": _is_size,
    "crop_size": _is_size,
    "resample": lambda value: type(value) is int and 0 <= value <= 5,
    "rescale_factor": _is_number,
    "image_mean": _are_statistics,
    "image_std": lambda value: _are_statistics(value) and value not in (0, [0]),
}
"""Fields that make the pixels, and the values that they may have."""
