"""Distributed checkpoints from end to end: what comes out is what the same weights in one file become."""

import hashlib
from pathlib import Path

import pytest
import torch

from dinoport import convert
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.report.report import Report
from tests import formula, goldens
from tests.formats.distributed_folders import grid, rows, write_folder

MODEL = RotaryViT(width=64, depth=2, heads=1, mlp_hidden=256, patch_size=16, registers=4, key_bias_mask=True)
LARGER = RotaryViT(width=128, depth=3, heads=2, mlp_hidden=512, patch_size=16, registers=4, key_bias_mask=True)

CONFIG = "student: {arch: vit_narrow, norm_layer: layernorm}\nteacher: {a: 1}\n"


def state(model: RotaryViT, shift: float = 0.0) -> dict[str, torch.Tensor]:
    """Its tensors, moved by `shift` where they are weights, so that no two branches share a value."""
    made = {name: torch.from_numpy(values.copy()) for name, values in formula.state_dict(model.tensors()).items()}
    fixed = (".bias_mask", ".periods")
    return {name: tensor if name.endswith(fixed) else tensor + shift for name, tensor in made.items()}


def training(teacher: RotaryViT) -> dict[str, torch.Tensor]:
    """What `ckpt/<iteration>` of a run holds: three branches with a head each, a loss, and the optimizer's moments."""
    branches = {"student": (MODEL, 1.0), "teacher": (teacher, 2.0), "model_ema": (MODEL, 3.0)}
    made: dict[str, torch.Tensor] = {}
    for branch, (model, shift) in branches.items():
        made |= {f"model.{branch}.backbone.{name}": tensor for name, tensor in state(model, shift).items()}
        made[f"model.{branch}.dino_head.last_layer.weight"] = torch.full((5, 3), shift)
    made["model.dino_loss.center"] = torch.zeros(1, 5)
    return made | {
        f"optimizer.state.{name}.exp_avg": tensor.double() for name, tensor in made.items() if "student" in name
    }


def converted(source: Path, target: Path) -> tuple[str, Report]:
    """The digest of the weights, and the report."""
    report = convert(source, target, level="exact")
    return hashlib.sha256((target / "model.safetensors").read_bytes()).hexdigest(), report


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize(
    "split",
    [lambda name, tensor: [()], lambda name, tensor: rows(tensor, 3), lambda name, tensor: grid(tensor, 2, 2)],
    ids=["one rank", "three ranks", "a mesh of two by two"],
)
def test_any_split_becomes_the_same_folder_as_one_file(tmp_path, split) -> None:
    folder = write_folder(tmp_path / "9", training(MODEL), split)
    expected, _ = converted(saved(tmp_path / "one.pth", state(MODEL, 2.0)), tmp_path / "expected")
    found, report = converted(folder, tmp_path / "found")
    assert found == expected
    assert report.proofs.exact is not None
    assert report.proofs.exact.passed
    assert "teacher was chosen, which upstream evaluates and publishes; also in the file: model_ema, student " in str(
        report.remarks
    )


def test_of_a_distillation_the_learner_is_converted_and_the_report_says_so(tmp_path) -> None:
    folder = write_folder(tmp_path / "9", training(LARGER), lambda name, tensor: rows(tensor, 2))
    expected, _ = converted(saved(tmp_path / "one.pth", state(MODEL, 3.0)), tmp_path / "expected")
    found, report = converted(folder, tmp_path / "found")
    assert found == expected
    assert (
        "model_ema was chosen, the model that was distilled: the teacher is another one, as its shapes show; "
        "also in the file: student, teacher (`checkpoint_key`)"
    ) in report.remarks


def test_the_runs_config_decides_what_no_tensor_shows(tmp_path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    _, report = converted(write_folder(tmp_path / "ckpt/9", training(MODEL)), tmp_path / "found")
    [eps] = [setting for setting in report.settings if setting.name == "eps"]
    assert (eps.value, eps.reason) == ("1e-06", "student.norm_layer in config.yaml")


def test_a_config_that_cannot_be_read_is_mentioned(tmp_path) -> None:
    (tmp_path / "config.yaml").write_text("student: [")
    _, report = converted(write_folder(tmp_path / "ckpt/9", training(MODEL)), tmp_path / "found")
    [remark] = [remark for remark in report.remarks if "config.yaml" in remark]
    assert remark.startswith(f"{tmp_path / 'config.yaml'} was not read: while parsing")


def test_a_flipped_bit_in_a_part_is_not_proven(tmp_path) -> None:
    folder = tmp_path / "9"
    write_folder(folder, training(MODEL), lambda name, tensor: rows(tensor, 2))
    data = bytearray((folder / "__1_0.distcp").read_bytes())
    weights = state(MODEL, 2.0)["blocks.1.mlp.fc1.weight"][128:].numpy().tobytes()
    data[data.index(weights) + 1000] ^= 1
    (folder / "__1_0.distcp").write_bytes(data)
    with pytest.raises(Exception, match="checksum") as caught:
        convert(folder, tmp_path / "found", level="exact")
    assert "__1_0.distcp (model.teacher.backbone.blocks.1.mlp.fc1.weight, (128, 64) at (128, 0))" in str(caught.value)
    assert not (tmp_path / "found").exists()


def test_genuine_folders_of_two_ranks_convert(tmp_path) -> None:
    _, report = converted(goldens.FOLDER / "dinov3/dcp/teacher_2rank_t27", tmp_path / "found")
    assert report.proofs.exact is not None
    assert report.proofs.exact.passed
    assert report.proofs.exact.checksums == 139
