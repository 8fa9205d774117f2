"""DINOv3ViTModel: the home of DINOv3's ViTs.

The class computes its rotary periods from a base, has no place for a key bias that is masked away, and always has
register tokens, if none of them.
"""

from collections.abc import Iterator, Mapping

from dinoport.codebases.dinov3.periods import buffers
from dinoport.codebases.record import original_fields, record_of, recorded
from dinoport.codebases.target import Target, form_of, input_size
from dinoport.codebases.transformers.stated_sizes import count_of, size_of, unsized
from dinoport.codebases.vit_sizes import MAX_DEPTH
from dinoport.errors import UnknownModelError
from dinoport.mapping.constants import ones, zeros
from dinoport.mapping.operations import AddAxis
from dinoport.mapping.rule import Rule, change, copy, drop, make, split_rows
from dinoport.model import Model
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.rotary_vit.rope import MAX_THETA
from dinoport.request import Request

MASKED = "a mask in the file switches the keys' bias off, and the class has no place for it"

# fmt: off
SHARED: tuple[Rule, ...] = (
    copy("cls_token",                 "embeddings.cls_token"),
    change("mask_token",              "embeddings.mask_token", AddAxis()),
    copy("patch_embed.proj.{p}",      "embeddings.patch_embeddings.{p}"),
    copy("blocks.{i}.norm1.{p}",      "layer.{i}.norm1.{p}"),
    split_rows("blocks.{i}.attn.qkv.weight", ("layer.{i}.attention.q_proj.weight",
                                              "layer.{i}.attention.k_proj.weight",
                                              "layer.{i}.attention.v_proj.weight")),
    copy("blocks.{i}.attn.proj.{p}",  "layer.{i}.attention.o_proj.{p}"),
    copy("blocks.{i}.norm2.{p}",      "layer.{i}.norm2.{p}"),
    copy("norm.{p}",                  "norm.{p}"),
)
LIVE_KEY_BIAS = split_rows("blocks.{i}.attn.qkv.bias", ("layer.{i}.attention.q_proj.bias",
                                                        "layer.{i}.attention.k_proj.bias",
                                                        "layer.{i}.attention.v_proj.bias"))
MASKED_KEY_BIAS = split_rows("blocks.{i}.attn.qkv.bias", ("layer.{i}.attention.q_proj.bias",
                                                          None,
                                                          "layer.{i}.attention.v_proj.bias"), because=MASKED)
MLP: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.fc1.{p}",    "layer.{i}.mlp.up_proj.{p}"),
    copy("blocks.{i}.mlp.fc2.{p}",    "layer.{i}.mlp.down_proj.{p}"),
)
SWIGLU: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.w1.{p}",     "layer.{i}.mlp.gate_proj.{p}"),
    copy("blocks.{i}.mlp.w2.{p}",     "layer.{i}.mlp.up_proj.{p}"),
    copy("blocks.{i}.mlp.w3.{p}",     "layer.{i}.mlp.down_proj.{p}"),
)
LAYER_SCALES: tuple[Rule, ...] = (
    copy("blocks.{i}.ls{n}.gamma",    "layer.{i}.layer_scale{n}.lambda1"),
)
REGISTERS = copy("storage_tokens",    "embeddings.register_tokens")
# fmt: on

NO_LAYER_SCALE = "the original has no layer scale: ones change nothing"
NO_REGISTERS = "the original has no registers, and the class expects a tensor: an empty one"
COMPUTED = "the class computes them from its base"
IN_CONFIG = "config.json says the same by key_bias"
UNUSED = "a norm for the local crops of training; evaluation never uses it"


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    vit = model.architecture_as(RotaryViT)
    if vit.classifier:
        raise UnknownModelError(
            f"{model.where} cannot be converted with a linear head",
            where=f"{model.classifier}.weight",
            expected="a backbone: Transformers has no image classification class for DINOv3",
            found=f"a classifier over {vit.classifier.features.value}",
            next_step="leave `head` out; `to='timm'` takes a head that looks at the CLS token alone",
        )
    size = input_size(request, vit.image_size, vit.patch_size)
    config: dict[str, object] = {
        "architectures": ["DINOv3ViTModel"],
        "model_type": "dinov3_vit",
        "hidden_size": vit.width,
        "intermediate_size": vit.mlp_hidden,
        "num_hidden_layers": vit.depth,
        "num_attention_heads": vit.heads,
        "hidden_act": "silu" if vit.feed_forward == "swiglu" else "gelu",
        "use_gated_mlp": vit.feed_forward == "swiglu",
        "layer_norm_eps": vit.layer_norm_eps,
        "image_size": size,
        "patch_size": vit.patch_size,
        "num_channels": vit.channels,
        "num_register_tokens": vit.registers,
        "query_bias": vit.qkv_bias,
        "key_bias": vit.key_bias,
        "value_bias": vit.qkv_bias,
        "proj_bias": vit.proj_bias,
        "mlp_bias": vit.ffn_bias,
        "rope_theta": float(vit.rope_theta),
        "layerscale_value": 1.0,
        "attention_dropout": 0.0,
        "drop_path_rate": 0.0,
        "initializer_range": 0.02,
        **original_fields(
            model.family.name,
            without=[] if vit.layer_scale else ["layer_scale"],
            open_key_mask=vit.live_key_bias,
            rounded_periods=vit.rope_rounded,
        ),
    }
    return form_of(model, request, "DINOv3ViTModel", config, rules(vit), size)


def sketch(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    width, theta = size_of(where, config, "hidden_size"), config.get("rope_theta", 100.0)
    if not isinstance(theta, (int, float)) or not 0 < theta < MAX_THETA:
        raise unsized(where, "rope_theta", "a number above 0", theta)
    live = config.get("key_bias") is True
    vit = RotaryViT(
        width=width,
        depth=size_of(where, config, "num_hidden_layers", MAX_DEPTH),
        heads=size_of(where, config, "num_attention_heads", width),
        mlp_hidden=1,
        patch_size=1,
        feed_forward="swiglu" if config.get("use_gated_mlp") is True else "mlp",
        registers=count_of(where, config, "num_register_tokens"),
        layer_scale="layer_scale" not in recorded(config, "without"),
        qkv_bias=config.get("query_bias") is not False,
        key_bias_mask=not live or record_of(config).get("open_key_mask") is True,
        live_key_bias=live,
        rope_theta=float(theta),
        rope_rounded=record_of(config).get("rounded_periods") is True,
    )
    return "dinov3", rules(vit)


def rules(vit: RotaryViT) -> tuple[Rule, ...]:
    """The table of one vit: copies for what it has, constants for what it lacks and the class wants."""
    found = [*SHARED, *(SWIGLU if vit.feed_forward == "swiglu" else MLP)]
    if vit.qkv_bias:
        found.append(LIVE_KEY_BIAS if vit.key_bias else MASKED_KEY_BIAS)
    found += LAYER_SCALES if vit.layer_scale else ()
    found += [REGISTERS] if vit.registers else ()
    return (*found, *_constants(vit), *buffers(vit, COMPUTED, IN_CONFIG), drop("local_cls_norm.{p}", because=UNUSED))


def _constants(vit: RotaryViT) -> Iterator[Rule]:
    if not vit.registers:
        yield make("embeddings.register_tokens", zeros(1, 0, vit.width), because=NO_REGISTERS)
    for i in range(0 if vit.layer_scale else vit.depth):
        for n in (1, 2):
            yield make(f"layer.{i}.layer_scale{n}.lambda1", ones(vit.width), because=NO_LAYER_SCALE)
