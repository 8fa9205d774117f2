"""What comes out of each block of a Transformers model, under the original's names.

Names of modules in memory changed between Transformers 4.57 and 5, so blocks are found by how they are held: as the
list of a model's layers, or stage by stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from dinoport.networks.observing import EMBEDDING


@contextmanager
def observed_blocks(model: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a mapping that a forward pass of `model` fills: the embedding, and what comes out of every block.

    It stays empty for a model whose blocks are not found.
    """
    seen: dict[str, Any] = {}
    with ExitStack() as hooks:
        for name, block in blocks_of(model).items():
            hooks.callback(block.register_forward_hook(_keep_output(seen, name)).remove)
        for name, block in _entries(model).items():
            hook = block.register_forward_pre_hook(_keep_input(seen, name), with_kwargs=True)
            hooks.callback(hook.remove)
        yield seen


def blocks_of(model: Any) -> dict[str, Any]:
    """Every block by its original name."""
    kind = model.config.model_type
    if kind == "resnet":
        return {f"layer{s + 1}.{b}": block for s, stage in enumerate(_stages(model)) for b, block in enumerate(stage)}
    if kind == "dinov3_convnext":
        return {f"stages.{s}.{b}": block for s, stage in enumerate(_stages(model)) for b, block in enumerate(stage)}
    return {f"blocks.{index}": block for index, block in enumerate(_layers(model))}


def _entries(model: Any) -> dict[str, Any]:
    """The blocks whose inputs are compared too, because something stands before them."""
    kind = model.config.model_type
    if kind in ("resnet", "dinov3_convnext"):
        firsts = [stage[0] for stage in _stages(model)]
        later = {f"downsample_layers.{s}": block for s, block in enumerate(firsts) if s}
        return {EMBEDDING: firsts[0], **(later if kind == "dinov3_convnext" else {})} if firsts else {}
    layers = _layers(model)
    return {EMBEDDING: layers[0]} if layers else {}


def _layers(model: Any) -> list[Any]:
    """The blocks of a ViT: the one list of modules that is as long as the model is deep."""
    from torch.nn import ModuleList

    lists = (module for module in model.modules() if isinstance(module, ModuleList))
    return next((list(found) for found in lists if len(found) == model.config.num_hidden_layers), [])


def _stages(model: Any) -> list[list[Any]]:
    """The blocks of a convolutional network, stage by stage."""
    stages = next((module for name, module in model.named_modules() if name.split(".")[-1] == "stages"), ())
    return [list(stage.layers) for stage in stages]


def _keep_output(seen: dict[str, Any], name: str) -> Callable[..., None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        seen[name] = output[0] if isinstance(output, tuple) else output

    return hook


def _keep_input(seen: dict[str, Any], name: str) -> Callable[..., None]:
    def hook(module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        seen[name] = inputs[0] if inputs else next(iter(keywords.values()))

    return hook
