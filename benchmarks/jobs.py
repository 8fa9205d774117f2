"""One job in a process of its own: `jobs.py JOB SOURCE TARGET WARM_UP_SOURCE` prints what it took as JSON.

The job runs once on a tiny file first, so that imports and whatever else happens once per process are not in the
figures. Only the jobs that need torch and Transformers import them.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Job = Callable[[Path, Path], Any]


def convert_unproven(source: Path, target: Path, dtype: str | None = None) -> None:
    from dinoport import convert
    from dinoport.request import Request

    convert(source, target, Request(dtype=dtype), level="none")


def convert_to_bfloat16(source: Path, target: Path) -> None:
    convert_unproven(source, target, "bfloat16")


def convert_to_float16(source: Path, target: Path) -> None:
    convert_unproven(source, target, "float16")


def convert_exact(source: Path, target: Path) -> None:
    from dinoport import convert

    convert(source, target, level="exact")


def convert_proven(source: Path, target: Path) -> None:
    from dinoport import convert

    convert(source, target, level="full")


def usual_recipe(source: Path, target: Path) -> None:
    """What people do in a notebook: load, rename, hand it to from_pretrained, save. Nothing is proven."""
    from transformers import ViTModel

    state, config = _load_and_rename(source)
    ViTModel.from_pretrained(None, config=config, state_dict=state, add_pooling_layer=False).save_pretrained(target)


def usual_distributed(source: Path, target: Path) -> None:
    """What people do with a distributed checkpoint: merge it into one file, load, rename, save. Nothing is proven."""
    import torch
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
    from transformers import DINOv3ViTModel

    merged = target.with_suffix(".pth")
    dcp_to_torch_save(source, merged)
    loaded = torch.load(merged, map_location="cpu", weights_only=True)
    merged.unlink()
    state, config = _rename_v3({name.rpartition("backbone.")[2]: loaded[name] for name in loaded if _is_wanted(name)})
    DINOv3ViTModel.from_pretrained(None, config=config, state_dict=state).save_pretrained(target)


def transformers_load_save(source: Path, target: Path) -> None:
    """Transformers' own way from a folder to a folder, without any conversion."""
    from transformers import AutoModel

    AutoModel.from_pretrained(source).save_pretrained(target)


JOBS: Mapping[str, Job] = {
    job.__name__: job
    for job in (
        convert_unproven,
        convert_to_bfloat16,
        convert_to_float16,
        convert_exact,
        convert_proven,
        usual_recipe,
        usual_distributed,
        transformers_load_save,
    )
}


RECIPES: Mapping[Job, str] = {usual_recipe: "ViTModel", usual_distributed: "DINOv3ViTModel"}
"""The jobs that are people's own, and the class that they must end in."""


def _load_and_rename(source: Path) -> tuple[dict[str, Any], Any]:
    import torch
    from transformers import ViTConfig

    loaded = torch.load(source, map_location="cpu", weights_only=True)
    width = loaded["pos_embed"].shape[2]
    patch_size = loaded["patch_embed.proj.weight"].shape[-1]
    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=sum(name.endswith("attn.qkv.weight") for name in loaded),
        num_attention_heads=width // 64,
        intermediate_size=loaded["blocks.0.mlp.fc1.weight"].shape[0],
        image_size=round((loaded["pos_embed"].shape[1] - 1) ** 0.5) * patch_size,
        patch_size=patch_size,
        layer_norm_eps=1e-6,
    )
    state = {}
    for name, tensor in loaded.items():
        renamed = name
        for theirs, ours in _RENAMED:
            renamed = renamed.replace(theirs, ours)
        if "qkv" in name:
            for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                state[renamed.replace("qkv", f"attention.{part}")] = rows
        else:
            state[renamed] = tensor
    return state, config


def _is_wanted(name: str) -> bool:
    return name.startswith(("model.backbone.", "model.teacher.backbone."))


def _rename_v3(loaded: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    import torch
    from transformers import DINOv3ViTConfig

    width = loaded["cls_token"].shape[2]
    config = DINOv3ViTConfig(
        hidden_size=width,
        num_hidden_layers=sum(name.endswith("attn.qkv.weight") for name in loaded),
        num_attention_heads=width // (4 * loaded["rope_embed.periods"].shape[0]),
        intermediate_size=loaded["blocks.0.mlp.fc1.weight"].shape[0],
        patch_size=loaded["patch_embed.proj.weight"].shape[-1],
        key_bias=True,
        num_register_tokens=0,
    )
    state = {"embeddings.register_tokens": torch.zeros(1, 0, width)}
    for name, tensor in loaded.items():
        renamed = name
        for theirs, ours in _RENAMED_V3:
            renamed = renamed.replace(theirs, ours)
        if "qkv" in name:
            for part, rows in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True):
                state[renamed.replace("qkv", part)] = rows
        elif name != "rope_embed.periods":
            state[renamed] = tensor[None] if name == "mask_token" else tensor
    return state, config


_RENAMED_V3 = (
    ("blocks.", "layer."),
    ("cls_token", "embeddings.cls_token"),
    ("mask_token", "embeddings.mask_token"),
    ("patch_embed.proj", "embeddings.patch_embeddings"),
    ("attn.proj", "attention.o_proj"),
    ("attn.", "attention."),
    ("mlp.fc1", "mlp.up_proj"),
    ("mlp.fc2", "mlp.down_proj"),
    ("ls1.gamma", "layer_scale1.lambda1"),
    ("ls2.gamma", "layer_scale2.lambda1"),
)

_RENAMED = (
    ("blocks.", "encoder.layer."),
    ("cls_token", "embeddings.cls_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
    ("attn.proj", "attention.output.dense"),
    ("attn.qkv", "attention.qkv"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
    ("norm.", "layernorm."),
)


def _check_loads(folder: Path, class_name: str) -> None:
    """A recipe that loses tensors would be a fast one."""
    from dinoport.codebases.transformers.running import ClassRunner

    proof = ClassRunner(folder, class_name, pooler=False).load("float32")
    if not proof.passed:
        raise SystemExit(f"the recipe is wrong: {proof}")


def _peak_bytes() -> int:
    """The high-water mark of this process alone: getrusage would count its parent's memory at the fork."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    name, source, target, warm_up = sys.argv[1], *map(Path, sys.argv[2:])
    job = JOBS[name]
    job(warm_up, target)
    if job in RECIPES:
        _check_loads(target, RECIPES[job])
    shutil.rmtree(target)
    wall, cpu = time.perf_counter(), time.process_time()
    job(source, target)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": _peak_bytes()}))


if __name__ == "__main__":
    main()
