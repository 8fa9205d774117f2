"""The Dinov2 classes: the home of DINOv2, and of a DINO ViT with a linear head over CLS token and patch mean.

`Dinov2Model` resamples its position table to the exact size without antialias, `Dinov2WithRegistersModel` with it; no
class has DINOv2's scale factor with an offset. `ViTForImageClassification` classifies the CLS token alone, so DINO's
own heads over CLS token and patch mean live here too: the backbone computes the same once its layer scales are ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dinoport.codebases.record import original_fields, record_of, recorded
from dinoport.codebases.target import Target, baked_from, form_of, input_size, position_rule
from dinoport.codebases.transformers.forms import class_name_of, encoder_fields, label_fields
from dinoport.codebases.transformers.stated_sizes import count_of, size_of
from dinoport.codebases.vit_sizes import MAX_DEPTH
from dinoport.errors import SettingError
from dinoport.mapping.constants import ones, zeros
from dinoport.mapping.operations import Deinterleave, PadColumns
from dinoport.mapping.rule import Rule, change, copy, make, split_rows, without_bias
from dinoport.model import Model
from dinoport.networks.interpolation import TO_SIZE, TO_SIZE_ANTIALIASED
from dinoport.networks.network import Classifier, Features
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request

# fmt: off
SHARED: tuple[Rule, ...] = (
    copy("cls_token",                 "embeddings.cls_token"),
    copy("patch_embed.proj.{p}",      "embeddings.patch_embeddings.projection.{p}"),
    copy("blocks.{i}.norm1.{p}",      "encoder.layer.{i}.norm1.{p}"),
    split_rows("blocks.{i}.attn.qkv.{p}", ("encoder.layer.{i}.attention.attention.query.{p}",
                                           "encoder.layer.{i}.attention.attention.key.{p}",
                                           "encoder.layer.{i}.attention.attention.value.{p}")),
    copy("blocks.{i}.norm2.{p}",      "encoder.layer.{i}.norm2.{p}"),
    copy("norm.{p}",                  "layernorm.{p}"),
)
PROJECTION: tuple[Rule, ...] = (
    copy("blocks.{i}.attn.proj.{p}",  "encoder.layer.{i}.attention.output.dense.{p}"),
)
MLP: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.fc1.{p}",    "encoder.layer.{i}.mlp.fc1.{p}"),
    copy("blocks.{i}.mlp.fc2.{p}",    "encoder.layer.{i}.mlp.fc2.{p}"),
)
SWIGLU: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.w12.{p}",    "encoder.layer.{i}.mlp.weights_in.{p}"),
    copy("blocks.{i}.mlp.w3.{p}",     "encoder.layer.{i}.mlp.weights_out.{p}"),
)
LAYER_SCALES: tuple[Rule, ...] = (
    copy("blocks.{i}.ls{n}.gamma",    "encoder.layer.{i}.layer_scale{n}.lambda1"),
)
MASK_TOKEN = copy("mask_token",       "embeddings.mask_token")
REGISTERS = copy("register_tokens",   "embeddings.register_tokens")
CLASSIFIER: tuple[Rule, ...] = (
    copy("classifier.{p}",            "classifier.{p}"),
)
INTERLEAVED_CLASSIFIER: tuple[Rule, ...] = (
    change("classifier.weight",       "classifier.weight", Deinterleave()),
    copy("classifier.bias",           "classifier.bias"),
)
CLS_CLASSIFIER: tuple[Rule, ...] = (
    change("classifier.weight",       "classifier.weight", PadColumns()),
    copy("classifier.bias",           "classifier.bias"),
)
# fmt: on

CLASSIFIERS = {
    Features.CLS: CLS_CLASSIFIER,
    Features.CLS_MEAN: CLASSIFIER,
    Features.CLS_MEAN_INTERLEAVED: INTERLEAVED_CLASSIFIER,
}

POSITIONS = "embeddings.position_embeddings"

NO_LAYER_SCALE = "the original has no layer scale: ones change nothing"
NO_BIAS = "the class needs this bias, and the original has none: zeros change nothing"
UNMASKED = "the class needs a mask token, and the original has none: only training uses it"
NO_REGISTERS = "no registers: the class is taken for the way it resamples the position table"

MAX_MLP_RATIO = 64
OPTIONAL_PARTS = ("layer_scale", "proj_bias", "ffn_bias", "mask_token")
"""What the class has and a model may lack: the folder records it, and the way back leaves it out again."""


def scaled_fields(vit: ViT, size: int) -> dict[str, object]:
    """What the configs of DINOv2's classes, and of those made after them, say alike."""
    scaled = {"qkv_bias": vit.qkv_bias, "layerscale_value": 1.0, "drop_path_rate": 0.0}
    return {**encoder_fields(vit, size), **scaled}


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """The class for a ViT that is more than ViTModel computes, with its classifier if it has one."""
    vit = model.architecture_as(ViT)
    size = input_size(request, vit.image_size, vit.patch_size)
    form = _asked_for(vit, request.class_name or "")
    registers, classes = with_registers(form), vit.classifier.classes if vit.classifier else None
    base = "Dinov2WithRegisters" if registers else "Dinov2"
    name = f"{base}ForImageClassification" if classes else f"{base}Model"
    # facebookresearch/dinov2 evaluates at another size than its table's; others do not.
    processed = request.image_size or model.preprocessing.size if vit.float32_table else size
    of_cls = vit.classifier is not None and vit.classifier.features is Features.CLS
    own = model.classifier if vit.is_plain or of_cls else None
    config: dict[str, object] = {
        "architectures": [name],
        "model_type": "dinov2_with_registers" if registers else "dinov2",
        **scaled_fields(vit, size),
        "mlp_ratio": mlp_ratio(vit),
        "use_swiglu_ffn": vit.feed_forward == "swiglu",
        **({"num_register_tokens": vit.registers} if registers else {"use_mask_token": vit.mask_token}),
        **(label_fields(classes, labels) if classes else {}),
        **original_fields(
            model.family.name,
            classifier=own,
            looks_at="cls" if of_cls else None,
            plain=vit.is_plain,
            without=[] if vit.is_plain else [part for part in OPTIONAL_PARTS if not getattr(vit, part)],
            baked_from=baked_from(size, vit.image_size),
        ),
    }
    positions = position_rule(POSITIONS, vit, size)
    return replace(
        form_of(model, request, name, config, rules(form, positions), size, processed=processed),
        resamples_alike=vit.interpolation == (TO_SIZE_ANTIALIASED if registers else TO_SIZE),
    )


def _asked_for(vit: ViT, class_name: str) -> ViT:
    """The same ViT for the class that is asked for: without registers two compute it, and resample by two rules."""
    if vit.registers or not class_name.startswith("Dinov2"):
        return vit
    rule = TO_SIZE_ANTIALIASED if class_name.startswith("Dinov2WithRegisters") else TO_SIZE
    return replace(vit, interpolation=rule)


def rules(vit: ViT, positions: Rule) -> tuple[Rule, ...]:
    """The table of one model: copies for what it has, constants for what it lacks and the class wants."""
    feed_forward = SWIGLU if vit.feed_forward == "swiglu" else MLP
    backbone = [positions, *SHARED, *(PROJECTION if vit.proj_bias else without_bias(PROJECTION))]
    backbone += feed_forward if vit.ffn_bias else without_bias(feed_forward)
    backbone += LAYER_SCALES if vit.layer_scale else ()
    backbone += [MASK_TOKEN] if vit.mask_token else ()
    backbone += [REGISTERS] if vit.registers else ()
    backbone += _constants(vit)
    if vit.classifier is None:
        return tuple(backbone)
    outer = "dinov2_with_registers." if with_registers(vit) else "dinov2."
    return (*(rule.under(outer) for rule in backbone), *CLASSIFIERS[vit.classifier.features])


def with_registers(vit: ViT) -> bool:
    """Whether the class with registers is the right one: it also is where the original resamples as it does."""
    return vit.registers > 0 or (vit.interpolation == TO_SIZE_ANTIALIASED and not vit.is_plain)


def sketch(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    """The family that a folder came from, and the table of its names: a DINO with a linear head records that."""
    record = record_of(config)
    plain = record.get("plain", record.get("family") == "dino") is True
    registers = class_name_of(config).startswith("Dinov2WithRegisters")
    width, swiglu = size_of(where, config, "hidden_size"), config.get("use_swiglu_ffn") is True
    hidden = width * size_of(where, config, "mlp_ratio", MAX_MLP_RATIO)
    parts: dict[str, Any] = {part: not plain and part not in recorded(config, "without") for part in OPTIONAL_PARTS}
    if not registers and not plain:
        parts["mask_token"] = config.get("use_mask_token") is not False
    if plain:
        parts |= {"proj_bias": True, "ffn_bias": True}
    features = Features.CLS_MEAN_INTERLEAVED if plain else Features.CLS_MEAN
    features = Features.CLS if record.get("looks_at") == "cls" else features
    vit = ViT(
        width=width,
        depth=size_of(where, config, "num_hidden_layers", MAX_DEPTH),
        heads=1,
        mlp_hidden=swiglu_hidden(hidden) if swiglu else hidden,
        patch_size=1,
        image_size=1,
        feed_forward="swiglu" if swiglu else "mlp",
        registers=count_of(where, config, "num_register_tokens") if registers else 0,
        interpolation=TO_SIZE_ANTIALIASED if registers else TO_SIZE,
        classifier=Classifier(features, 1) if class_name_of(config).endswith("ForImageClassification") else None,
        **parts,
    )
    return "dino" if plain else "dinov2", rules(vit, copy(ViT.positions, POSITIONS))


def _constants(vit: ViT) -> Iterator[Rule]:
    if with_registers(vit) and not vit.registers:
        yield make("embeddings.register_tokens", zeros(1, 0, vit.width), because=NO_REGISTERS)
    if with_registers(vit) and not vit.mask_token:
        yield make("embeddings.mask_token", zeros(1, vit.width), because=UNMASKED)
    for i in range(vit.depth):
        layer = f"encoder.layer.{i}"
        if not vit.layer_scale:
            for n in (1, 2):
                yield make(f"{layer}.layer_scale{n}.lambda1", ones(vit.width), because=NO_LAYER_SCALE)
        if not vit.proj_bias:
            yield make(f"{layer}.attention.output.dense.bias", zeros(vit.width), because=NO_BIAS)
        if not vit.ffn_bias:
            for name, length in _feed_forward(vit):
                yield make(f"{layer}.mlp.{name}.bias", zeros(length), because=NO_BIAS)


def _feed_forward(vit: ViT) -> tuple[tuple[str, int], tuple[str, int]]:
    """The two linear layers of the class, by name and number of outputs."""
    if vit.feed_forward == "swiglu":
        return ("weights_in", 2 * vit.mlp_hidden), ("weights_out", vit.width)
    return ("fc1", vit.mlp_hidden), ("fc2", vit.width)


def mlp_ratio(vit: ViT) -> int:
    """The classes know the hidden width by a whole ratio only. Raises SettingError where none gives it.

    For SwiGLU they take two thirds of width × ratio, rounded up to a multiple of 8.
    """
    swiglu = vit.feed_forward == "swiglu"
    for ratio in range(1, MAX_MLP_RATIO + 1):
        hidden = vit.width * ratio
        if (swiglu_hidden(hidden) if swiglu else hidden) == vit.mlp_hidden:
            return ratio
    raise SettingError(
        "Dinov2Config cannot express the hidden width of this model's feed-forward layers",
        expected=f"two thirds of a multiple of {vit.width}, rounded up to a multiple of 8"
        if swiglu
        else f"a whole multiple of {vit.width}",
        found=str(vit.mlp_hidden),
        cause="transformers 5 takes mlp_ratio as a whole number only",
        next_step="no class of Transformers fits this model",
    )


def swiglu_hidden(hidden: int) -> int:
    """Source: `SwiGLUFFNFused` in `dinov2/layers/swiglu_ffn.py`, and the classes of Transformers alike."""
    return (int(hidden * 2 / 3) + 7) // 8 * 8


def wishes(config: Mapping[str, object]) -> dict[str, Any]:
    """The class with a place for registers stands for a model without any that resamples as those with registers do."""
    has_place = class_name_of(config).startswith("Dinov2WithRegisters")
    return {"interpolation": "size-antialias"} if has_place and config.get("num_register_tokens") == 0 else {}
