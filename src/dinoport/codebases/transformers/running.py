"""Loading a folder into its class of Transformers, and running it in float64 and float32.

Names of modules in memory changed between Transformers 4.57 and 5, so blocks are found by how they are held: as the
list of a model's layers, or stage by stage.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dinoport.codebases.passes import Swept, by_stage, of_this_thread
from dinoport.codebases.running import LoadingProof, Pass
from dinoport.codebases.transformers.forms import CLASSES
from dinoport.codebases.transformers.poolers import has_pooler
from dinoport.progress import Together

KEEPING = "dinoport_keeps_attention"
"""The name under which Transformers calls our attention function."""


class ClassRunner(Swept):
    """A class of Transformers over a folder, from disk alone. `pooler=False` leaves out the pooler of a ViTModel,
    `without` are outputs that are not asked for.
    """

    def __init__(self, folder: Path, class_name: str, *, pooler: bool = True, without: Collection[str] = ()) -> None:
        self.folder, self.class_name, self._pooler, self._without = folder, class_name, pooler, without

    absent = None
    imports = ("AutoImageProcessor",)

    def load(self, dtype: str = "float64") -> LoadingProof:
        """Load in a dtype that holds the weights, with scaled dot product attention where the class has a choice."""
        import torch
        import transformers

        cls = getattr(transformers, self.class_name, None)
        if cls is None:  # version 4 has not all classes of version 5
            absent = f"Transformers {transformers.__version__} has no {self.class_name}: a later one has"
            return LoadingProof(self.class_name, transformers.__version__, absent=absent)
        arguments: dict[str, object] = {"local_files_only": True, "output_loading_info": True, "use_safetensors": True}
        arguments["ignore_mismatched_sizes"] = True  # Transformers then names them, and so do we
        arguments |= {"dtype": getattr(torch, dtype), **attention_for(self.class_name)}
        if not self._pooler and has_pooler(self.class_name):
            arguments["add_pooling_layer"] = False
        version = transformers.__version__
        with quiet:
            try:
                model, info = cls.from_pretrained(self.folder, **arguments)
            except Exception as error:  # whatever a class raises on a bad folder is the proof's finding
                failure = f"{type(error).__name__}: {error}".strip()
                return LoadingProof(self.class_name, version, failure=failure)
        self.model = model.eval()
        return LoadingProof(
            self.class_name,
            version,
            missing=tuple(sorted(map(str, info["missing_keys"]))),
            unexpected=tuple(sorted(map(str, info["unexpected_keys"]))),
            mismatched=tuple(sorted(str(key[0]) if isinstance(key, tuple) else key for key in info["mismatched_keys"])),
            failure="; ".join(map(str, info.get("error_msgs") or ())) or None,
        )

    def attention(self, images: Any) -> tuple[Pass, Any]:
        with kept_attention(self.model) as rows:
            found = self.run(images)
        return found, rows[-1] if rows else None

    def blocks(self, model: Any) -> Mapping[str, Any]:
        kind = model.config.model_type
        if kind == "resnet":
            return by_stage("layer{}.{}", _stages(model), 1)
        if kind == "dinov3_convnext":
            return by_stage("stages.{}.{}", _stages(model))
        return {f"blocks.{index}": block for index, block in enumerate(_layers(model))}

    def outputs(self, model: Any, images: Any) -> Mapping[str, Any]:
        return {name: each for name, each in outputs_of(model, images).items() if name not in self._without}

    @contextmanager
    def rotations(self, model: Any) -> Iterator[list[tuple[Any, Any]]]:
        found: list[tuple[Any, Any]] = []
        modules = [module for name, module in model.named_modules() if name.split(".")[-1] == "rope_embeddings"]
        keep = of_this_thread(lambda module, inputs, output: found.append(output[::-1]))
        with ExitStack() as hooks:
            for module in modules:
                hooks.callback(module.register_forward_hook(keep).remove)
            yield found


def attention_for(class_name: str) -> dict[str, object]:
    """PyTorch's own attention, whatever config.json asks for, in classes that have attention."""
    return {} if class_name.startswith(("ResNet", "DINOv3ConvNext")) else {"attn_implementation": "sdpa"}


def _silence() -> Callable[[], None]:
    """Keep Transformers' own reports and progress bars off the terminal: what they say is in the proof."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()

    def speak_again() -> None:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()

    return speak_again


quiet = Together(_silence)


def outputs_of(model: Any, images: Any) -> dict[str, Any]:
    """The outputs of a Transformers model, under the names that the networks use, from one forward pass."""
    code = CLASSES[type(model).__name__].code
    arguments = code.arguments(model.config, images) if hasattr(code, "arguments") else {}
    seen: list[Any] = []
    hook = model.base_model.register_forward_hook(of_this_thread(lambda module, inputs, output: seen.append(output)))
    try:
        result = model(images, **arguments)
    finally:
        hook.remove()
    backbone = seen[0] if "logits" in result else result
    if hasattr(code, "outputs"):
        found: dict[str, Any] = code.outputs(result, backbone)
        return found
    outputs = {"tokens": backbone.last_hidden_state}
    if getattr(backbone, "pooler_output", None) is not None:  # MSN's class has none
        outputs["pooled"] = backbone.pooler_output
    return outputs | ({"logits": result.logits} if "logits" in result else {})


def _layers(model: Any) -> list[Any]:
    """The blocks of a ViT: the one list of modules that is as long as the model is deep."""
    from torch.nn import ModuleList

    lists = (module for module in model.modules() if isinstance(module, ModuleList))
    return next((list(found) for found in lists if len(found) == model.config.num_hidden_layers), [])


def _stages(model: Any) -> list[list[Any]]:
    """The blocks of a convolutional network, stage by stage."""
    stages = next((module for name, module in model.named_modules() if name.split(".")[-1] == "stages"), ())
    return [list(stage.layers) for stage in stages]


@contextmanager
def kept_attention(model: Any) -> Iterator[list[Any]]:
    """Yield a list to which a forward pass adds, block by block, the CLS token's attention: (batch, heads, tokens).

    The queries and keys are the model's own, after rotation where there is one. `output_attentions` would hold all
    tokens' attention of all blocks, which are gigabytes at larger sizes. Empty for a model without attention.
    """
    import torch
    from transformers import AttentionInterface

    rows: list[Any] = []

    def attend(
        module: Any,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        scaling: float | None = None,
        **others: Any,
    ) -> tuple[Any, None]:
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        rows.append((query[:, :, :1] @ key.transpose(-2, -1) * scaling).softmax(dim=-1)[:, :, 0])
        attended = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling)
        return attended.transpose(1, 2).contiguous(), None

    before = model.config._attn_implementation
    if model.config.model_type in ("resnet", "dinov3_convnext"):
        yield rows
        return
    AttentionInterface.register(KEEPING, attend)
    model.set_attn_implementation(KEEPING)
    try:
        yield rows
    finally:
        model.set_attn_implementation(before)
