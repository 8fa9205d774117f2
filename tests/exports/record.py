"""Record graphs of the genuine exporters as small files: `python -m tests.exports.record`, where onnx is installed, and
`python -m tests.exports.record timm`, where timm is too.

What an exporter writes beside the graph (stack traces, names of files on its machine) is taken out.
"""

import sys
import tempfile
from pathlib import Path

from dinoport.api import convert
from tests.exports.cases import CASES, RECORDED
from tests.exports.exporting import export, loaded

KINDS = {
    "vit": ("torchscript14", "torchscript17", "dynamo18", "dynamo23", "dynamo20-any", "transformers"),
    "vit-classifier": ("dynamo20", "torchscript17"),
    "dinov2": ("torchscript14", "dynamo20", "dynamo23", "dynamo20-any", "transformers-any"),
    "dinov2-registers": ("dynamo20", "dynamo20-any"),
    "dinov2-swiglu": ("torchscript17", "dynamo20"),
    "dinov3": ("torchscript14", "torchscript17", "dynamo18", "dynamo20-any", "transformers-any"),
    "dinov3-swiglu": ("torchscript17", "dynamo20"),
    "dinov3-convnext": ("torchscript17", "dynamo20", "dynamo20-any"),
}


def record() -> None:
    import onnx
    import torch

    RECORDED.mkdir(exist_ok=True)
    for name, kinds in KINDS.items():
        case = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            model = loaded(case, Path(folder))
            patch = case.architecture.cell
            for kind in kinds:
                written = export(model, Path(folder) / kind, kind, case.size, patch)
                _keep(onnx, written, f"{name}-{kind}")
            if name == "dinov2":
                _keep(onnx, export(model, Path(folder) / "other", "dynamo20", 5 * patch), f"{name}-dynamo20-other-size")
            if name == "vit":
                half = loaded(case, Path(folder)).to(torch.float16)
                _keep(onnx, export(half, Path(folder) / "half", "dynamo20", case.size), f"{name}-dynamo20-float16")
                _quantized(onnx, export(model, Path(folder) / "whole", "dynamo20", case.size), f"{name}-dynamo20-int8")


OF_TIMM = ("vit", "dinov2-registers", "dinov3", "dinov3-swiglu", "dinov3-convnext")


def record_timm() -> None:
    """Graphs of timm's classes: of all tokens, with the attention that the TorchScript exporter can write."""
    import onnx
    import timm
    import torch

    for name in OF_TIMM:
        case = CASES[name]
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            convert(case.write(folder), folder / "timm", case.request, to="timm", level="none")
            model = timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True).eval()
            for module in model.modules():
                if hasattr(module, "fused_attn"):
                    module.fused_attn = False
            if "convnext" not in name:
                model.forward = model.forward_features
            pixels = torch.zeros(1, 3, case.size, case.size)
            torch.onnx.export(model, (pixels,), folder / "model", dynamo=False, opset_version=17)
            _keep(onnx, folder / "model", f"{name}-timm-torchscript17")


def _quantized(onnx: object, path: Path, name: str) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(path, path.with_suffix(".int8"))
    _keep(onnx, path.with_suffix(".int8"), name)


def _keep(onnx: object, path: Path, name: str) -> None:
    model = onnx.load(path / "model.onnx" if path.is_dir() else path)  # type: ignore[attr-defined]
    for graph in (model.graph, *(each.g for node in model.graph.node for each in node.attribute if each.HasField("g"))):
        for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
            part.doc_string = ""
            del part.metadata_props[:]
        del graph.value_info[:]
        del graph.metadata_props[:]
    del model.metadata_props[:]
    onnx.save(model, RECORDED / f"{name}.onnx")  # type: ignore[attr-defined]
    print(name, (RECORDED / f"{name}.onnx").stat().st_size)


if __name__ == "__main__":
    record_timm() if sys.argv[1:] == ["timm"] else record()
