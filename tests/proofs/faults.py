"""Mistakes that conversions have had, planted into a folder that was right, and how they must be named."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from dinoport.codebases.transformers import vit
from dinoport.mapping.rule import Rule
from dinoport.networks.vit.architecture import ViT
from dinoport.report.report import Report
from dinoport.report.text import cause_text, report_lines
from tests import formula
from tests.families.cases import Case, Request, teacher

Tensors = dict[str, formula.Array]

VIT = ViT(width=32, depth=11, heads=2, mlp_hidden=64, patch_size=16, image_size=64)
SOURCE = Case("vit", VIT, "ViTModel", Request(num_heads=2, checkpoint_key="teacher"), wrap=teacher)


@dataclass(frozen=True)
class Fault:
    """Something wrong in a folder, what must be said to begin the difference, and the cause in words."""

    block: str
    cause: str
    config: dict[str, object] = field(default_factory=dict)
    edit: Callable[[Tensors], None] = lambda tensors: None


def swap(first: str, second: str, within: str = "") -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        for name in [name for name in tensors if first in name and within in name]:
            other = name.replace(first, second)
            tensors[name], tensors[other] = tensors[other], tensors[name]

    return edit


def alphabetical(tensors: Tensors) -> None:
    old = dict(tensors)
    for place, index in enumerate(sorted(range(VIT.depth), key=str)):
        for name in [name for name in old if name.startswith(f"encoder.layer.{place}.")]:
            tensors[name] = old[name.replace(f"layer.{place}.", f"layer.{index}.", 1)]


def by_head(tensors: Tensors) -> None:
    parts = ("query", "key", "value")
    for name in [name for name in tensors if ".query." in name]:
        names = [name.replace("query", part) for part in parts]
        joint = np.concatenate([tensors[part] for part in names])
        read_by_head = joint.reshape(2, 3, -1, *joint.shape[1:]).swapaxes(0, 1).reshape(joint.shape)
        for part, rows in zip(names, np.split(read_by_head, 3), strict=True):
            tensors[part] = np.ascontiguousarray(rows)


def cls_last(tensors: Tensors) -> None:
    name = "embeddings.position_embeddings"
    tensors[name] = np.roll(tensors[name], -1, axis=1)


def colours(tensors: Tensors) -> None:
    name = "embeddings.patch_embeddings.projection.weight"
    tensors[name] = tensors[name][:, ::-1].copy()


def transposed(tensors: Tensors) -> None:
    for name in [name for name in tensors if name.endswith("attention.output.dense.weight")]:
        tensors[name] = tensors[name].T.copy()


def student(tensors: Tensors) -> None:
    for name in [name for name in tensors if not name.startswith("pooler")]:
        tensors[name] = tensors[name] + 1


def halved(tensors: Tensors) -> None:
    for name in [name for name in tensors if not name.startswith("pooler")]:
        tensors[name] = tensors[name].astype("float16").astype("float32")


def one_value(tensors: Tensors) -> None:
    tensors["encoder.layer.5.output.dense.weight"] = tensors["encoder.layer.5.output.dense.weight"] * 1.5


QK = ("attention.query", "attention.key")
NORMS = ("layernorm_before", "layernorm_after")

FAULTS = {
    "1 head": Fault("blocks.0", "the folder computes with 1, the original with 2", {"num_attention_heads": 1}),
    "8 heads": Fault("blocks.0", "the folder computes with 8, the original with 2", {"num_attention_heads": 8}),
    "eps 1e-12": Fault("blocks.0", "computes with 1e-12, the original with 1e-06", {"layer_norm_eps": 1e-12}),
    "eps 1e-5": Fault("blocks.0", "computes with 1e-05, the original with 1e-06", {"layer_norm_eps": 1e-5}),
    "tanh gelu": Fault("blocks.0", "gelu approximated by tanh, the original exact gelu", {"hidden_act": "gelu_new"}),
    "quick gelu": Fault("blocks.0", "computes quick gelu, the original", {"hidden_act": "quick_gelu"}),
    "silu": Fault("blocks.0", "computes silu, the original exact gelu", {"hidden_act": "silu"}),
    "relu": Fault("blocks.0", "computes relu, the original exact gelu", {"hidden_act": "relu"}),
    "queries for keys": Fault("blocks.0", "queries and keys are swapped in every block", edit=swap(*QK)),
    "queries for values": Fault(
        "blocks.0", "queries and values are swapped in every block", edit=swap("attention.query", "attention.value")
    ),
    "queries for keys, once": Fault(
        "blocks.7", "queries and keys are swapped in blocks.7", edit=swap(*QK, ".layer.7.")
    ),
    "qkv by head": Fault("blocks.0", "taken to be ordered by head", edit=by_head),
    "norms": Fault("blocks.0", "norm1 and norm2 are swapped in every block", edit=swap(*NORMS)),
    "norms, once": Fault("blocks.3", "norm1 and norm2 are swapped in blocks.3", edit=swap(*NORMS, ".layer.3.")),
    "blocks as text": Fault("blocks.2", "the blocks are in alphabetical order", edit=alphabetical),
    "CLS token last": Fault("embedding", "the position table has the CLS token last", edit=cls_last),
    "BGR": Fault("embedding", "the colours are BGR where the original takes RGB", edit=colours),
    "transposed": Fault("blocks.0", "attn.proj is transposed in every block", edit=transposed),
    "student": Fault("embedding", "the folder holds the weights of student", edit=student),
    "float16": Fault("embedding", "the weights were rounded to float16", edit=halved),
    "one tensor": Fault("blocks.5", "the folder's weights are not the original's", edit=one_value),
    "swap and eps": Fault(
        "blocks.0",
        "44 tensors are in each other's place; and eps: the folder computes with 1e-12, the original with 1e-06",
        {"layer_norm_eps": 1e-12},
        swap("attention.key", "attention.value"),
    ),
}


W12 = swap("gate_proj", "up_proj")
SCALES = swap("layer_scale1", "layer_scale2")
FIRST_NORMS = swap("layer.0.normalization", "layer.1.normalization")

IN_OTHER_FAMILIES = {
    ("dinov2", "2 heads"): Fault("blocks.0", "computes with 2, the original with 1", {"num_attention_heads": 2}),
    ("dinov2-swiglu", "norms"): Fault("blocks.0", "norm1 and norm2 are swapped", edit=swap("norm1", "norm2")),
    ("dinov2-registers", "eps"): Fault("blocks.0", "with 1e-12, the original with 1e-06", {"layer_norm_eps": 1e-12}),
    ("dinov3", "4 heads"): Fault("blocks.0", "computes with 4, the original with 2", {"num_attention_heads": 4}),
    ("dinov3", "eps"): Fault("blocks.0", "with 1e-06, the original with 1e-05", {"layer_norm_eps": 1e-6}),
    ("dinov3", "tanh gelu"): Fault("blocks.0", "gelu approximated by tanh", {"hidden_act": "gelu_new"}),
    ("dinov3", "layer scales"): Fault("blocks.0", "ls1 and ls2 are swapped in every block", edit=SCALES),
    ("dinov3-gated", "gelu"): Fault("blocks.0", "computes exact gelu, the original silu", {"hidden_act": "gelu"}),
    ("dinov3-gated", "gate"): Fault("blocks.0", "mlp.w1 and mlp.w2 are swapped in every block", edit=W12),
    ("dinov3-convnext", "eps"): Fault("embedding", "with 1e-05, the original with 1e-06", {"layer_norm_eps": 1e-5}),
    ("dinov3-convnext", "relu"): Fault("stages.0.0", "computes relu, the original exact gelu", {"hidden_act": "relu"}),
    ("resnet", "norms"): Fault("layer1.0", "bn1 and bn2 are swapped in every block", edit=FIRST_NORMS),
}


def assert_named(report: Report, block: str, cause: str, limit: float = 1e-12) -> None:
    """Terminal and page say where the difference begins, and why; what is left of it is below `limit`."""
    from dinoport.report.page.render import page

    found = report.proofs.diagnosis
    assert found is not None
    assert found.block == block
    assert found.cause is not None
    assert cause in found.cause
    assert found.remaining is not None
    assert found.remaining < limit
    assert not found.partly
    shown = html.unescape(re.sub(r"<[^>]*>", "", page(report)))
    assert f"The difference begins at {block}\n" in shown
    assert cause_text(found)[1:] in shown
    lines = " ".join(" ".join(report_lines(report)).split())
    assert f"begins at {block}, the first that differs" in lines
    assert f"cause {cause_text(found)}" in lines


def with_rules(rules: tuple[Rule, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every ViT written by another table, in this test."""
    mistaken = vit.VIT._replace(rules=rules)
    monkeypatch.setattr(vit, "VIT", mistaken)
    monkeypatch.setitem(vit.KINDS, mistaken.model_type, mistaken)
