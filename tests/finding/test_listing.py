"""What `inspect` lists of a file: each place of a model, with what takes it, and what every other part is."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from dinoport.api import inspect, plan
from dinoport.finding.listing import Part, parts_of
from dinoport.formats.checkpoint import Checkpoint
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.report.text import inspection_lines
from dinoport.tensor import ArrayValues, TensorRef
from tests import formula, models


def state(model: object, prefix: str, shift: float = 0.0) -> dict[str, torch.Tensor]:
    found = formula.state_dict(model.tensors())  # type: ignore[attr-defined]
    return {f"{prefix}{name}": torch.from_numpy(values) + shift for name, values in found.items()}


def written(folder: Path) -> Path:
    tree = {
        "state_dict": {
            **state(models.V2, "student.vit."),
            **state(models.V2, "teacher.vit.", 1.0),
            "teacher_head.layers.0.weight": torch.ones(8, 64),
            "depth_head.conv.weight": torch.ones(3, 64, 1, 1),
            "text_model.embed.weight": torch.ones(5, 64),
            "what_is_it.weight": torch.ones(2),
        },
        "optimizer": {"state": {0: {"exp_avg": torch.ones(10)}}},
    }
    torch.save(tree, folder / "last.ckpt")
    return folder / "last.ckpt"


def test_every_part_is_listed_with_what_it_is(tmp_path: Path) -> None:
    found = inspect(written(tmp_path))
    count, size = len(models.V2.tensors()), 4 * sum(int(np.prod(each)) for each in models.V2.tensors().values())
    assert found.parts == (
        Part("state_dict.teacher.vit.", "DINOv2 ViT (facebookresearch/dinov2)", count, size, model=True),
        Part("state_dict.student.vit.", "DINOv2 ViT (facebookresearch/dinov2)", count, size, model=True),
        Part("state_dict.teacher_head", "a head of training", 1, 2048),
        Part("state_dict.depth_head", "a decoder for depth", 1, 768),
        Part("state_dict.text_model", "a tower of text", 1, 1280),
        Part("state_dict.what_is_it", "not known", 1, 8),
        Part("optimizer", "the state of an optimizer", 1, 40),
    )


def test_each_place_is_taken_by_the_command_beside_it(tmp_path: Path) -> None:
    source = written(tmp_path)
    found = inspect(source)
    lines = [line.strip() for line in inspection_lines(found)]
    for part in found.parts[:2]:
        assert f"dinoport convert {source} FOLDER --prefix {part.prefix}" in lines
        assert plan(source, prefix=part.prefix).source.branch == part.prefix.rstrip(".")


def test_a_file_that_is_one_model_has_no_list(tmp_path: Path) -> None:
    torch.save(state(models.V2, ""), tmp_path / "bare.pth")
    found = inspect(tmp_path / "bare.pth")
    assert [part.prefix for part in found.parts] == [""]
    assert not any(line.startswith("model") for line in inspection_lines(found) if "bare.pth FOLDER" in line)


def test_a_large_model_among_ten_thousand_foreign_tensors_is_listed_at_once() -> None:
    large = RotaryViT(width=4096, depth=40, heads=32, mlp_hidden=8192, patch_size=16, registers=4, key_bias_mask=True)
    shapes = {f"model.tower.{name}": shape for name, shape in large.tensors().items()}
    shapes |= {f"language.layers.{place}.weight": (4096, 11008) for place in range(10_000)}
    tree = {
        name: TensorRef(name, np.dtype(np.float32), shape, ArrayValues(np.zeros(0, np.float32)))
        for name, shape in shapes.items()
    }
    sized = Checkpoint("file", "torch zip file", tree, (_Sized(),))
    begin = time.perf_counter()
    model, other = parts_of(sized)
    assert time.perf_counter() - begin < 3, "a second alone, more beside other tests"
    assert (model.prefix, model.count, other.count) == ("model.tower.", len(large.tensors()), 10_000)


class _Sized:
    """A file of whatever size."""

    where = "file"
    size_bytes = 10**13
