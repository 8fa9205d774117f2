"""What is read of a training checkpoint that stays on a web server: to inspect it, and to convert its teacher.

`python benchmarks/remote.py [--folder DIR] [--quick]` prints Markdown. It makes a checkpoint of 1 GB as `main_dino.py`
writes one (student and teacher of a ViT-B/16 with their heads, and moments of the optimizer), and serves it on this
machine. Bytes are those of the answers' bodies.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import prod
from pathlib import Path
from typing import Any

import torch

import material
import timing
from dinoport import api
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request

INSPECT_LIMIT_MB = 1
CONVERT_LIMIT = 1.02
"""Times the bytes of the teacher's backbone."""

HEAD_ROWS = 65_536
SENT_AT_ONCE = 1024 * 1024


def main() -> None:
    options = timing.arguments(__doc__, rounds=1).parse_args()
    architecture = material.VIT_TINY if options.quick else material.VIT_BASE
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        os.environ["DINOPORT_CACHE"] = str(folder / "cache")
        print("writing a training checkpoint …", file=sys.stderr)
        source, backbone_bytes = training_checkpoint(architecture, folder / "checkpoint.pth")
        with serving(source) as served:
            print(table(served, source.stat().st_size, backbone_bytes, folder))


def table(served: Served, size_bytes: int, backbone_bytes: int, folder: Path) -> str:
    request = Request()
    rows = []

    def note(what: str, limit: float, unit: str, found: float) -> None:
        read = f"{served.sent_bytes / timing.MB:.2f} MB"
        judged = "ok" if found <= limit else "over"
        rows.append((what, read, str(served.requests), f"{found:.5g}{unit}", f"≤ {limit:g}{unit}", judged))
        served.sent_bytes = served.requests = 0

    print("inspect …", file=sys.stderr)
    api.inspect(served.url, request)
    note("inspect", INSPECT_LIMIT_MB, " MB", served.sent_bytes / timing.MB)
    for level in ("none", "exact", "full"):
        print(f"convert --verify {level} …", file=sys.stderr)
        api.convert(served.url, folder / level, request, level=level)
        note(f"convert --verify {level}", CONVERT_LIMIT, " × teacher", served.sent_bytes / backbone_bytes)
    lines = [
        "## From afar",
        "",
        f"A training checkpoint of {size_bytes / timing.MB:.0f} MB on a web server; its teacher's backbone takes "
        f"{backbone_bytes / timing.MB:.1f} MB. Bytes are those of the answers' bodies.",
        "",
        timing.table(("", "read", "requests", "found", "to reach", ""), rows),
    ]
    return "\n".join([*lines, ""])


def training_checkpoint(architecture: ViT, path: Path) -> tuple[Path, int]:
    """Write it, and return its path with the bytes of the teacher's backbone."""
    shapes = architecture.tensors()
    teacher = {f"backbone.{name}": _pattern(shape) for name, shape in shapes.items()}
    moments = list(shapes.values())[: len(shapes) // 5]
    tree = {
        "student": {f"module.backbone.{name}": _pattern(shape) for name, shape in shapes.items()} | _head("module."),
        "teacher": teacher | _head(""),
        "optimizer": {
            "state": {
                index: {"step": torch.tensor(9.0), "exp_avg": _pattern(shape), "exp_avg_sq": _pattern(shape)}
                for index, shape in enumerate(moments)
            },
            "param_groups": [{"lr": 0.0005, "weight_decay": 0.04, "params": list(range(len(moments)))}],
        },
        "epoch": 9,
        "args": Namespace(arch="vit_base", patch_size=architecture.patch_size),
        "dino_loss": {"center": torch.zeros(1, HEAD_ROWS)},
    }
    torch.save(tree, path)
    return path, 4 * sum(map(prod, shapes.values()))


def _head(prefix: str) -> dict[str, Any]:
    shapes: Mapping[str, tuple[int, ...]] = {
        "mlp.0.weight": (2048, 768), "mlp.0.bias": (2048,), "mlp.2.weight": (2048, 2048), "mlp.2.bias": (2048,),
        "mlp.4.weight": (256, 2048), "mlp.4.bias": (256,), "last_layer.weight_g": (HEAD_ROWS, 1),
        "last_layer.weight_v": (HEAD_ROWS, 256),
    }  # fmt: skip
    return {f"{prefix}head.{name}": _pattern(shape) for name, shape in shapes.items()}


def _pattern(shape: tuple[int, ...]) -> Any:
    """Values of the size that weights have, made as fast as memory takes them."""
    return torch.linspace(-0.04, 0.05, prod(shape)).reshape(shape)


class Served:
    """What a file's server has sent."""

    def __init__(self, path: Path) -> None:
        self.path, self.size_bytes = path, path.stat().st_size
        self.url = ""
        self.sent_bytes = self.requests = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        if self.path != f"/{self.served.path.name}":
            self.send_error(404)  # the config of a training run, which is looked for beside a checkpoint
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, last = (int(found[1]), int(found[2])) if found else (0, self.served.size_bytes - 1)
        last = min(last, self.served.size_bytes - 1)
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(last + 1 - start))
        self.send_header("Content-Range", f"bytes {start}-{last}/{self.served.size_bytes}")
        self.send_header("ETag", '"one"')
        self.end_headers()
        with self.served.lock:
            self.served.sent_bytes += last + 1 - start
            self.served.requests += 1
        with self.served.path.open("rb") as file:
            file.seek(start)
            left = last + 1 - start
            while left:
                data = file.read(min(SENT_AT_ONCE, left))
                self.wfile.write(data)
                left -= len(data)


@contextmanager
def serving(path: Path) -> Iterator[Served]:
    served = Served(path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("FileHandler", (Handler,), {"served": served}))
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_port}/{path.name}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
