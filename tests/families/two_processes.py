"""One of several processes that load a start as DINOv3's trainer does: sharded, strictly, each its share.

python -m tests.families.two_processes RANK COUNT PORT START SHAPES OUT
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import state_dict as dcpsd
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def module_of(shapes: dict[str, list[int]], buffers: tuple[str, ...]) -> nn.Module:
    """A tree of modules with these parameters; what the genuine class keeps in buffers is one here too."""
    whole = nn.Module()
    for name, shape in shapes.items():
        *path, leaf = name.split(".")
        node = whole
        for part in path:
            if not hasattr(node, part):
                node.add_module(part, nn.Module())
            node = getattr(node, part)
        values = torch.full(shape, torch.nan)
        if leaf in buffers:
            node.register_buffer(leaf, values)
        else:
            node.register_parameter(leaf, nn.Parameter(values))
    return whole


def load(start: Path, model: nn.Module) -> Any:
    """`load_checkpoint` of `dinov3/checkpointer/checkpointer.py`, step by step."""
    state: dict[str, Any] = {"iteration": None, "model": dcpsd.get_model_state_dict(model)}
    planner = dcp.default_planner.DefaultLoadPlanner(allow_partial_load=False)
    dcp.load(state, storage_reader=dcp.FileSystemReader(start), planner=planner)
    dcpsd.set_model_state_dict(model, state["model"])
    return state["iteration"]


def main() -> None:
    rank, count, port, start, shapes, out = sys.argv[1:]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=int(rank), world_size=int(count))
    model = module_of(json.loads(Path(shapes).read_text()), ("periods", "bias_mask"))
    fully_shard(model, mesh=init_device_mesh("cpu", (int(count),)))
    iteration = load(Path(start), model)
    whole = {
        name: each.full_tensor() if hasattr(each, "full_tensor") else each for name, each in model.state_dict().items()
    }
    if rank == "0":
        torch.save({"iteration": iteration, "model": whole}, out)
    distributed.barrier()
    os._exit(0)  # threads of torch's may still wait for the other process, and abort a usual end


if __name__ == "__main__":
    main()
