"""What timm's `config.json` says of a model besides its weights: heads, eps, base, classes, and the transform of its
evaluation; and what a conversion of ours has kept there of the original.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import floor
from typing import Any

from dinoport.codebases.record import MAX_SIDE, classifier_in, losses, record_of
from dinoport.codebases.stranger_refusals import refuse_builder
from dinoport.codebases.timm.architectures import EPS, EPS_OF, series_of
from dinoport.codebases.timm.arguments import arguments_of, other_head, refuse_strange
from dinoport.codebases.timm.builders import BUILDERS, EVA02
from dinoport.files.names import short_text
from dinoport.model import Origin, Stated
from dinoport.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from dinoport.networks.rotary_vit.rope import MAX_THETA

TIMM_RESAMPLES = "size-antialias"

PRETRAINED = "pretrained_cfg in config.json"


@dataclass(frozen=True)
class TimmConfig:
    """`num_heads` is None where neither the file nor its builder says it, `preprocessing` where there is none.

    `family` is whose model it is, where the folder is one of ours or the builder is one family's; `other_head` says why
    its classifier is another than the family's; `record` is our own field, `labels` are the names of classes. `own` are
    the settings that its `model_args` say, by the field of a request. `described` is its pretrained_cfg, `classes` the
    number of classes that it says.
    """

    num_heads: int | None
    preprocessing: Preprocessing | None
    layer_norm_eps: float | None = None
    rope_theta: float | None = None
    family: str | None = None
    labels: Mapping[int, str] | None = None
    record: Mapping[str, object] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    architecture: str = ""
    own: frozenset[str] = frozenset()
    other_head: str | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    described: Mapping[str, object] = field(default_factory=dict)
    classes: object = None

    @property
    def stated(self) -> dict[str, Stated]:
        """What it says by the field of a request: in `model_args`, or by the builder that it names."""
        values = {
            "num_heads": self.num_heads,
            "layer_norm_eps": self.layer_norm_eps,
            "rope_theta": self.rope_theta,
            "interpolation": None if self.record else TIMM_RESAMPLES,
        }
        builder = f"timm's {self.architecture[:60]}, in config.json"
        said = {name: (f"{name} in config.json", Origin.STORED) for name in self.own}
        said["interpolation"] = ("timm resamples so, whatever the model", Origin.INFERRED)
        return {
            name: Stated(value, *said.get(name, (builder, Origin.INFERRED)))
            for name, value in values.items()
            if value is not None
        }

    @property
    def classifier(self) -> str | None:
        """What the original calls the classifier that looks at the CLS token; None where that is not known."""
        return classifier_in(self.record)


def timm_config(where: str, config: Mapping[str, object]) -> TimmConfig | None:
    """Read a config.json; None where it is not timm's. Raises SettingError for arguments that are not known."""
    architecture = config.get("architecture")
    if not isinstance(architecture, str):
        return None
    refuse_builder(where, architecture)
    arguments = arguments_of(where, config)
    refuse_strange(where, architecture, arguments)
    builder, base = BUILDERS.get(architecture), arguments.get("rope_temperature", OF_EVA02.get(architecture))
    named, given = series_of(architecture), arguments.get("num_heads")
    usual = named[0].eps if named else EPS_OF.get(architecture.partition(".")[0])
    usual = builder.eps if builder else usual
    if "norm_layer" in arguments:
        usual = EPS  # of timm's own LayerNorm, which takes the place of the builder's
    eps = usual if arguments.get("norm_eps") is None else arguments["norm_eps"]
    described = config.get("pretrained_cfg", {} if "model_args" in config else config)
    transform = preprocessing_in(described, arguments)
    return TimmConfig(
        given if type(given) is int else named[1] if named else None,
        transform if isinstance(transform, Preprocessing) else None,
        layer_norm_eps=float(eps) if isinstance(eps, int | float) and 0 < eps < 1 else None,
        rope_theta=float(base) if isinstance(base, int | float) and 0 < base < MAX_THETA else None,
        family=_family(named[0].family if named else None, arguments, config),
        labels=_labels(config, described),
        record=record_of(config),
        remarks=(
            *losses(config),
            *([transform] if isinstance(transform, str) else []),
        ),
        warnings=tuple(_of_builder(architecture, config)),
        architecture=architecture,
        own=frozenset(name for name, key in OWN.items() if arguments.get(key) is not None),
        arguments=arguments,
        described=described if isinstance(described, Mapping) else {},
        classes=classes_in(config),
        other_head=other_head(
            architecture, arguments.get("global_pool", config.get("global_pool")), arguments.get("fc_norm")
        ),
    )


def _of_builder(architecture: str, config: Mapping[str, object]) -> Iterator[str]:
    """A word on a builder that is not known here: a later version's, or one that a user registered."""
    name = architecture.partition(".")[0]
    is_known = name in BUILDERS or name in EPS_OF or name.startswith(("convnext", "resnet")) or series_of(name)
    if not is_known and not record_of(config):
        yield f"timm's {short_text(name)} is not known here: it may compute what no tensor shows"
    if "model_args" in config and "pretrained_cfg" not in config:
        yield "timm itself cannot load this config.json: it has model_args, and no pretrained_cfg"


OF_EVA02 = {EVA02.name: 10_000.0}
"""The base that timm's class rotates by where neither its builder nor `model_args` say one: DINOv3's builders do."""

OWN = {"num_heads": "num_heads", "layer_norm_eps": "norm_eps", "rope_theta": "rope_temperature"}
"""Fields of a request that `model_args` may say, by their names there."""


def _family(named: str | None, arguments: Mapping[str, object], config: Mapping[str, object]) -> str | None:
    own = record_of(config).get("family")
    return own if isinstance(own, str) else named or ("dinov3" if arguments.get("rope_type") == "dinov3" else None)


def classes_in(config: Mapping[str, object]) -> object:
    """How many classes a config says: its outermost part counts before its pretrained_cfg."""
    described = config.get("pretrained_cfg")
    return config.get("num_classes", described.get("num_classes") if isinstance(described, Mapping) else None)


def _labels(config: Mapping[str, object], described: Any) -> dict[int, str] | None:
    """The names of classes, under today's name or the one of old folders, which have one part alone."""
    old = described.get("label_names", config.get("labels") if described is config else None)
    found = config.get("label_names", old)
    if not isinstance(found, list) or len(found) != classes_in(config):
        return None
    return dict(enumerate(found)) if all(isinstance(name, str) for name in found) else None


def preprocessing_in(found: Any, arguments: Mapping[str, object] | None = None) -> Preprocessing | str | None:
    """Timm's `create_transform`: the shorter side is the input's size over `crop_pct`, rounded down.

    A text says which field has a value that is not known here; None is for a config that says nothing of a transform.
    """
    if not isinstance(found, Mapping) or not TRANSFORM.keys() & found.keys():
        return None
    fields = TRANSFORM | {name: found[name] for name in TRANSFORM if found.get(name) is not None}
    asked = arguments or {}
    said = asked.get("in_chans")
    channels = said if isinstance(said, int) and 0 < said < MAX_SIDE else input_channels(found)
    side = built_side(asked, found)
    if side is not None and FITS["input_size"](fields["input_size"]):
        fields["input_size"] = [fields["input_size"][0], side, side]
    strange = [name for name, value in fields.items() if not FITS[name](value)]
    if fields["crop_mode"] == "squash" and fields["crop_pct"] != 1:  # a square of which the middle is cropped
        strange.append("crop_pct")
    if not strange:
        fields |= {name: fields[name] * channels for name in STATISTICS if len(fields[name]) == 1}
        strange = [name for name in STATISTICS if found.get(name) is not None and len(fields[name]) != channels]
    if strange:
        return f"the transform of pretrained_cfg is not taken: {strange[0]} = {short_text(fields[strange[0]])}"
    side = fields["input_size"][2]
    crops = fields["crop_mode"] == "center"
    return Preprocessing(
        resize=floor(side / fields["crop_pct"]) if crops else side,
        crop=side if crops else None,
        resample=fields["interpolation"],
        mean=tuple(fields["mean"]),
        std=tuple(fields["std"]),
        reason="as timm takes it where pretrained_cfg says nothing",
        stored={name: PRETRAINED for name, keys in DECIDED_BY.items() if all(found.get(key) for key in keys)},
    )


def input_channels(described: Mapping[str, Any]) -> int:
    """Of the pictures that a config builds its model for, where its arguments do not say."""
    size: Any = described.get("input_size")
    channels: int = (size if FITS["input_size"](size) else TRANSFORM["input_size"])[0]
    return channels


STATISTICS = ("mean", "std")
"""One number for each channel, or one for all."""


def built_side(arguments: Mapping[str, object], described: Mapping[str, Any]) -> int | None:
    """Pixels along one side of the pictures that a config builds its model for, and that model alone takes.

    None where the model takes any size, or nothing says one that is square.
    """
    size = described.get("input_size")
    if arguments.get("dynamic_img_size") or described.get("fixed_input_size") is not True:
        return None
    side = arguments.get("img_size", size[2] if isinstance(size, list) and len(size) == 3 else None)
    if isinstance(side, list) and len(side) == 2 and side[0] == side[1]:
        side = side[0]
    return side if type(side) is int and 0 < side < MAX_SIDE else None


TRANSFORM: dict[str, Any] = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
    "mean": list(IMAGENET_MEAN),
    "std": list(IMAGENET_STD),
}
"""What `timm/models/_pretrained.py` takes for a field that a config leaves out."""

DECIDED_BY = {
    "resize": ("input_size", "crop_pct"),
    "crop": ("input_size",),
    "resample": ("interpolation",),
    "mean": ("mean",),
    "std": ("std",),
}
"""Which fields each step of the transform follows from."""

FITS: dict[str, Callable[[Any], bool]] = {
    "input_size": lambda size: (
        isinstance(size, list)
        and len(size) == 3
        and all(type(side) is int and 0 < side < MAX_SIDE for side in size)
        and size[1] == size[2]
    ),
    "interpolation": lambda name: name in ("bicubic", "bilinear"),
    "crop_pct": lambda share: type(share) in (int, float) and 0 < share <= 1,
    "crop_mode": lambda name: name in ("center", "squash"),
    "mean": lambda values: _are_numbers(values),
    "std": lambda values: _are_numbers(values) and min(values, default=0) > 0,
}
"""The values that a processor can be written for."""


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(type(value) in (int, float) for value in values)
