"""A timm folder's config.json, held against the one that a conversion writes."""

from collections.abc import Callable, Iterator, Mapping

from dinoport.codebases.fields import HARMLESS, Effect, Finding, same_json
from dinoport.codebases.timm.arguments import BEGUN, OF_RESNET, OF_VIT, strange
from dinoport.codebases.timm.builders import BUILDERS, CLASS_DEFAULTS, DINOV3
from dinoport.codebases.timm.class_arguments import TRAINING, fixed_arguments
from dinoport.codebases.timm.config import classes_in, input_channels, preprocessing_in
from dinoport.networks.preprocessing import Preprocessing

BUILDING = ("architecture", "num_classes", "model_args")
"""Fields by which another model is built."""

PIXELS = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
"""Fields of `pretrained_cfg` by which pictures become another input."""

LOADING = ("custom_load", "state_dict", "url", "file", "hf_hub_id", "hf_hub_filename", "source")
"""Fields of `pretrained_cfg` by which timm may load other weights."""

FOR_PEOPLE = (
    *("architecture", "tag", "license", "description", "origin_url", "paper_name", "paper_ids", "notes"),
    *("label_names", "label_descriptions", "num_classes", "classifier", "pool_size"),
    *("test_input_size", "min_input_size", "test_crop_pct", "test_pool_size"),
)
"""Fields of `pretrained_cfg` that timm knows and that change nothing of a model built with `num_classes`. It loads no
folder that has a field it does not know."""

OURS = "dinoport"


def compare_config(expected: Mapping[str, object], found: Mapping[str, object]) -> Iterator[Finding]:
    """What differs in `found`, with what that does."""
    whole, other = built(expected), built(found)
    known = whole is not None and other is not None
    for name in sorted((expected.keys() | found.keys()) - {OURS, "pretrained_cfg"}):
        ours, theirs = (classes_in(each) if name == "num_classes" else each.get(name) for each in (expected, found))
        by_arguments = known and name in ("architecture", "model_args")
        if not same_json(ours, theirs) and not by_arguments:
            yield Finding(name, ours, theirs, "outputs" if name in BUILDING else "none")
    if whole is not None and other is not None:
        for name in sorted(name for name in whole.keys() | other.keys() if whole.get(name) != other.get(name)):
            effect = _of_argument(name, classes_in(found))
            yield Finding(f"model_args.{name}", whole.get(name), other.get(name), effect)
    described, theirs = (each.get("pretrained_cfg") for each in (expected, found))
    if not isinstance(described, Mapping) or not isinstance(theirs, Mapping):
        yield Finding("pretrained_cfg", described, theirs, "outputs")
        return
    arguments = found.get("model_args")
    sized = isinstance(arguments, Mapping) and "img_size" in arguments
    alike = makes_alike(described, theirs) and input_channels(described) == input_channels(theirs)
    for name in sorted(described.keys() | theirs.keys()):
        ours, value = described.get(name), theirs.get(name)
        if alike and name in PIXELS:
            continue
        if not same_json(ours, value) or (name not in described and name not in FIELDS):
            yield Finding(f"pretrained_cfg.{name}", ours, value, _effect(name, value, sized=sized))


ADAPTING: Mapping[str, Callable[[object], bool]] = {
    "label_offset": lambda value: not value,
    "first_conv": lambda value: (
        value is None or all(isinstance(each, str) for each in (value if isinstance(value, list) else [value]))
    ),
    "fixed_input_size": lambda value: not value,
}
"""Fields of `pretrained_cfg` by which timm fits weights to another model, and what says that it does not."""

FIELDS = frozenset({*PIXELS, *LOADING, *FOR_PEOPLE, *ADAPTING})


def _effect(name: str, value: object, *, sized: bool) -> Effect:
    """What a field does; one that is `sized` is built for the size in `model_args`, and for no other."""
    if name in LOADING:
        return "opens" if value else "none"
    if name in ADAPTING:
        return "none" if ADAPTING[name](value) or (name == "fixed_input_size" and sized) else "outputs"
    return "outputs" if name in PIXELS else "none" if name in FOR_PEOPLE else "unknown"


def builds_alike(expected: Mapping[str, object], found: Mapping[str, object]) -> bool:
    """Whether timm may be given the folder: it builds what a conversion of this source builds, and nothing larger."""
    if all(same_json(expected.get(name), found.get(name)) for name in BUILDING):
        return True
    whole, other = built(expected), built(found)
    if whole is None or other is None or not same_json(classes_in(expected), classes_in(found)):
        return False
    differing = [name for name in whole.keys() | other.keys() if whole.get(name) != other.get(name)]
    return all(_of_argument(name, classes_in(found)) in HARMLESS for name in differing)


def _of_argument(name: str, classes: object) -> Effect:
    """What another value of an argument does that no tensor shows."""
    if name == "global_pool" and classes == 0:
        return "pooled"
    return "none" if name in LIMITS else "outputs"


def makes_alike(expected: Mapping[str, object], found: Mapping[str, object]) -> bool:
    """Whether two `pretrained_cfg` make the same of a picture: of a share that is cropped, the size before counts."""
    one, other = map(preprocessing_in, (expected, found))
    if not isinstance(one, Preprocessing) or not isinstance(other, Preprocessing):
        return False
    return all(getattr(one, name) == getattr(other, name) for name in ("resize", "crop", "resample", "mean", "std"))


LIMITS = ("dynamic_img_size",)
"""Arguments that say which sizes of pictures a model takes, and change nothing of what it computes."""


def built(config: Mapping[str, object]) -> dict[str, object] | None:
    """All that a builder which is known here is asked for, one spelling for each thing; None for another."""
    builder, arguments = BUILDERS.get(str(config.get("architecture")).partition(".")[0]), config.get("model_args", {})
    if builder is None or not isinstance(arguments, Mapping) or any(strange(builder.name, arguments)):
        return None
    asked = {name: value for name, value in arguments.items() if name not in TRAINING}
    if "num_classes" in asked and asked["num_classes"] == classes_in(config):
        del asked["num_classes"]  # of another number timm begins a classifier of its own
    pool = OF_VIT if builder.name.startswith("vit_") and builder not in DINOV3 else OF_RESNET
    whole = {**CLASS_DEFAULTS, "global_pool": pool, **builder.arguments, **asked, **fixed_arguments(builder.name)}
    begun = {name: CLASS_DEFAULTS["ls_init_value"] for name in BEGUN if whole[name] is not None}  # by any number
    whole |= {"norm_eps": builder.eps if whole["norm_eps"] is None else whole["norm_eps"], **begun}
    if builder in DINOV3:
        whole.pop("img_size", None)
    sides = whole.get("img_size")
    if isinstance(sides, list) and len(sides) == 2 and sides[0] == sides[1]:
        whole["img_size"] = sides[0]
    return whole
