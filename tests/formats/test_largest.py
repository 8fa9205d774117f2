"""The largest published model, DINOv3's 7B, is looked at and planned in under a second."""

import json
import struct
import time
from collections.abc import Callable
from itertools import pairwise
from math import prod
from pathlib import Path

import pytest

from dinoport import api
from dinoport.networks.rotary_vit.architecture import RotaryViT
from tests import formula

VIT_7B = RotaryViT(
    width=4096,
    depth=40,
    heads=32,
    mlp_hidden=8192,
    patch_size=16,
    feed_forward="swiglu",
    registers=4,
    qkv_bias=False,
    local_cls_norm=True,
)

PERIODS = "rope_embed.periods"
MAX_SECONDS = 1.0


@pytest.fixture(scope="module")
def seven_billion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every tensor of the model in its place, and holes for all values but the rotary periods."""
    path = tmp_path_factory.mktemp("largest") / "vit7b.safetensors"
    header: dict[str, object] = {}
    end_bytes = 0
    for name, shape in VIT_7B.tensors().items():
        start_bytes, end_bytes = end_bytes, end_bytes + 4 * prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start_bytes, end_bytes]}
        if name == PERIODS:
            periods_bytes = start_bytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        begin = file.tell()
        file.seek(begin + periods_bytes)
        file.write(formula.periods(VIT_7B.head_dim // 4).tobytes())
        file.truncate(begin + end_bytes)
    return path


def test_it_is_as_large_as_the_model_and_takes_no_room(seven_billion: Path) -> None:
    """6.7 billion weights, which no test could write."""
    parameters = sum(map(prod, VIT_7B.tensors().values()))
    assert 6.7e9 < parameters < 6.8e9
    assert seven_billion.stat().st_size > 4 * parameters
    assert seven_billion.stat().st_blocks * 512 < 1_000_000


def test_it_is_planned_whole(seven_billion: Path) -> None:
    planned = api.plan(seven_billion)
    assert planned.class_name == "DINOv3ViTModel"
    settings = {setting.name: setting.value for setting in planned.settings}
    assert settings["heads"] == "32"
    assert settings["depth"] == "40"
    assert sum(planned.accounting.counts.values()) >= len(VIT_7B.tensors())


@pytest.mark.parametrize("look", [api.inspect, api.plan], ids=["inspect", "plan"])
def test_it_is_looked_at_in_under_a_second(seven_billion: Path, look: Callable[[Path], object]) -> None:
    """The best of three, of this process alone: Python may tidy up after all tests before it during one."""
    times = [time.process_time()]
    for _ in range(3):
        look(seven_billion)
        times.append(time.process_time())
    assert min(after - before for before, after in pairwise(times)) < MAX_SECONDS


def test_an_inspection_says_what_would_become_of_it(seven_billion: Path) -> None:
    """Not a refusal, which would be quick as well."""
    found = api.inspect(seven_billion)
    assert found.refusal is None
    assert found.plan is not None
    assert found.branches[0].count == len(VIT_7B.tensors())
