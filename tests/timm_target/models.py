"""Models for the target timm: written as the originals' files, by the formula."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.formats.torch.writer import write_torch_file
from dinoport.networks.interpolation import TO_SIZE_ANTIALIASED
from tests import formula
from tests.models import CONVNEXT, RESNET, V2, V2_SWIGLU, V3, VIT, classifying, renamed
from tests.writing.stub_tensors import tensor

SMALL_VIT = replace(VIT, width=32, heads=2, mlp_hidden=64, image_size=32)
SMALL_V2 = replace(V2, width=32, heads=2, mlp_hidden=64, image_size=28)
SMALL_V3 = replace(V3, width=32, heads=2, mlp_hidden=64, registers=4)

CASES: dict[str, Any] = {
    "dino": SMALL_VIT,
    "dino classifier": classifying(SMALL_VIT, 5),
    "dino one channel": replace(SMALL_VIT, channels=1),
    "dino eps 1e-5": replace(SMALL_VIT, layer_norm_eps=1e-5),
    "dinov2 eps 1e-5": replace(SMALL_V2, layer_norm_eps=1e-5),
    "dinov2": SMALL_V2,
    "dinov2 without biases": replace(SMALL_V2, qkv_bias=False, proj_bias=False, ffn_bias=False),
    "dinov2 without one bias": replace(SMALL_V2, proj_bias=False),
    "dinov2 without layer scale": replace(SMALL_V2, layer_scale=False),
    "dinov2 gated": replace(V2_SWIGLU, width=32, heads=2, image_size=28),
    "dinov2 registers": replace(SMALL_V2, registers=3, interpolation=TO_SIZE_ANTIALIASED),
    "dinov2 classifier": classifying(SMALL_V2, 5),
    "dinov3": SMALL_V3,
    "dinov3 gated": replace(SMALL_V3, feed_forward="swiglu"),
    "dinov3 without biases": replace(
        SMALL_V3, qkv_bias=False, key_bias_mask=False, proj_bias=False, ffn_bias=False, registers=0
    ),
    "dinov3 key bias": replace(SMALL_V3, key_bias_mask=False, layer_norm_eps=1e-6, registers=0),
    "dinov3 open mask": replace(SMALL_V3, live_key_bias=True, layer_norm_eps=1e-6),
    "dinov3 without layer scale": replace(SMALL_V3, layer_scale=False),
    "dinov3 without registers": replace(SMALL_V3, registers=0),
    "dinov3 without either": replace(SMALL_V3, registers=0, layer_scale=False),
    "dinov3 local norm": replace(SMALL_V3, local_cls_norm=True),
    "dinov3 classifier": classifying(SMALL_V3, 5),
    "convnext": CONVNEXT,
    "resnet": RESNET,
}


def write(case: str, path: Path) -> Path:
    """The file of a case, under the names that its original gives."""
    architecture = CASES[case]
    own = {"dino": "linear", "dinov": "linear_head"}["dinov" if case.startswith("dinov") else "dino"]
    shapes = renamed(architecture.tensors(), "classifier", own)
    state = formula.state_dict(shapes)
    if getattr(architecture, "live_key_bias", False):
        state |= {name: np.ones_like(values) for name, values in state.items() if name.endswith("bias_mask")}
    write_torch_file(path, [tensor(name, values, block=1 << 20) for name, values in state.items()])
    return path


def asked(case: str) -> dict[str, Any]:
    """What a conversion has to be told: the heads that no name shows, and eps where it is not the usual one."""
    told = {} if case.startswith(("dinov3", "convnext", "resnet")) else {"num_heads": 2}
    eps = getattr(CASES[case], "layer_norm_eps", None)
    return {**told, **({"layer_norm_eps": eps} if case.startswith("dinov3") or "eps" in case else {})}
