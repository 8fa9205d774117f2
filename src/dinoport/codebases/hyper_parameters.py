"""What `save_hyperparameters()` of Lightning kept of a user's module: settings of a model, in whatever form they have.

The names are the user's own, and may describe another model than the one that is read. So they are held against its
tensors, and what may be another layer's is not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dinoport.codebases.vit_sizes import refuse_oblong
from dinoport.errors import SettingError
from dinoport.model import Origin, Stated
from dinoport.shown.text import counted

WHERE = "hyper_parameters of Lightning"

MAX_DEPTH, MAX_PARTS = 6, 500

SETTINGS: Mapping[str, tuple[str, ...]] = {
    "num_heads": ("num_heads", "num_attention_heads", "n_heads"),
    "layer_norm_eps": ("layer_norm_eps", "norm_eps"),
    "rope_theta": ("rope_theta", "pos_embed_rope_base"),
    "lora_alpha": ("lora_alpha",),
}
"""What users call these."""

ONLY_OF_A_MODEL: Mapping[str, tuple[str, ...]] = {"num_heads": ("heads", "nhead"), "layer_norm_eps": ("eps",)}
"""The same, where the part that has them says something else of a model, and nothing of an optimizer."""

SIZES: Mapping[str, tuple[str, ...]] = {
    "width": ("embed_dim", "hidden_size", "d_model", "width"),
    "depth": ("depth", "num_layers", "num_hidden_layers", "n_layers"),
    "patch_size": ("patch_size",),
    "image_size": ("image_size", "img_size"),
}
"""What the tensors show too, by the field of an architecture."""

OF_PICTURES = ("image_size",)
"""A size that a training's pictures may have, whatever the model's table is for."""

TEXT_OF_EPS = re.compile(r"([0-9]{1,20}\.?[0-9]{0,20}|\.[0-9]{1,20})e-[0-9]{1,2}", re.IGNORECASE)

UNSEEN = ("qk_norm", "use_qk_norm", "qk_layernorm", "use_qk_layernorm", "qk_normalization")
"""What users call norms of queries and keys. No network here has them, and one without weights shows in no tensor."""

ACTIVATIONS = ("hidden_act", "act_layer")
"""What users call the activation of a backbone, in the part that says its heads or its eps."""

OF_THE_NETWORKS = re.compile(r"(.*\.)?(gelu(_python|, none)?|silu|swish|swiglu)", re.IGNORECASE)
"""What the networks here have: the tensors tell which of them."""

OF_A_MODEL = frozenset(name for names in (SETTINGS["num_heads"], *SIZES.values()) for name in names)

OF_AN_OPTIMIZER = frozenset({"lr", "learning_rate", "weight_decay", "betas", "momentum", "optimizer", "optim"})

OF_LANGUAGE = frozenset({"vocab_size", "num_key_value_heads", "max_position_embeddings"})
"""What the part of a language model says, whatever the part is called. It too has heads, an eps and a `rope_theta`."""

UNHELD = {"rope_theta": (Origin.INFERRED, True)}
"""What no tensor confirms, so that the verdict's first line names it: another network's part may have said it."""

OF_OTHERS = re.compile(
    r".*(optim|sched|loss|criterion|decoder|predictor|text|lang|llm|neck|head|project|augment|transform|(?<!meta)data|train"
    r"|callback|logger|adapter|probe|discriminator|fusion|detect|classif).*"
)
"""Parts whose values are not a backbone's."""


@dataclass(frozen=True)
class HyperParameters:
    """`stated` are settings by the field of a request; `several` what says two values of one field, in words. `sizes`
    come from the parts that state a setting, `others` from the outermost part; `untaken` is for the report. `unseen` is
    what they say that no tensor shows, and no network here computes; `sides` are those of pictures; `is_elsewhere`
    says that their key does not mean a model by its name.
    """

    stated: Mapping[str, Stated] = field(default_factory=dict)
    several: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    others: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    untaken: tuple[str, ...] = ()
    where: str = WHERE
    unseen: tuple[str, ...] = ()
    sides: tuple[tuple[object, str], ...] = ()
    is_elsewhere: bool = False

    @property
    def says(self) -> bool:
        """Whether they say anything of a model."""
        return bool(self.stated or self.several or self.unseen)

    def as_doubted(self) -> HyperParameters:
        """The same, where they may speak of another model: the verdict's first line names what is taken."""
        own = {name: each._replace(origin=Origin.INFERRED, doubted=True) for name, each in self.stated.items()}
        return replace(self, stated=own)

    def taken(self, stated: Mapping[str, Stated]) -> HyperParameters:
        """Only what is among the settings that are `stated` in the end, and what no other word has settled."""
        own = {name: each for name, each in self.stated.items() if stated.get(name) is each}
        several = {name: said for name, said in self.several.items() if name not in stated}
        asked = own.keys() - {"rope_theta"}  # which no option gives, to get past a refusal
        return replace(self, stated=own, several=several, sizes=self.sizes if asked else {})

    def unlike(self, architecture: object) -> tuple[str, str] | None:
        """A size that the tensors contradict, and what they have."""
        found = ((f"{spelled} {value}", f"{own}, as the tensors have it")
                 for name, (value, spelled) in self.sizes.items()
                 if name not in OF_PICTURES and (own := getattr(architecture, name, value)) != value)  # fmt: skip
        return next(found, None)

    def fitting(self, architecture: object) -> HyperParameters:
        """The same; with nothing to take where they lie elsewhere and describe another model."""
        return replace(self, stated={}, several={}) if self.is_elsewhere and self.unlike(architecture) else self

    def refuse_unlike(self, where: str, architecture: object, read: int | None, *, assumed: bool) -> None:
        """Raise SettingError where they say two numbers of heads, or describe another model than the tensors.

        `read` is the number of heads that the weights show; `assumed` says that nothing else tells it.
        """
        heads = getattr(architecture, "heads", None)
        if heads is None:
            return
        for sides, spelled in self.sides:
            refuse_oblong(where, f"{spelled} in {self.where}", sides, architecture)
        if self.unseen:
            raise SettingError(
                f"{where} describes another model in its {self.where}",
                expected="queries and keys without norms or a scale of their own, and an exact GELU or a gate by SiLU",
                found=self.unseen[0],
                cause="parts without weights, which no tensor shows, or another layer's values",
                next_step="if the backbone has no such part: save its state dict alone with torch.save, and give that",
            )
        if assumed and (said := self.several.get("num_heads")):
            raise self._unlike(where, "says two numbers of heads", said, "one number for the backbone")
        if unlike := self.unlike(architecture):
            raise self._unlike(where, "describes another model", *unlike)
        if "num_heads" in self.stated and read not in (None, heads):
            said = f"{self.stated['num_heads'].reason.removesuffix(f' in {self.where}')} {heads}"
            raise self._unlike(where, "says another number of heads than the weights show", said, counted(read, "head"))

    def remarks(self, architecture: object) -> tuple[str, ...]:
        """What they say otherwise than the tensors, and other values that were not taken."""
        found = {**self.others, **self.sizes}
        unlike = (f"{spelled} {value} in {self.where} is not this model's: its tensors have {own}"
                  for name, (value, spelled) in found.items()
                  if (own := getattr(architecture, name, value)) != value)  # fmt: skip
        twice = (f"two values stand in {self.where}, and neither was taken: {said}"
                 for name, said in self.several.items() if name != "num_heads")  # fmt: skip
        return (*unlike, *twice, *self.untaken)

    def _unlike(self, where: str, what: str, found: str, expected: str) -> SettingError:
        missing = next((name for name in SETTINGS if name in self.stated or name in self.several), "num_heads")
        return SettingError(
            f"{where} {what} in its {self.where}",
            expected=expected,
            found=found,
            cause="values that are another layer's, or an earlier run's",
            next_step=f"add `{missing}=N`, with N from the code that trained the model",
            missing=missing,
        )


def hyper_parameters(given: object, where: str = WHERE) -> HyperParameters:
    """Read them, from a dict or from what stands for an object: a Namespace, a config of OmegaConf, a dataclass."""
    found: dict[str, dict[object, str]] = {}
    sizes: dict[str, tuple[int, str]] = {}
    others: dict[str, tuple[int, str]] = {}
    untaken: list[str] = []
    unseen: list[str] = []
    sides: list[tuple[object, str]] = []
    for path, values in _parts(given):
        if values.keys() & OF_LANGUAGE:
            continue
        unseen += [f"{path}{name}: True" for name in UNSEEN if values.get(name) is True]
        sides += [(values[name], f"{path}{name}") for name in SIZES["image_size"] if name in values]
        said = list(_settings(values))
        acts = {name: act for name in ACTIVATIONS if isinstance(act := values.get(name), str) and said}
        unseen += [f"{path}{name}: {act}" for name, act in acts.items() if not OF_THE_NETWORKS.fullmatch(act)]
        for name, (value, spelled) in said:
            found.setdefault(name, {}).setdefault(value, f"{path}{spelled}")
        own = {name: (value, f"{path}{spelled}") for name, (value, spelled) in _sizes(values).items()}
        others = own if not path else others
        sizes = own | sizes if said else sizes
        eps = number("layer_norm_eps", values.get("eps"))
        if eps and values.keys() & OF_AN_OPTIMIZER and all(name != "layer_norm_eps" for name, _ in said):
            untaken.append(f"{path}eps {eps:g} in {where} was not taken: it may be the optimizer's")
    one = {name: next(iter(values.items())) for name, values in found.items() if len(values) == 1}
    more = {name: values for name, values in found.items() if len(values) > 1}
    return HyperParameters(
        {name: Stated(value, f"{spelled} in {where}", *UNHELD.get(name, ())) for name, (value, spelled) in one.items()},
        {name: ", ".join(f"{each} {value}" for value, each in values.items()) for name, values in more.items()},
        sizes if one else {},
        others,
        tuple(untaken),
        where,
        tuple(unseen),
        tuple(sides),
    )


def statistics_in(given: object) -> Mapping[str, Any]:
    """The means and standard deviations of pixels, where the outermost part has them."""
    own = _plain(given)
    if not isinstance(own, Mapping):
        return {}
    return {each: _plain(own.get(f"image_{each}", own.get(each))) for each in ("mean", "std")}


def _parts(given: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each part that may be the backbone's, once, with the keys that lead to it."""
    pending: list[tuple[tuple[str, ...], object]] = [((), given)]
    seen = {id(given)}
    for _ in range(MAX_PARTS):
        if not pending:
            return
        keys, node = pending.pop(0)
        values = _plain(node)
        if not isinstance(values, Mapping):
            continue
        own = {name: _plain(value) for name, value in values.items() if isinstance(name, str)}
        yield "".join(f"{key}." for key in keys), own
        if len(keys) < MAX_DEPTH:
            for name, each in own.items():
                known = id(values[name])  # what `_plain` makes of it may be gone, and its id another's
                if isinstance(each, Mapping) and known not in seen and not OF_OTHERS.fullmatch(name.lower()):
                    seen.add(known)
                    pending.append(((*keys, name), each))


def _plain(node: object) -> object:
    """What an object holds: the values of a config of OmegaConf, of a Namespace, or of a dict of a user's class."""
    for _ in range(MAX_DEPTH):
        state = getattr(node, "state", None)
        items = getattr(node, "items", None)
        pairs = items if isinstance(items, list) and not isinstance(node, Mapping) else []
        if pairs and all(isinstance(each, tuple) and len(each) == 2 and isinstance(each[0], str) for each in pairs):
            return dict(pairs)
        if not isinstance(state, Mapping) or "_parameters" in state:
            return node
        node = state.get("_content", state.get("_val", state.get("_fields", state)))
    return node


def _settings(values: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, str]]]:
    """The settings of one part, and what they are called there."""
    is_model = bool(values.keys() & OF_A_MODEL) and not values.keys() & OF_AN_OPTIMIZER
    for name, names in SETTINGS.items():
        more = ONLY_OF_A_MODEL.get(name, ()) if is_model else ()
        for each in (*names, *more):
            if (value := number(name, values.get(each))) is not None:
                yield name, (value, each)


def _sizes(values: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for name, names in SIZES.items():
        for each in names:
            value = values.get(each)
            if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
                value = value[0]
            if type(value) is int and value > 0:
                found.setdefault(name, (value, each))
    return found


def number(name: str, value: object) -> int | float | None:
    """A value that the setting can have; of an eps a text too, as YAML 1.1 takes `1e-5` for one."""
    if name == "layer_norm_eps" and isinstance(value, str) and TEXT_OF_EPS.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    fits = {
        "num_heads": isinstance(value, int) and 0 < value <= 1024,
        "layer_norm_eps": 0 < value < 0.1,
        "rope_theta": 1 < value < 1e9,
        "lora_alpha": 0 < value < 1e6,
    }
    if name == "rope_theta":
        value = float(value)  # its config takes no whole number
    return value if fits[name] else None
