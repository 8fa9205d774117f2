"""What a class of Transformers gives for images, under the names that the references use."""

from __future__ import annotations

from typing import Any


def outputs_of(model: Any, images: Any) -> dict[str, Any]:
    """The outputs of a Transformers model, under the names that the references use, from one forward pass."""
    arguments = {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}
    seen: list[Any] = []
    hook = model.base_model.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        result = model(images, **arguments)
    finally:
        hook.remove()
    backbone = seen[0] if "logits" in result else result
    if model.config.model_type == "resnet":
        outputs = {"feature_map": backbone.last_hidden_state, "pooled": backbone.pooler_output.flatten(1)}
    else:
        outputs = {"tokens": backbone.last_hidden_state}
        if backbone.pooler_output is not None:
            outputs["pooled"] = backbone.pooler_output
    return outputs | ({"logits": result.logits} if "logits" in result else {})
