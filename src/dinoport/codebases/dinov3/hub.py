"""DINOv3's hubconf.py: which of its entries builds a ViT, and what an entry wants in a file beside the backbone."""

from collections.abc import Container
from dataclasses import replace

from dinoport.codebases.codebase import HubEntry
from dinoport.mapping.constants import ones, zeros
from dinoport.mapping.rule import Rule, make
from dinoport.networks.rotary_vit.architecture import RotaryViT

RELEASED_REGISTERS = 4
"""Of every released model. Upstream's default config trains without any, and with the other eps."""

BACKBONES = {
    "dinov3_vits16": (384, 12, 6, 1536, "mlp", True),
    "dinov3_vits16plus": (384, 12, 6, 1536, "swiglu", True),
    "dinov3_vitb16": (768, 12, 12, 3072, "mlp", True),
    "dinov3_vitl16": (1024, 24, 16, 4096, "mlp", True),
    "dinov3_vitl16plus": (1024, 24, 16, 4096, "swiglu", True),
    "dinov3_vith16plus": (1280, 32, 20, 5120, "swiglu", True),
    "dinov3_vit7b16": (4096, 40, 32, 8192, "swiglu", False),
}
"""Width, depth, heads, MLP width and kind, biases of queries, keys and values: from `dinov3/hub/backbones.py`."""


def hub_entry(architecture: RotaryViT, image_size: int) -> HubEntry | None:
    for name, (width, depth, heads, hidden, feed_forward, bias) in BACKBONES.items():
        usual = RotaryViT(
            width=width,
            depth=depth,
            heads=heads,
            mlp_hidden=hidden,
            patch_size=16,
            feed_forward="swiglu" if feed_forward == "swiglu" else "mlp",
            registers=RELEASED_REGISTERS,
            qkv_bias=bias,
            key_bias_mask=bias,
            local_cls_norm=architecture.local_cls_norm,
            rope_rounded=architecture.rope_rounded,
            image_size=architecture.image_size,
            classifier=architecture.classifier,
        )
        if architecture == usual:
            return HubEntry("facebookresearch/dinov3", name)
    return None


NORM_OF_LOCAL_CROPS = "local_cls_norm"
"""What training norms the CLS tokens of local crops with. A folder of Transformers has no place for it."""

WITH_THE_NORM = "dinov3_vit7b16"
"""The one entry of the hubconf.py that wants this norm in whatever file it is given, and loads strictly."""


def hub_file(architecture: RotaryViT) -> str | None:
    """The entry of DINOv3's hubconf.py that takes a file of this model as its `weights`.

    It loads strictly, after torch.hub has copied the file into its cache, by name: two files of one name are one to it.
    """
    entry = hub_entry(architecture, architecture.image_size)
    fits = entry is not None and architecture.local_cls_norm == (entry.name == WITH_THE_NORM)
    return entry.name if entry and fits else None


def completed(architecture: RotaryViT, lost: Container[str], because: str) -> tuple[RotaryViT, tuple[Rule, ...]]:
    """The model as its own code has it, and rules that make what a folder has `lost` of it, or never had."""
    entry = hub_entry(architecture, architecture.image_size)
    wanted = NORM_OF_LOCAL_CROPS in lost or (entry is not None and entry.name == WITH_THE_NORM)
    if architecture.local_cls_norm or not wanted:
        return architecture, ()
    constants = {"weight": ones(architecture.width), "bias": zeros(architecture.width)}
    rules = (make(f"{NORM_OF_LOCAL_CROPS}.{leaf}", each, f"{because}: {each}") for leaf, each in constants.items())
    return replace(architecture, local_cls_norm=True), tuple(rules)
