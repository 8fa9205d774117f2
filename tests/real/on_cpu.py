"""Run `main_dino.py` of facebookresearch/dino on a machine without a GPU: one process, gloo for NCCL, nothing moved.

python on_cpu.py CHECKOUT --arch vit_tiny … (the options of main_dino.py)
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any

import torch
import torchvision  # noqa: F401  # before anything of torch is another
from torch import distributed, nn


def stay(self: Any, *arguments: object, **options: object) -> Any:
    """In place of `.cuda()`."""
    return self


def on_cpu(function: Any) -> Any:
    return lambda *arguments, **options: function(*arguments, **{**options, "device": None})


def main() -> None:
    checkout, *options = sys.argv[1:]
    os.environ |= {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29511",
    }
    nn.Module.cuda = torch.Tensor.cuda = stay  # type: ignore[method-assign]
    torch.cuda.set_device = torch.cuda.synchronize = lambda *arguments: None
    torch.tensor = on_cpu(torch.tensor)
    torch.hub.list = lambda *arguments: []
    join, parallel = distributed.init_process_group, nn.parallel.DistributedDataParallel
    distributed.init_process_group = lambda backend, **given: join("gloo", **given)
    nn.parallel.DistributedDataParallel = lambda model, device_ids: parallel(model)  # type: ignore[assignment,misc]
    sys.path.insert(0, checkout)
    sys.argv = [f"{checkout}/main_dino.py", *options]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
