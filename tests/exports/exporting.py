"""Graphs by the genuine exporters: PyTorch's two, and Transformers' own."""

import contextlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

from dinoport.api import convert
from tests import formula
from tests.exports.cases import Exportable


def loaded(case: Exportable, folder: Path) -> Any:
    """The model as Transformers loads it from the folder that it was converted into."""
    import transformers

    written = folder / "folder"
    if not written.exists():
        convert(case.write(folder), written, case.request, level="exact")
    name = json.loads((written / "config.json").read_text())["architectures"][0]
    return getattr(transformers, name).from_pretrained(written).eval()


def export(model: Any, path: Path, kind: str, size: int, patch: int = 8) -> Path:
    """`dynamo18`, `torchscript17`, `transformers`, each with `-any` for pictures of any size."""
    import torch

    exporter, _, any_size = kind.partition("-")
    pixels = torch.from_numpy(formula.pixel_values(size, size, batch=1)).to(model.dtype)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "transformers":
            from transformers.exporters import OnnxConfig, OnnxExporter

            config = OnnxConfig(dynamic=bool(any_size))
            OnnxExporter().export(model, {"pixel_values": pixels}, config=config).save_pretrained(path)
        elif exporter.startswith("torchscript"):
            opset = int(exporter.removeprefix("torchscript"))
            torch.onnx.export(model, (pixels,), path, dynamo=False, opset_version=opset)
        else:
            opset = int(exporter.removeprefix("dynamo"))
            sizes = None
            if any_size:  # traced at another size than the model's own, and not at a square one
                pixels = torch.from_numpy(formula.pixel_values(size + 2 * patch, size + patch, batch=2))
                axis = torch.export.Dim.AUTO
                model, sizes = AtAnySize(model), ({0: axis, 2: axis, 3: axis},)
            torch.onnx.export(
                model,
                (pixels,),
                path,
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=sizes,
                external_data=False,
                verbose=False,
            )
    return path


def AtAnySize(model: Any) -> Any:  # noqa: N802  # it makes a module
    """A model whose position table follows the picture."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: Any) -> Any:
            own = model.config.model_type == "vit"
            found = self.model(pixel_values, **({"interpolate_pos_encoding": True} if own else {}))
            return tuple(value for value in found.values() if isinstance(value, torch.Tensor))

    return Module()
