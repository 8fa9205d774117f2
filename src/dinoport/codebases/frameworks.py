"""Frameworks that keep a model inside a file of their own: what they say besides its tensors, and which copy they mean.

A framework is told by the keys of its file alone. Nobody's word is taken for more than it says: a value that the
tensors contradict is not.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from dinoport.codebases.hyper_parameters import (
    OF_OTHERS,
    WHERE,
    HyperParameters,
    hyper_parameters,
    statistics_in,
)
from dinoport.codebases.mmpretrain.config_text import config_text
from dinoport.codebases.pixel_statistics import statistics_said
from dinoport.errors import UnknownModelError
from dinoport.model import Stated
from dinoport.tensor import TensorRef


class Said(NamedTuple):
    """What a file says besides its tensors: settings by the field of a request, and why its classifier is another than
    the family's, where it is. `users` are the hyper-parameters of a user's module, which may be another's. `strides` is
    what a config says of a ResNet that no ResNet-50 of torchvision has, `warnings` are for the verdict.
    """

    stated: Mapping[str, Stated] = {}
    other_head: str | None = None
    users: HyperParameters | None = None
    strides: str | None = None
    warnings: tuple[str, ...] = ()

    def fitting(self, architecture: object) -> "Said":
        """The same, without what a user's training says elsewhere of another model than this."""
        users = self.users.fitting(architecture) if self.users else None
        if users is None or self.users is None or users.stated == self.users.stated:
            return self
        own = {name: each for name, each in self.stated.items() if self.users.stated.get(name) is not each}
        return self._replace(stated=own, users=users)

    def refuse_strides(self, where: str, family: str) -> None:
        """Raise UnknownModelError for a ResNet that only has the names of torchvision's."""
        if self.strides is None or family != "dino_resnet":
            return
        raise UnknownModelError(
            f"{where} has a ResNet that is not computed as torchvision's",
            expected="strides 1, 2, 2, 2, each in the 3×3, and no dilation",
            found=self.strides,
            cause="a segmenter or a detector; no tensor shows where a convolution strides",
            next_step="keep it in its own code; if its ResNet strides as torchvision's, give its state_dict() alone",
        )


class Convention(NamedTuple):
    """Which of two copies a framework evaluates or exports: the one with `taken` in its prefix, beside `other`.

    One with a `sign` holds only in files of the framework that it tells.
    """

    framework: str
    taken: str
    other: str
    reason: str
    sign: str = ""


MMENGINE = "mmengine_version"

CONVENTIONS = (
    Convention("Lightning", "state_dict", "current_model_state", "the average, which it validates"),
    Convention("LightlyTrain", "teacher_embedding_model", "student_embedding_model", "what it exports"),
    Convention("LightlyTrain", "lightly_train.models", "student_embedding_model", "the teacher, which it exports"),
    Convention("lightly", "teacher_backbone", "student_backbone", "DINO's own convention: the teacher"),
    Convention("lightly", "backbone", "student_backbone", "its momentum teacher, which its benchmarks evaluate"),
    Convention("lightly", "backbone", "anchor_backbone", "the momentum copy, which its examples evaluate"),
    Convention("lightly", "backbone", "backbone_momentum", "the trained encoder; the other is the key encoder"),
    Convention("solo-learn", "backbone", "momentum_backbone", "what its main_linear, main_knn and main_umap evaluate"),
    Convention("MMPretrain", "backbone", "momentum_encoder", "what its own tools take"),
    Convention("MMSelfSup", "backbone", "base_encoder", "the same encoder by its own name, which its tools take"),
    Convention("MMEngine", "state_dict", "ema_state_dict", "the average; its hook swaps both as it saves", MMENGINE),
    Convention("BYOL", "online_encoder", "target_encoder", "the trained encoder, which BYOL keeps"),
    Convention("VISSL", "trunk", "momentum_teacher", "what its conversion scripts take"),
)
"""From how the genuine code evaluates, not from names alone."""


def convention(taken: str, others: Iterable[str], signs: Container[str] = ()) -> str | None:
    """Whose convention prefers this place to one of the others, and why; None where it is nobody's own.

    `signs` are the frameworks that the rest of the file tells.
    """
    beside = [f".{other}." for other in others]
    for each in CONVENTIONS:
        if each.sign and each.sign not in signs:
            continue
        if f".{each.taken}." in f".{taken}." and any(f".{each.other}." in other for other in beside):
            return f"{each.reason} ({each.framework})"
    return None


def signs_in(tree: object) -> frozenset[str]:
    """The frameworks that a file tells by more than where its models lie."""
    meta = _dict(_dict(tree).get("meta"))
    return frozenset({MMENGINE} & meta.keys())


def said_in(where: str, tree: object, config: Mapping[str, object] | None = None) -> Said:
    """What the file of a framework says besides its tensors, and the `config` beside it.

    Raises SettingError for arguments of timm's training by which it may have built another model than tensors show.
    """
    if not isinstance(tree, dict):
        return Said()
    text = config_text(tree)
    own = _lightning(tree) or _config(tree) or text.contradictions() or _beside(config)
    stated: dict[str, Stated] = dict(own.stated) if own else {}
    stated |= statistics_said(statistics_in(tree.get("hyper_parameters")), WHERE) if own else {}
    stated |= text.stated() | _lightly(tree)
    stated |= _timm_train(where, tree)
    head = _timm_head(tree) or (UNTRAINED if "lightly_train" in tree else None)
    return Said(stated, head, own or _sides(tree), text.strides(), text.colours())


UNTRAINED = "LightlyTrain's pretraining leaves this layer as it was built"


def _timm_head(tree: Mapping[str, Any]) -> str | None:
    given = _timm_arguments(tree)
    if not given:
        return None
    from dinoport.codebases.timm.arguments import other_head

    found = other_head(str(given["model"]), given.get("gp") or _dict(given.get("model_kwargs")).get("global_pool"))
    return found.replace("config.json says", "its training says") if found else None


def _timm_arguments(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """What timm's train.py was given, which it keeps besides its weights."""
    found = _dict(getattr(tree.get("args"), "state", None))
    return found if isinstance(tree.get("arch"), str) and isinstance(found.get("model"), str) else {}


def _timm_train(where: str, tree: Mapping[str, Any]) -> dict[str, Stated]:
    given = _timm_arguments(tree)
    if not given:
        return {}
    from dinoport.codebases.timm.config import timm_config

    own = timm_config(where, {"architecture": given.get("model"), "model_args": dict(_dict(given.get("model_kwargs")))})
    stated = own.stated if own else {}
    told = {name: each._replace(reason=each.reason.replace("config.json", TRAIN)) for name, each in stated.items()}
    return told | statistics_said(given, TRAIN)


TRAIN = "args of timm's train.py"


def _lightly(tree: Mapping[str, Any]) -> dict[str, Stated]:
    """Of a task of LightlyTrain's, or of what it exports."""
    task = tree.get("model_init_args") if isinstance(tree.get("model_class_path"), str) else None
    found = statistics_said(_dict(task).get("image_normalize"), "image_normalize of LightlyTrain")
    exported = _dict(tree.get("lightly_train")).get("normalize_args")
    return found | statistics_said(exported, "normalize_args of LightlyTrain")


def _lightning(tree: Mapping[str, Any]) -> HyperParameters | None:
    """`save_hyperparameters()` keeps what the user's module was given, under the user's own names."""
    return hyper_parameters(tree.get("hyper_parameters")) if "pytorch-lightning_version" in tree else None


def _config(tree: Mapping[str, Any]) -> HyperParameters | None:
    """What a user's own training kept beside its model, under whatever key, where it says heads or eps.

    A key that does not mean a model by its name may speak of another part: the verdict names what is taken from it.
    """
    own = {key: each for key, each in tree.items() if type(key) is str and not OF_OTHERS.match(key.lower())}
    distinct: dict[int, str] = {}
    for key, each in own.items():
        if not isinstance(each, TensorRef):
            distinct.setdefault(id(each), key)
    saying = {key: own[key] for key in islice(distinct.values(), MAX_KEPT) if hyper_parameters(own[key]).says}
    if not saying:
        found = hyper_parameters({key: each for key, each in tree.items() if type(each) in (int, float)}, "own keys")
        return replace(found.as_doubted(), is_elsewhere=True) if found.says else None
    key, *more = saying
    found = hyper_parameters(saying, "configs") if more else hyper_parameters(saying[key], key)
    if saying.keys() <= {*CONFIGS}:
        return found
    return replace(found.as_doubted(), is_elsewhere=not saying.keys() & {*CONFIGS})


MAX_KEPT = 100
"""How many keys of a file, those of tensors left out, are looked through for a config."""

CONFIGS = (
    *("config", "cfg", "hparams", "hyper_parameters", "hyperparameters", "metadata"),
    *("model_config", "model_cfg", "model_args", "model_kwargs"),
)
"""Under which a training keeps what its model was built with."""


def _beside(config: Mapping[str, object] | None) -> HyperParameters | None:
    """What the config.json of a folder says that a user's own class wrote, as by PyTorchModelHubMixin."""
    if not config or "architecture" in config or (OF_TRANSFORMERS & config.keys() and "auto_map" not in config):
        return None
    found = hyper_parameters(config, "config.json")
    return found.as_doubted() if found.says else None


OF_TRANSFORMERS = frozenset({"architectures", "model_type"})
"""What a config.json of Transformers names its class by; one with `auto_map` is of a user's own."""


def _sides(tree: Mapping[str, Any]) -> HyperParameters | None:
    """The sides of pictures in what a training kept, which says nothing else of its model."""
    for key in (*CONFIGS, "args"):
        if key in tree and (sides := hyper_parameters(tree[key], key).sides):
            return HyperParameters(where=key, sides=sides)
    return None


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
