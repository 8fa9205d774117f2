"""What `inspect` lists of a file: each place of a model, with what takes it, and what every other part is."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dinoport.api import convert, inspect, plan
from dinoport.cli.options import as_options
from dinoport.errors import CheckpointError
from dinoport.finding.listing import Part, parts_of
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.torch.stand_ins import reached
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.report.text import inspection_lines
from dinoport.shown.calls import FOLDER, call
from dinoport.shown.lines import lines_for
from dinoport.tensor import ArrayValues, TensorRef, size_text
from tests import models
from tests.codebases import relatives
from tests.finding.reports import state

V2 = "DINOv2 ViT (facebookresearch/dinov2)"


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
    teacher, student = (call("convert", found.where, FOLDER, prefix=each.prefix) for each in found.parts[:2])
    assert found.parts == (
        Part("state_dict.teacher.vit.", V2, count, size, model=True, command=teacher),
        Part("state_dict.student.vit.", V2, count, size, model=True, command=student),
        Part("state_dict.teacher_head", "a head of training", 1, 2048),
        Part("state_dict.depth_head", "a decoder for depth", 1, 768),
        Part("state_dict.text_model", "a tower of text", 1, 1280),
        Part("state_dict.what_is_it", "not known", 1, 8),
        Part("optimizer", "the state of an optimizer", 1, 40),
    )


def test_each_place_is_taken_by_the_command_beside_it(tmp_path: Path) -> None:
    source = written(tmp_path)
    found = inspect(source)
    with lines_for(200, as_options):
        lines = [line.strip("│ ") for line in inspection_lines(found)]
    for part in found.parts[:2]:
        assert f"dinoport convert {source} FOLDER --prefix {part.prefix}" in lines
        assert plan(source, prefix=part.prefix).source.branch == part.prefix.rstrip(".")


def test_a_command_has_a_letter_for_what_only_its_user_knows(tmp_path: Path) -> None:
    narrow = replace(models.V2, width=96, heads=3, mlp_hidden=192)
    own = state(narrow, "net.")
    own["net.blocks.0.attn.proj.lora_A"] = torch.ones(2, 96)
    own["net.blocks.0.attn.proj.lora_B"] = torch.ones(96, 2)
    source = tmp_path / "last.ckpt"
    torch.save({**own, "head.weight": torch.ones(2, 5)}, source)
    found = inspect(source, prefix="elsewhere", image_mean=(0.5, 0.4, 0.3), image_std=(0.2, 0.25, 0.3))
    part = found.parts[0]
    given = "--image-mean 0.5,0.4,0.3 --image-std 0.2,0.25,0.3"
    command = f"dinoport convert {source} FOLDER --prefix net. {given} --lora-alpha ALPHA --num-heads N"
    needs = (
        "ALPHA: lora_alpha of the adapters, from adapter_config.json or the code",
        "N: the number of attention heads, from the code or config that trained the model",
    )
    assert (as_options(part.command or ""), part.needs, part.count) == (command, needs, len(own))
    with lines_for(200, as_options):
        lines = [line.strip("│ ") for line in inspection_lines(found)]
    assert lines[lines.index(command) + 1 :][:2] == [*needs]
    asked = {"lora_alpha": 4.0, "num_heads": 3, "prefix": "net."}
    assert plan(source, **asked).accounting.counts["recomputed"] == 1


def test_of_a_place_that_no_command_takes_it_says_why(tmp_path: Path) -> None:
    own = state(models.V2, "left.") | state(models.V2, "right.", 1.0)
    own |= {f"{side}.blocks.0.ls1.scale": torch.ones(64) for side in ("left", "right")}
    torch.save(own, tmp_path / "last.ckpt")
    part = inspect(tmp_path / "last.ckpt").parts[0]
    assert (part.command, part.prefix) == (None, "left.")
    whole = f"{tmp_path / 'last.ckpt'} cannot be converted as DINOv2 ViT: 1 tensor does not fit"
    assert part.refusal == f"cannot be taken: {whole}, blocks.0.ls1.scale is not part of this model"


def test_the_parts_are_a_tree_of_their_names(tmp_path: Path) -> None:
    source = written(tmp_path)
    with lines_for(200, as_options):
        lines = [*inspection_lines(inspect(source))]
    begin = next(place for place, line in enumerate(lines) if line.startswith("contains"))
    model = "vit: DINOv2 ViT (facebookresearch/dinov2), 34 tensors, 326.9 kB"
    size = inspect(source).parts[0].size_bytes
    model = model.replace("326.9 kB", size_text(size)).replace("34 ", f"{len(models.V2.tensors())} ")
    assert lines[begin : lines.index("", begin)] == [
        "contains    ├─ state_dict",
        f"            │  ├─ teacher.{model}",
        f"            │  │  dinoport convert {source} FOLDER --prefix state_dict.teacher.vit.",
        f"            │  ├─ student.{model}",
        f"            │  │  dinoport convert {source} FOLDER --prefix state_dict.student.vit.",
        "            │  ├─ teacher_head: a head of training, 1 tensor, 2.0 kB",
        "            │  ├─ depth_head: a decoder for depth, 1 tensor, 768 bytes",
        "            │  ├─ text_model: a tower of text, 1 tensor, 1.3 kB",
        "            │  └─ what_is_it: not known, 1 tensor, 8 bytes",
        "            └─ optimizer: the state of an optimizer, 1 tensor, 40 bytes",
    ]


def test_parts_beside_a_model_are_told_apart_as_deep_as_it_lies(tmp_path: Path) -> None:
    """As EoMT keeps its own: the encoder's statistics stand beside the backbone."""
    tree = {
        **state(models.V2, "network.encoder.backbone."),
        "network.encoder.pixel_mean": torch.ones(3),
        "network.class_head.weight": torch.ones(4, 64),
        "network.neck.convs.0.weight": torch.ones(4, 64),
        "criterion.empty_weight": torch.ones(4),
    }
    torch.save({"state_dict": tree}, tmp_path / "last.ckpt")
    found = inspect(tmp_path / "last.ckpt")
    assert [(part.prefix, part.what) for part in found.parts] == [
        ("state_dict.network.encoder.backbone.", "DINOv2 ViT (facebookresearch/dinov2)"),
        ("state_dict.network.encoder.pixel_mean", "the statistics of pixels"),
        ("state_dict.network.class_head", "a head"),
        ("state_dict.network.neck", "a decoder"),
        ("state_dict.criterion", "the state of a loss"),
    ]
    convert(tmp_path / "last.ckpt", tmp_path / "out", level="none", prefix=found.parts[0].prefix)


def test_copies_are_listed_as_what_they_are(tmp_path: Path) -> None:
    own = state(models.V2, "")
    tree = {f"{prefix}{name}": each for prefix in ("left.", "right.") for name, each in own.items()}
    torch.save(tree, tmp_path / "last.ckpt")
    first, second = inspect(tmp_path / "last.ckpt").parts
    assert (first.prefix, first.model) == ("left.", True)
    assert (second.prefix, second.model, second.what) == ("right.", False, "the same tensors as left.")


def test_a_file_that_is_one_model_has_the_command_that_takes_it(tmp_path: Path) -> None:
    torch.save(state(models.V2, ""), tmp_path / "bare.pth")
    found = inspect(tmp_path / "bare.pth")
    assert [part.prefix for part in found.parts] == [""]
    with lines_for(200, as_options):
        lines = [line.strip() for line in inspection_lines(found)]
    assert any(line.startswith("contains    the file itself: DINOv2 ViT") for line in lines)
    assert f"dinoport convert {tmp_path / 'bare.pth'} FOLDER" in lines


def test_a_large_model_among_ten_thousand_foreign_tensors_is_listed_at_once() -> None:
    large = RotaryViT(width=4096, depth=40, heads=32, mlp_hidden=8192, patch_size=16, registers=4, key_bias_mask=True)
    shapes = {f"model.tower.{name}": shape for name, shape in large.tensors().items()}
    shapes |= {f"language.layers.{place}.weight": (4096, 11008) for place in range(10_000)}
    tree = {
        name: TensorRef(name, np.dtype(np.float32), shape, ArrayValues(np.zeros(0, np.float32)))
        for name, shape in shapes.items()
    }
    sized = Checkpoint("file", "torch zip file", tree, (_Sized(),))
    begin = time.process_time()
    model, other = parts_of(sized)
    assert time.process_time() - begin < 1, "of this process alone: other tests run beside it"
    assert (model.prefix, model.count, other.count) == ("model.tower.", len(large.tensors()), 10_000)


class _Sized:
    """A file of whatever size."""

    where = "file"
    size_bytes = 10**13


def test_ten_thousand_layers_of_other_models_are_looked_at_once() -> None:
    """Each was looked for below among all names, which took a minute."""
    from dinoport.finding.places import each_place
    from dinoport.finding.unwrap import StateDict

    class Counted(dict[str, TensorRef]):
        seen = 0

        def items(self) -> Any:
            Counted.seen += 1
            return super().items()

    own = TensorRef("", np.dtype(np.float32), (4,), ArrayValues(np.zeros(4, np.float32)))
    names = [f"lm.layers.{number}.layer_norm.weight" for number in range(10_000)]
    assert each_place([StateDict("", "", Counted.fromkeys(names, own))]) == []
    assert Counted.seen < 10


@pytest.mark.parametrize("case", relatives.CASES, ids=lambda case: case.name)
def test_every_tensor_of_a_file_is_in_exactly_one_part(case: relatives.Case, tmp_path: Path) -> None:
    with open_checkpoint(case.write(tmp_path)) as checkpoint:
        tensors = [each for each in reached([checkpoint.tree], set()) if isinstance(each, TensorRef)]
        parts = parts_of(checkpoint)
    assert sum(part.count for part in parts) == len({id(each.values) for each in tensors})
    assert sum(part.size_bytes for part in parts) == sum(each.size_bytes for each in tensors)
    assert len({part.prefix for part in parts}) == len(parts)


def test_a_student_with_a_token_of_training_is_listed_with_its_command(tmp_path: Path) -> None:
    source = relatives.BY_NAME["ibot"].write(tmp_path)
    student = next(part for part in inspect(source, num_heads=2).parts if part.prefix.startswith("student"))
    command = f"dinoport convert {source} FOLDER --prefix student.module.backbone. --num-heads 2"
    count = len(models.VIT.tensors()) + 1
    assert (student.model, student.count, as_options(student.command or "")) == (True, count, command)
    assert plan(source, num_heads=2, prefix=student.prefix).source.branch == "student"


def test_the_state_of_a_loss_beside_the_models_of_one_dict_is_listed(tmp_path: Path) -> None:
    own = state(models.V2, "teacher.backbone.") | state(models.V2, "student.backbone.", 1.0)
    losses = {"dino_loss.center": torch.ones(1, 7), "ibot_patch_loss.center": torch.ones(1, 1, 9)}
    torch.save({"model": {**own, **losses}}, tmp_path / "model.pth")
    with open_checkpoint(tmp_path / "model.pth") as checkpoint:
        parts = parts_of(checkpoint)
    assert parts[2:] == (
        Part("model.dino_loss", "the state of a loss", 1, 28),
        Part("model.ibot_patch_loss", "the state of a loss", 1, 36),
    )
    assert sum(part.count for part in parts) == len({**own, **losses})


def test_tensors_without_names_are_listed(tmp_path: Path) -> None:
    shadow = [torch.ones(3), torch.ones(4)]
    tree = {"state_dict": state(models.V2, ""), "ema": {"shadow_params": shadow}, "loader": [{"rng": torch.ones(5)}]}
    torch.save(tree, tmp_path / "last.ckpt")
    with open_checkpoint(tmp_path / "last.ckpt") as checkpoint:
        parts = parts_of(checkpoint)
    assert parts[1:] == (Part("loader.0.rng", "not known", 1, 20), Part("ema.shadow_params", "not known", 2, 28))


class Holder:
    """Of a user's own code: what its attributes mean nobody knows."""

    def __init__(self, held: object) -> None:
        self.held = held


def test_tensors_that_only_an_object_holds_are_a_part_of_the_file(tmp_path: Path) -> None:
    tree = {"model": state(models.VIT, ""), "callbacks": Holder([torch.ones(7)]), "mine": Holder(torch.ones(5))}
    torch.save(tree, tmp_path / "a.pth")
    found = {part.prefix: (part.count, part.size_bytes) for part in inspect(tmp_path / "a.pth").parts if not part.model}
    assert found == {"callbacks": (1, 28), "mine": (1, 20)}


@pytest.mark.parametrize(
    ("tree", "cause"),
    [
        ({0: torch.ones(2), 1: torch.zeros(3)}, "its keys are numbers"),
        ({0: {"weight": torch.ones(2)}}, "its keys are numbers"),
        ({"ema": {"model": Holder({"weight": torch.ones(2)})}}, "its tensors lie in an object of class "),
        ({"epoch": 3}, None),
    ],
)
def test_why_tensors_are_no_model_is_said(tree: object, cause: str | None, tmp_path: Path) -> None:
    torch.save(tree, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="holds no tensors that could be a model's") as caught:
        inspect(tmp_path / "a.pth")
    assert (caught.value.cause or "").startswith(cause or "")
    assert bool(caught.value.cause) == bool(cause)
