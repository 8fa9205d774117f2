"""Which class computes what a model computes, and which classes a folder can hold."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, NamedTuple

from dinoport.codebases.target import Target, assumed_rule
from dinoport.codebases.transformers.class_fields import CLASS_OF_TYPE, MODEL_TYPE
from dinoport.errors import SettingError, UnknownModelError
from dinoport.mapping.rule import Rule
from dinoport.model import Model
from dinoport.networks.interpolation import BILINEAR_ANTIALIASED, TO_SIZE, TO_SIZE_ANTIALIASED, Interpolation
from dinoport.networks.network import Features
from dinoport.request import Request
from dinoport.shown.text import with_article


class Form(NamedTuple):
    """A class and its relatives, by what a config calls their models: their `model_types`.

    `cell` are the pixels along a side of one place of the feature map, where there is one in the place of tokens;
    `has_table` says that there is a table of positions, which Transformers resamples for other sizes. `family` is the
    one whose models are looked for in it, where another class computes the same for all. `hides_patches` says that the
    class masks a part of each picture. `auto` is the class of Transformers that finds it where it has no classifier,
    `results` is a line of Python by model type: what people want from one whose CLS token is not what it was trained
    for. `interpolation` is how it resamples a table.
    `module` is imported once a form is chosen. It has `target(model, request, labels)`, and `sketch(where, config)`,
    which gives the name of the family that a folder came from and the table of its names. It may have
    `arguments(config, images)`, what the class takes beside a picture; `outputs(result, backbone)`, under the names
    that the networks use; `wishes(config)`, what a config says beside heads and eps; `BESIDE_FEATURES`, beginnings
    of the fields that features do not depend on; `parameters_beside(sizes)`, how many numbers stand beside its blocks;
    and `OWN_CLASSIFIER`, what an original calls the layer where nothing says it.
    """

    network: str
    module: str
    model_types: tuple[str, ...]
    cell: int | None = None
    has_table: bool = False
    fits: Callable[[Any], bool] = lambda architecture: True
    family: str = ""
    hides_patches: bool = False
    auto: str = "AutoModel"
    results: Mapping[str, str] = {}
    interpolation: Interpolation = TO_SIZE

    @property
    def has_positions(self) -> bool:
        """Whether it has a table of positions, which grows with the picture that the config is for."""
        return self.has_table or self.hides_patches

    @property
    def code(self) -> Any:
        return import_module(f"dinoport.codebases.transformers.{self.module}")


def _is_plain(architecture: Any) -> bool:
    """Whether a ViT is what ViTModel computes: its classifier sees the CLS token alone."""
    classifier = architecture.classifier
    return architecture.is_plain and (classifier is None or classifier.features is Features.CLS)


def _has_other_tokens(architecture: Any) -> bool:
    """Whether a ViT is what the classes of DeiT, I-JEPA or BEiT compute, and no others."""
    own = architecture.distillation_token or architecture.pooled_norm or not architecture.cls_token
    own = own and (architecture.cls_token or architecture.classifier is None) and not architecture.decoder
    return own and not (architecture.registers or architecture.layer_scale or architecture.feed_forward != "mlp")


def _is_dinov2(architecture: Any) -> bool:
    own = not _is_plain(architecture)
    others = architecture.distillation_token or architecture.pooled_norm or architecture.decoder
    return own and architecture.cls_token and not others


def _is_tips(architecture: Any) -> bool:
    """Whether a ViT has all parts that TIPS's class has, and resamples as it does."""
    whole = architecture.registers and architecture.layer_scale and architecture.mask_token and architecture.qkv_bias
    biased = architecture.proj_bias and architecture.ffn_bias and architecture.feed_forward == "mlp"
    return whole and biased and architecture.interpolation.kernel == "bilinear" and architecture.classifier is None


FORMS: tuple[Form, ...] = (
    Form("vit", "vit", ("vit",), None, True, _is_plain),
    Form(
        "vit",
        "vit",
        ("deit", "ijepa", "beit"),
        None,
        True,
        _has_other_tokens,
        results={
            "ijepa": "features = outputs.last_hidden_state.mean(dim=1)  # the mean of patches; there is no CLS token",
            "beit": "features = outputs.pooler_output  # the mean of all patches, normed",
        },
    ),
    Form("vit", "dinov2", ("dinov2", "dinov2_with_registers"), None, True, _is_dinov2),
    Form("vit", "tips", ("tipsv2_vision_model",), None, True, _is_tips, interpolation=BILINEAR_ANTIALIASED),
    Form("vit", "vit_msn", ("vit_msn",), None, True, _is_plain, "msn"),
    Form(
        "vit",
        "vit_mae",
        ("vit_mae",),
        fits=lambda architecture: architecture.decoder is not None,
        hides_patches=True,
        auto="AutoModelForPreTraining",
        results={
            "vit_mae": "drawn = outputs.logits  # the pixels of every patch; outputs.mask says which were hidden",
        },
    ),
    Form("rotary_vit", "dinov3_vit", ("dinov3_vit",)),
    Form("convnext", "dinov3_convnext", ("dinov3_convnext",), 32),
    Form(
        "resnet",
        "resnet",
        ("resnet",),
        32,
        results={"resnet": "features = outputs.pooler_output.flatten(1)  # one vector a picture"},
    ),
)
"""The first that fits is taken, where none is asked for by its class."""

OF_MODEL_TYPE = {model_type: form for form in FORMS for model_type in form.model_types}

CLASSES = {name: form for form in FORMS for name, model_type in MODEL_TYPE.items() if model_type in form.model_types}


OF_LAYERS = {f"{name}Backbone": f"{name}Model" for name in ("Dinov2", "Dinov2WithRegisters", "DINOv3ViT", "ResNet")}
"""Classes that hold the same network as the model of the same name, and only hand out its layers otherwise."""

READ_AS = {**OF_LAYERS, "ViTMAEModel": "ViTModel"}
"""With the encoder of an MAE, which hides patches, and has names and defaults of a plain ViT."""

WITHOUT_NORM = ("BeitBackbone", "DINOv3ConvNextBackbone")
"""Classes of layers that have lost the norm behind them, without which no class here computes."""


def class_name_of(config: Mapping[str, object]) -> str:
    """The class that a config names, or means; empty without one."""
    named = named_class(config)
    return READ_AS.get(named, named) or CLASS_OF_TYPE.get(str(config.get("model_type")), "")


def is_read_as_another(config: Mapping[str, object]) -> bool:
    """Whether a config names a class that is read as another one: of layers alone, or one that hides patches."""
    return named_class(config) in READ_AS


def named_class(config: Mapping[str, object]) -> str:
    """The class that a config names; empty without one."""
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else ""
    return first if isinstance(first, str) else ""


def table_of(where: str, config: Mapping[str, object], names: Collection[str]) -> tuple[str, tuple[Rule, ...]]:
    """The family that a folder of a known class came from, and the table of its `names`, whichever version saved it."""
    from dinoport.codebases.transformers.in_memory import as_held, spelled  # which no file without a config needs

    code = CLASSES[class_name_of(config)].code
    family, rules = code.sketch(where, config)
    return family, as_held(spelled(rules, names, getattr(code, "SAVED", ())), names)


def is_known_class(config: Mapping[str, object]) -> bool:
    """Whether config.json is that of a class that is read here."""
    return class_name_of(config) in CLASSES


def target_of(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """The class of Transformers that computes what this model computes: the one that is asked for, else the first.

    Raises UnknownModelError where none does, and SettingError for a request that does not fit it.
    """
    architecture = model.architecture
    own = [form for form in FORMS if form.family in ("", model.family.name)]
    fitting = [form for form in own if form.network == architecture.network.name and form.fits(architecture)]
    made = [_target_or_problem(form, model, request, labels) for form in fitting]
    found = [each for each in made if isinstance(each, Target)]
    problems = [each for each in made if isinstance(each, SettingError)]
    chosen = [each for each in found if request.class_name in (None, each.form)]
    if chosen:
        others = tuple(each.form for each in found if each is not chosen[0])
        return replace(chosen[0], others=others, rule=assumed_rule(model))
    if found:
        raise SettingError(
            f"{request.class_name} does not compute this model, {with_article(model.family.title)}",
            expected=", ".join(each.form for each in found),
            found=f"`class_name={request.class_name}`",
            next_step="leave `class_name` out",
        )
    if problems:
        raise problems[0]
    raise UnknownModelError(
        f"no class of Transformers computes this model, {with_article(model.family.title)}",
        found=str(architecture),
        next_step="look at the file as a whole, with `inspect`",
    )


def _target_or_problem(
    form: Form, model: Model, request: Request, labels: Mapping[int, str] | None
) -> Target | SettingError:
    """What a form makes of a model, or why it cannot: another class may have a place for it."""
    try:
        target: Target = form.code.target(model, request, labels)
    except SettingError as problem:
        return problem
    return target


def encoder_fields(vit: Any, size: int) -> dict[str, object]:
    """What the configs of all classes for a ViT with a position table say alike."""
    return {
        "hidden_size": vit.width,
        "num_hidden_layers": vit.depth,
        "num_attention_heads": vit.heads,
        "hidden_act": "gelu",
        "layer_norm_eps": vit.layer_norm_eps,
        "image_size": size,
        "patch_size": vit.patch_size,
        "num_channels": vit.channels,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
    }


def label_fields(classes: int, labels: Mapping[int, str] | None) -> dict[str, object]:
    """`id2label` and `label2id` of a classifier: its names, else Transformers' own `LABEL_0`, `LABEL_1` …"""
    names = labels or {index: f"LABEL_{index}" for index in range(classes)}
    return {
        "id2label": {str(index): names[index] for index in range(classes)},
        "label2id": {names[index]: index for index in range(classes)},
    }


def own_interpolation(class_name: str) -> Interpolation | None:
    """How a class resamples its position table, whatever the original did; None where it has none."""
    form = CLASSES.get(class_name)
    if form is None or not form.has_table:
        return None
    return TO_SIZE_ANTIALIASED if class_name.startswith("Dinov2WithRegisters") else form.interpolation
