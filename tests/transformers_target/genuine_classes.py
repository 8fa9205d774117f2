"""The genuine classes of Transformers, tiny, to measure what one changed field of a config does to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

Outcome = Literal["same", "moved", "keys", "refused"]
"""Loaded clean with equal outputs; with other outputs; with keys missing or left over; or not loaded or run at all."""

MOVED = 1e-6
"""Relative, in float64: what counts as other outputs. Weights rounded to float16 move them by 1e-4; the softmax of the
eager attention, which is taken in float32 whatever the model is in, by 1e-8."""

ADDED_PATCHES = 2
"""Patches by which the second picture is larger than the model's own size."""

_VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "image_size": 12,
    "patch_size": 4,
    "num_channels": 3,
}
_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.02}
_DINOV2 = {
    **_VIT,
    **_DROPOUT,
    "qkv_bias": True,
    "layerscale_value": 1.0,
    "drop_path_rate": 0.0,
    "mlp_ratio": 2,
    "use_swiglu_ffn": False,
}
_RESNET = {
    "num_channels": 3,
    "embedding_size": 8,
    "hidden_sizes": [16, 24],
    "depths": [1, 2],
    "layer_type": "bottleneck",
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
    "downsample_in_bottleneck": False,
}
_LABELS = {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "ViTModel": {
        "model_type": "vit",
        **_VIT,
        **_DROPOUT,
        "intermediate_size": 24,
        "qkv_bias": True,
        "encoder_stride": 4,
        "pooler_act": "linear",
        "pooler_output_size": 16,
    },
    "ViTForImageClassification": {
        "model_type": "vit",
        **_VIT,
        **_DROPOUT,
        "intermediate_size": 24,
        "qkv_bias": True,
        "encoder_stride": 4,
        **_LABELS,
    },
    "Dinov2Model": {"model_type": "dinov2", **_DINOV2, "use_mask_token": True},
    "Dinov2ForImageClassification": {"model_type": "dinov2", **_DINOV2, "use_mask_token": True, **_LABELS},
    "Dinov2WithRegistersModel": {"model_type": "dinov2_with_registers", **_DINOV2, "num_register_tokens": 2},
    "Dinov2WithRegistersForImageClassification": {
        "model_type": "dinov2_with_registers",
        **_DINOV2,
        "num_register_tokens": 2,
        **_LABELS,
    },
    "DINOv3ViTModel": {
        "model_type": "dinov3_vit",
        **_VIT,
        "intermediate_size": 24,
        "use_gated_mlp": False,
        "num_register_tokens": 2,
        "query_bias": True,
        "key_bias": False,
        "value_bias": True,
        "proj_bias": True,
        "mlp_bias": True,
        "rope_theta": 100.0,
        "layerscale_value": 1.0,
        "attention_dropout": 0.0,
        "drop_path_rate": 0.0,
        "initializer_range": 0.02,
    },
    "DINOv3ConvNextModel": {
        "model_type": "dinov3_convnext",
        "num_channels": 3,
        "hidden_sizes": [8, 16, 24, 32],
        "depths": [1, 1, 2, 1],
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "layer_scale_init_value": 1e-6,
        "drop_path_rate": 0.0,
        "image_size": 64,
        "initializer_range": 0.02,
    },
    "ResNetModel": {"model_type": "resnet", **_RESNET},
    "ResNetForImageClassification": {"model_type": "resnet", **_RESNET, **_LABELS},
}

_VIT_OF_OTHERS = {**_VIT, **_DROPOUT, "intermediate_size": 24, "qkv_bias": True}
_BEIT = {
    **_VIT,
    **_DROPOUT,
    "intermediate_size": 24,
    "use_mask_token": False,
    "use_absolute_position_embeddings": True,
    "use_relative_position_bias": False,
    "use_shared_relative_position_bias": False,
    "layer_scale_init_value": 0.0,
    "use_mean_pooling": True,
    "drop_path_rate": 0.0,
}
_POOLER = {"encoder_stride": 4, "pooler_act": "linear", "pooler_output_size": 16}

CONFIGS_OF_RELATIVES: Mapping[str, Mapping[str, Any]] = {
    "DeiTModel": {"model_type": "deit", **_VIT_OF_OTHERS, **_POOLER},
    "DeiTForImageClassificationWithTeacher": {"model_type": "deit", **_VIT_OF_OTHERS, "encoder_stride": 4, **_LABELS},
    "IJepaModel": {"model_type": "ijepa", **_VIT_OF_OTHERS},
    "ViTMSNModel": {"model_type": "vit_msn", **_VIT_OF_OTHERS},
    "ViTMAEForPreTraining": {
        "model_type": "vit_mae",
        **_VIT_OF_OTHERS,
        "decoder_hidden_size": 8,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 12,
        "mask_ratio": 0.5,
        "norm_pix_loss": False,
    },
    "BeitModel": {"model_type": "beit", **_BEIT},
    "BeitForImageClassification": {"model_type": "beit", **_BEIT, **_LABELS},
    "Tipsv2VisionModel": {"model_type": "tipsv2_vision_model", **_DINOV2, "num_register_tokens": 1},
}
"""Measured once, and recorded: the tests that measure anew leave them out."""

ALL_CONFIGS = {**CONFIGS, **CONFIGS_OF_RELATIVES}

PLACES = {"DeiTForImageClassificationWithTeacher": slice(1), "ViTMAEForPreTraining": slice(1, 3)}
"""Where in a tuple the outputs stand, where they are not the first two: beside parts of logits, behind a loss."""

ASKED_TO_RESAMPLE = ("ViT", "DeiT", "IJepa", "Beit")
"""Beginnings of classes that take a picture of another size only where they are asked to."""


@dataclass(frozen=True)
class Genuine:
    """One class in a folder, with its own outputs; `outcome` says what another config.json makes of the weights."""

    class_name: str
    folder: Path
    config: Mapping[str, Any]
    outputs: tuple[Any, ...]

    @classmethod
    def make(cls, class_name: str, folder: Path) -> Genuine:
        """Random weights, of a size at which every part moves the outputs; nothing is left at zero or one."""
        import torch
        import transformers

        config = {"architectures": [class_name], **ALL_CONFIGS[class_name], "dtype": "float32"}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        model = getattr(transformers, class_name)(transformers.AutoConfig.from_pretrained(folder))
        torch.manual_seed(0)
        with torch.no_grad():
            for name, values in model.state_dict().items():
                if values.is_floating_point():
                    values.copy_(torch.rand_like(values) * 0.5 + (0.75 if "running_var" in name else -0.25))
        model.save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps(config))
        return cls(class_name, folder, config, _outputs(_load(class_name, folder)))

    def outcome(self, changed: Mapping[str, Any]) -> Outcome:
        """What the class makes of its weights with another config, loaded as a user loads them."""
        (self.folder / "config.json").write_text(json.dumps(changed))
        try:
            model = _load(self.class_name, self.folder)
            outputs = _outputs(model)
        except KeysError:
            return "keys"
        except Exception:  # whatever a class raises: it does not load or run with this value
            return "refused"
        finally:
            (self.folder / "config.json").write_text(json.dumps(self.config))
        if len(outputs) != len(self.outputs):
            return "moved"
        return "moved" if any(map(_differ, self.outputs, outputs)) else "same"


class KeysError(Exception):
    pass


def _load(class_name: str, folder: Path) -> Any:
    import transformers

    auto = transformers.AutoModelForImageClassification if "Class" in class_name else transformers.AutoModel
    if class_name == "ViTMAEForPreTraining":
        auto = transformers.AutoModelForPreTraining
    model, info = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False, output_loading_info=True)
    if info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]:
        raise KeysError
    if type(model).__name__ != class_name:
        raise TypeError(type(model).__name__)
    return model.double().eval()


def _outputs(model: Any) -> tuple[Any, ...]:
    """The values of all outputs for two sizes of picture, also where the config asks for tuples."""
    import torch

    name = type(model).__name__
    side = ALL_CONFIGS[name].get("image_size", 64)
    found: list[Any] = []
    for each in (side,) if "MAE" in name else (side, side + 4 * ADDED_PATCHES):
        noise = np.random.default_rng(each).standard_normal((1, 3, each, each))
        options: dict[str, Any] = {"interpolate_pos_encoding": True} if name.startswith(ASKED_TO_RESAMPLE) else {}
        if "MAE" in name:  # the same patches are hidden in each pass
            options["noise"] = torch.arange((side // 4) ** 2, dtype=torch.float64)[None]
        with torch.inference_mode():
            made = model(torch.from_numpy(noise), **options)
        if isinstance(made, tuple):
            found += [value for value in made[PLACES.get(name, slice(2))] if isinstance(value, torch.Tensor)]
        else:
            names = ("last_hidden_state", "pooler_output", "logits", "mask")
            found += [made[name] for name in names if made.get(name) is not None]
    return tuple(found)


def _differ(one: Any, other: Any) -> bool:
    if one.shape != other.shape:
        return True
    difference = float((one - other).abs().max())
    return not difference <= MOVED * float(one.abs().max())


def names_asked(genuine: Genuine) -> set[str]:
    """Names that Transformers asks a config for, in the file and in the object, while it loads and runs this class."""
    import transformers

    asked: set[str] = set()
    config_class = type(transformers.AutoConfig.from_pretrained(genuine.folder))
    own = config_class.__getattribute__

    def recording(self: Any, name: str) -> Any:
        asked.add(name)
        return own(self, name)

    class Recording(dict):  # type: ignore[type-arg]  # any keys, any values
        def __contains__(self, name: object) -> bool:
            asked.add(str(name))
            return super().__contains__(name)

        def __getitem__(self, name: Any) -> Any:
            asked.add(str(name))
            return super().__getitem__(name)

        def get(self, name: Any, default: Any = None) -> Any:
            asked.add(str(name))
            return super().get(name, default)

        def pop(self, name: Any, *default: Any) -> Any:
            asked.add(str(name))
            return super().pop(name, *default)

        def __deepcopy__(self, memo: Any) -> Recording:
            return Recording(self)

        def copy(self) -> Recording:
            return Recording(self)

    base = next(each for each in config_class.__mro__ if "_dict_from_json_file" in vars(each))
    read = vars(base)["_dict_from_json_file"]
    reader: Callable[..., Any] = read.__func__
    config_class.__getattribute__ = recording
    base._dict_from_json_file = classmethod(lambda cls, *given: Recording(reader(cls, *given)))
    try:
        _outputs(_load(genuine.class_name, genuine.folder))
    finally:
        del config_class.__getattribute__
        base._dict_from_json_file = read
        if config_class.__getattribute__ is not own:
            config_class.__getattribute__ = own
    return {name for name in asked if not name.startswith("__")}
