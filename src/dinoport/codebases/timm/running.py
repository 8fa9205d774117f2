"""Loading a folder into timm's class, and running it in float64 and float32.

timm is given a folder of ours with what is known of config.json, and a link to the weights: a stranger's may name files
and addresses of its own.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dinoport.codebases.passes import Swept, by_stage, of_this_thread
from dinoport.codebases.running import LoadingProof, Pass
from dinoport.codebases.timm.arguments import OF_VIT
from dinoport.codebases.timm.comparing import BUILDING, PIXELS
from dinoport.files.folders import link_or_copy
from dinoport.shown.packages import installing, missing

FIRST_WITH_FOLDERS = (1, 0, 16)
"""The first timm that loads `local-dir:`."""

FIRST_WITH_DINOV3 = (1, 0, 20)
ROTARY = "eva02"
"""A builder that older versions have too, without the rotary positions of DINOv3, for which it is taken here."""

KNOWN = (*BUILDING, "pretrained_cfg")
KNOWN_OF_PRETRAINED = (*PIXELS, "fixed_input_size", "first_conv", "classifier", "num_classes")


class TimmRunner(Swept):
    """A class of timm's over a folder, from disk alone."""

    imports = ()

    def __init__(self, folder: Path, architecture: str) -> None:
        self.folder, self.architecture = folder, architecture

    @property
    def absent(self) -> str | None:
        """Why the folder cannot be run here; None where it can."""
        if missing("timm"):
            return f"timm is not installed: {installing(['timm'])}"
        import timm

        version = timm.__version__
        numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
        if numbers < FIRST_WITH_FOLDERS:
            return f"timm {version} loads no folders, timm {'.'.join(map(str, FIRST_WITH_FOLDERS))} does"
        if self.architecture.startswith(ROTARY) and numbers < FIRST_WITH_DINOV3:
            return f"timm {version} has no DINOv3, timm {'.'.join(map(str, FIRST_WITH_DINOV3))} does"
        if not timm.is_model(self.architecture):
            return f"timm {version} has no {self.architecture}: a later one has"
        return None

    def load(self, dtype: str = "float64", *, any_size: bool = False) -> LoadingProof:
        """Load in a dtype that holds the weights. A ViT can be asked for one that takes `any_size`."""
        import timm

        try:
            with given(self.folder) as folder:
                options = {"dynamic_img_size": True} if any_size else {}
                model = timm.create_model(f"local-dir:{folder}", pretrained=True, **options).eval()
                held = _names(folder / "model.safetensors")
                if dtype == "float64":
                    from safetensors.torch import load_file

                    model = model.double()
                    model.load_state_dict(load_file(folder / "model.safetensors"))
        except Exception as error:  # whatever a class raises on a bad folder is the proof's finding
            failure = f"{type(error).__name__}: {error}".strip()
            return LoadingProof(self.architecture, timm.__version__, "timm", failure=failure)
        self.model, own = model, model.state_dict().keys()
        return LoadingProof(
            self.architecture,
            timm.__version__,
            "timm",
            missing=tuple(sorted(own - held)),
            unexpected=tuple(sorted(held - own)),
        )

    def attention(self, images: Any) -> tuple[Pass, Any]:
        """The same with the last block's attention computed step by step: a fused one keeps no rows."""
        with kept_attention(self.model) as rows:
            return self.run(images), rows[0] if rows else None

    def blocks(self, model: Any) -> Mapping[str, Any]:
        return blocks_of(model)

    def outputs(self, model: Any, images: Any) -> Mapping[str, Any]:
        return outputs_of(model, images)

    @contextmanager
    def rotations(self, model: Any) -> Iterator[list[tuple[Any, Any]]]:
        """A list that a forward pass adds the sines and cosines to that go into its first block."""
        found: list[tuple[Any, Any]] = []

        def keep(module: Any, inputs: Any, keywords: Mapping[str, Any]) -> None:
            if keywords.get("rope") is not None:
                sines, cosines = keywords["rope"].chunk(2, dim=-1)
                found.append((sines, cosines))

        with ExitStack() as hooks:
            for block in list(self.blocks(model).values())[:1]:
                hooks.callback(block.register_forward_pre_hook(of_this_thread(keep), with_kwargs=True).remove)
            yield found


class TimmTransform:
    """The transform that timm makes of a folder's config, as an image processor: for PIL pictures."""

    backend = "PIL"

    def __init__(self, folder: Path) -> None:
        import timm

        with given(folder, weights=False) as known:
            model = timm.create_model(f"local-dir:{known}", pretrained=False)
        self._transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))

    def __call__(self, picture: Any, return_tensors: str = "pt") -> dict[str, Any]:
        """Pixel values of (1, channels, height, width); timm's own loaders convert to RGB first."""
        return {"pixel_values": self._transform(picture.convert("RGB"))[None]}


@contextmanager
def given(folder: Path, *, weights: bool = True) -> Iterator[Path]:
    """A folder of ours with what is known of another one's config, and its `weights`; removed afterwards."""
    from dinoport.files.json_file import write_json
    from dinoport.formats.transformers_folder import read_json

    config = read_json(folder / "config.json")
    known = {name: value for name, value in config.items() if name in KNOWN}
    described = known.get("pretrained_cfg")
    if isinstance(described, dict):
        known["pretrained_cfg"] = {name: value for name, value in described.items() if name in KNOWN_OF_PRETRAINED}
    with tempfile.TemporaryDirectory(prefix="dinoport-timm-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        write_json(place / "config.json", known)
        if weights:
            _give_weights(folder, place / "model.safetensors")
        yield place


def _give_weights(folder: Path, place: Path) -> None:
    """A link to a folder's weights; a pickle's are written out as they are read, so that it never reaches timm."""
    from dinoport.formats.opening import open_checkpoint
    from dinoport.formats.safetensors.writer import write_safetensors
    from dinoport.mapping.plan import computed

    weights = folder / place.name
    if not weights.exists():
        with open_checkpoint(folder) as checkpoint:
            write_safetensors(place, [computed(each) for each in checkpoint.tensors.values()])
        return
    link_or_copy(weights, place)


@contextmanager
def kept_attention(model: Any) -> Iterator[list[Any]]:
    """Yield a list to which a forward pass adds how much the CLS token attends to every token in the last block.

    (batch, heads, tokens); empty for a model without attention.
    """
    rows: list[Any] = []
    block = list(blocks_of(model).values())[-1]
    attention = getattr(block, "attn", None)
    if attention is None:
        yield rows
        return

    def keep(module: Any, inputs: Any, output: Any) -> None:
        rows.append(output[:, :, 0])

    fused = attention.fused_attn
    hook = attention.attn_drop.register_forward_hook(of_this_thread(keep))
    attention.fused_attn = False
    try:
        yield rows
    finally:
        attention.fused_attn = fused
        hook.remove()


def _names(weights: Path) -> frozenset[str]:
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        return frozenset(file.keys())


def outputs_of(model: Any, images: Any) -> dict[str, Any]:
    """The outputs of a timm model, under the names that the networks use, from one forward pass.

    Its ConvNeXt norms the pooled vector alone; the original norms every place of the map alike, with the same norm.
    """
    import torch

    features = model.forward_features(images)
    kind = type(model).__name__
    if kind == "ResNet":
        outputs = {"feature_map": features, "pooled": model.forward_head(features, pre_logits=True)}
    elif kind == "ConvNeXt":
        norm = model.head.norm
        rows = torch.cat([features.mean((2, 3))[:, None], features.flatten(2).transpose(1, 2)], 1)
        tokens = torch.nn.functional.layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        outputs = {"tokens": tokens, "pooled": model.forward_head(features, pre_logits=True)}
    else:
        outputs = {"tokens": features}
        if model.num_classes or model.global_pool == OF_VIT:  # another pooled output is said where configs are compared
            outputs["pooled"] = model.forward_head(features, pre_logits=True)
    return outputs | ({"logits": model.forward_head(features)} if model.num_classes else {})


def blocks_of(model: Any) -> dict[str, Any]:
    kind = type(model).__name__
    if kind == "ResNet":
        return by_stage("layer{}.{}", (getattr(model, f"layer{number}") for number in range(1, 5)), 1)
    if kind == "ConvNeXt":
        return by_stage("stages.{}.{}", (stage.blocks for stage in model.stages))
    return {f"blocks.{index}": block for index, block in enumerate(model.blocks)}
