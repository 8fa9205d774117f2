"""A start for several processes, loaded by two, each of which holds a share of every tensor."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dinoport.api import convert
from tests.families.cases import BY_NAME

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
HEADS = {"head_hidden_dim": 16, "head_bottleneck_dim": 8, "head_n_prototypes": 25}
"""An odd number: the shares of the two differ."""


def test_two_processes_load_a_start_strictly(tmp_path: Path) -> None:
    source, _ = BY_NAME["dinov3"].write(tmp_path)
    sizes = tmp_path / "heads.yaml"
    sizes.write_text(yaml.safe_dump({head: dict(HEADS) for head in ("dino", "ibot")}))
    convert(source, tmp_path / "one", to="training", level="none", config=sizes)
    convert(source, tmp_path / "many", to="training", level="exact", config=sizes, ranks=2)
    teacher = torch.load(tmp_path / "one" / "start.pth", weights_only=True)["teacher"]
    shapes = tmp_path / "shapes.json"
    shapes.write_text(json.dumps({name: list(tensor.shape) for name, tensor in teacher.items()}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "loaded.pth"
    command = [sys.executable, "-m", "tests.families.two_processes"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    processes = [
        subprocess.Popen(
            [*command, str(rank), "2", str(port), str(tmp_path / "many"), str(shapes), str(out)],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ended = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    loaded = torch.load(out, weights_only=True)
    assert loaded["iteration"] == 0
    assert loaded["model"].keys() == teacher.keys()
    assert all(torch.equal(loaded["model"][name], teacher[name]) for name in teacher)
