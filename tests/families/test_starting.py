"""What is said of a start for training: what was made, what has to agree, what is refused, and what is damaged."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dinoport import __version__
from dinoport.api import convert, plan, verify
from dinoport.codebases import training
from dinoport.errors import DinoportError, UnknownModelError
from dinoport.proofs.verdict import Word
from dinoport.report.report import Report
from tests import tiny
from tests.error_text import error_text
from tests.families.cases import BY_NAME, Case, teacher_of_a_run
from tests.models import CONVNEXT, V2, V3, VIT

torch = pytest.importorskip("torch")

SMALL_HEADS = {"head_hidden_dim": 16, "head_bottleneck_dim": 8, "head_n_prototypes": 24}


def start(source: Path, folder: Path, **asked: Any) -> Report:
    return convert(source, folder, to="training", **{"level": "exact", **asked})


def config(folder: Path, student: dict[str, object] | None = None, **others: object) -> Path:
    path = folder / "mine.yaml"
    heads = {head: dict(SMALL_HEADS) for head in ("dino", "ibot")}
    path.write_text(yaml.safe_dump({**heads, **({"student": student} if student else {}), **others}))
    return path


def source_of(name: str, folder: Path) -> tuple[Path, Any]:
    return BY_NAME[name].write(folder)


FITTING = {"arch": "mine", "n_storage_tokens": 4, "mask_k_bias": True, "norm_layer": "layernormbf16"}


def test_a_config_that_fits_is_not_spoken_of(tmp_path: Path) -> None:
    source, _ = source_of("dinov3", tmp_path)
    warnings = start(source, tmp_path / "start", config=config(tmp_path, FITTING)).verdict.warnings
    assert [line for line in warnings if "mine.yaml" in line] == []


@pytest.mark.parametrize(
    ("student", "said"),
    [
        ({**FITTING, "n_storage_tokens": 0}, "mine.yaml says student.n_storage_tokens = 0; the weights need 4: the tr"),
        ({**FITTING, "layerscale": None}, "mine.yaml says student.layerscale = null; the weights need 1e-05: the trai"),
        ({**FITTING, "ffn_layer": "swiglu"}, "mine.yaml says student.ffn_layer = swiglu; the weights need mlp: the t"),
        (
            {**FITTING, "norm_layer": "layernorm"},
            "mine.yaml says student.norm_layer = layernorm; the weights need layernormbf16: the model computes "
            "something else, without a word",
        ),
        (
            {key: FITTING[key] for key in FITTING if key != "mask_k_bias"},
            "mine.yaml leaves student.mask_k_bias at the code's default, false; the weights need true: the trainer",
        ),
    ],
)
def test_what_a_config_says_otherwise_is_named(student: dict[str, object], said: str, tmp_path: Path) -> None:
    source, _ = source_of("dinov3", tmp_path)
    mine = config(tmp_path, student)
    before = mine.read_bytes()
    warnings = start(source, tmp_path / "start", config=mine).verdict.warnings
    assert [line for line in warnings if "mine.yaml" in line] == [line for line in warnings if line.startswith(said)]
    assert len([line for line in warnings if line.startswith(said)]) == 1
    assert mine.read_bytes() == before


def test_a_dinov2_config_is_held_against_the_weights_too(tmp_path: Path) -> None:
    source, _ = source_of("dinov2-swiglu", tmp_path)
    mine = config(
        tmp_path, {"patch_size": 14, "ffn_layer": "swiglu", "num_register_tokens": 4}, crops={"global_crops_size": 56}
    )
    said = [line for line in start(source, tmp_path / "start", config=mine).verdict.warnings if "mine.yaml" in line]
    assert said == [
        "mine.yaml says student.num_register_tokens = 4; the weights need 0: what the file lacks starts from random "
        "values, and what it has beside that is ignored, without a word"
    ]


def test_a_builder_of_ones_own_is_taken_from_the_config(tmp_path: Path) -> None:
    source, _ = source_of("dinov2", tmp_path)
    mine = config(tmp_path, {"arch": "vit_mine", "patch_size": 14}, crops={"global_crops_size": 56})
    assert start(source, tmp_path / "start", config=mine).verdict.warnings == ()
    assert yaml.safe_load((tmp_path / "start" / "start.yaml").read_text())["student"]["arch"] == "vit_mine"
    assert verify(source, tmp_path / "start", level="exact").verdict.word is Word.TRANSPORTED


def test_heads_that_start_anew_are_not_called_of_use_in_training_alone(tmp_path: Path) -> None:
    case = replace(BY_NAME["dinov2"], wrap=teacher_of_a_run)
    source, request = case.write(tmp_path)
    (dropped,) = start(source, tmp_path / "start").accounting.dropped
    assert dropped.reason == "a projection head of self-distillation, which this training starts anew"
    (dropped,) = convert(source, tmp_path / "model", request, level="exact").accounting.dropped
    assert dropped.reason == "a projection head of self-distillation, which only training uses"


@pytest.mark.parametrize("chunks", [".nan", "-3", "1e99", "[1]", "many"])
def test_a_number_of_chunks_that_cannot_be_is_none(chunks: str, tmp_path: Path) -> None:
    source, _ = source_of("dinov2", tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(f"student: {{block_chunks: {chunks}}}\n")
    start(source, tmp_path / "start", config=path)
    assert yaml.safe_load((tmp_path / "start" / "start.yaml").read_text())["student"]["block_chunks"] == 0


def test_what_a_config_computes_is_not_judged(tmp_path: Path) -> None:
    source, _ = source_of("dinov3", tmp_path)
    mine = config(tmp_path, {**FITTING, "n_storage_tokens": "${other.value}"})
    assert not any("mine.yaml" in line for line in start(source, tmp_path / "start", config=mine).verdict.warnings)


def test_heads_are_made_with_the_sizes_of_a_config_and_said_to_be(tmp_path: Path) -> None:
    source, _ = source_of("dinov3", tmp_path)
    report = start(source, tmp_path / "one", config=config(tmp_path, FITTING))
    made = {line.reason: line.names for line in report.accounting.synthesised}
    reason = "made for training: the source has no projection head, and the trainer stops without"
    assert made[f"{reason}: random with deviation 0.02, seed 0"].startswith("dino_head.")
    assert f"{reason}: all 0" in made
    start(source, tmp_path / "two", config=config(tmp_path, FITTING))
    one, two = ((tmp_path / folder / "start.pth").read_bytes() for folder in ("one", "two"))
    assert one == two
    teacher = torch.load(tmp_path / "one" / "start.pth", weights_only=True)["teacher"]
    weight = teacher["dino_head.last_layer.weight"]
    assert weight.shape == (24, 8)
    assert 0.01 < float(weight.std()) < 0.03
    assert not torch.equal(teacher["dino_head.mlp.2.weight"], teacher["ibot_head.mlp.2.weight"])
    assert not teacher["dino_head.mlp.0.bias"].any()
    page = (tmp_path / "one" / "README.md").read_text()
    assert "Not as a distillation teacher: its heads are made" in page
    assert "student.resume_from_teacher_chkpt=FOLDER/start.pth" in page
    assert "gram.ckpt=FOLDER/start.pth" in page


def test_a_norm_that_a_folder_has_lost_is_made_where_the_config_wants_it(tmp_path: Path) -> None:
    source, _ = source_of("dinov3", tmp_path)
    mine = config(tmp_path, {**FITTING, "untie_global_and_local_cls_norm": True})
    report = start(source, tmp_path / "start", config=mine)
    assert any("norm of its own for local crops" in line.reason for line in report.accounting.synthesised)
    teacher = torch.load(tmp_path / "start" / "start.pth", weights_only=True)["teacher"]
    assert teacher["backbone.local_cls_norm.weight"].eq(1).all()
    assert not teacher["backbone.local_cls_norm.bias"].any()
    assert not any("mine.yaml" in line for line in report.verdict.warnings)


@pytest.mark.parametrize("name", ["vit", "dinov2"])
def test_a_table_is_baked_for_crops(name: str, tmp_path: Path) -> None:
    case = BY_NAME[name]
    size = 2 * case.architecture.patch_size
    source, _ = case.write(tmp_path)
    report = start(source, tmp_path / "start", image_size=size)
    assert report.proofs.exact is not None
    assert report.proofs.exact.recomputed == 1
    held = torch.load(next((tmp_path / "start").glob("*.pth")), weights_only=True)
    group, key = ("student", "module.backbone.pos_embed") if name == "vit" else ("model", "pos_embed")
    assert held[group][key].shape[1] == 5
    assert verify(source, tmp_path / "start", level="exact").verdict.word is Word.TRANSPORTED


def test_outputs_are_compared_at_the_size_of_a_baked_table(tmp_path: Path) -> None:
    source, _ = source_of("dinov2", tmp_path)
    verdict = start(source, tmp_path / "start", image_size=28, level="full").verdict
    assert verdict.word in (Word.EQUAL, Word.EQUAL_EXCEPT)
    assert verdict.shown == "at 28×28 pixels"


def test_several_processes_get_a_distributed_folder(tmp_path: Path) -> None:
    source, _ = source_of("dinov3", tmp_path)
    report = start(source, tmp_path / "start", config=config(tmp_path, FITTING), ranks=2)
    assert {file.name for file in report.files} == {"__0_0.distcp", ".metadata", "start.yaml", "README.md"}
    assert report.proofs.loading is not None
    assert report.proofs.loading.passed
    replayed = f"a replay by dinoport {__version__} (the code itself was not run): no key missing"
    assert replayed in " ".join(str(report).split())
    assert verify(source, tmp_path / "start", level="exact").verdict.word is Word.TRANSPORTED
    page = (tmp_path / "start" / "README.md").read_text()
    assert "torchrun --nproc_per_node=2 dinov3/train/train.py" in page
    assert "student.resume_from_teacher_chkpt=FOLDER train" in page


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({"to": "training", "image_size": 28}, "at 28×28 pixels"),
        ({"to": "training", "dtype": "float16"}, "at 56×56 pixels"),
        ({"to": "original", "dtype": "float16"}, "at 56×56 pixels"),
    ],
)
def test_what_is_changed_on_the_way_from_transformers_is_proven(
    asked: dict[str, Any], shown: str, tmp_path: Path
) -> None:
    source, request = BY_NAME["dinov2"].write(tmp_path)
    convert(source, tmp_path / "there", request, level="none")
    assert convert(tmp_path / "there", tmp_path / "start", **asked).verdict.shown == shown


def edited(folder: Path, change: Callable[[Any], None]) -> None:
    [file] = folder.glob("*.pth")
    tree = torch.load(file, weights_only=True)
    change(tree)
    torch.save(tree, file)


def keep_the_student_from_sharing(tree: Any) -> None:
    tree["student"]["module.backbone.norm.bias"] = tree["student"]["module.backbone.norm.bias"] + 1


def lose_a_tensor(tree: Any) -> None:
    del tree["teacher"]["module.backbone.norm.bias"]


def add_a_tensor(tree: Any) -> None:
    tree["teacher"]["backbone.extra"] = torch.ones(3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (keep_the_student_from_sharing, "teacher.backbone.norm.bias of the target is not the tensor under student.mo"),
        (lose_a_tensor, "teacher.module.backbone.norm.bias of the target is missing"),
        (add_a_tensor, "teacher.backbone.extra of the target does not belong to this start"),
    ],
)
def test_a_start_that_was_changed_is_not_equal(change: Callable[[Any], None], said: str, tmp_path: Path) -> None:
    source, _ = source_of("vit", tmp_path)
    start(source, tmp_path / "start")
    edited(tmp_path / "start", change)
    verdict = verify(source, tmp_path / "start", level="exact").verdict
    assert verdict.word is Word.NOT_EQUAL
    assert any(failure.startswith(said) for failure in verdict.failures)


def test_what_a_trainer_misses_is_found_by_its_own_names(tmp_path: Path) -> None:
    source, _ = source_of("vit", tmp_path)
    start(source, tmp_path / "start")
    edited(tmp_path / "start", lose_a_tensor)
    loading = verify(source, tmp_path / "start", level="exact").proofs.loading
    assert loading is not None
    assert loading.missing == ("teacher.module.backbone.norm.bias",)


def test_a_config_that_was_changed_is_a_failure(tmp_path: Path) -> None:
    source, _ = source_of("dinov2", tmp_path)
    start(source, tmp_path / "start")
    path = tmp_path / "start" / "start.yaml"
    path.write_text(path.read_text().replace("num_register_tokens: 0", "num_register_tokens: 4"))
    verdict = verify(source, tmp_path / "start", level="exact").verdict
    assert "start.yaml says student.num_register_tokens = 4, and the weights need 0" in verdict.failures


def of(name: str) -> Case:
    return BY_NAME[name]


NO_YAML = "student: [\n"


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("vit", {"config": "mine.yaml"}, "`config`: main_dino.py of facebookresearch/dino has no config"),
        ("vit", {"ranks": 2}, "`ranks` is for facebookresearch/dinov3 alone"),
        ("dinov2", {"ranks": 2}, "`ranks` is for facebookresearch/dinov3 alone"),
        ("dinov2", {"config": "nowhere.yaml"}, "nowhere.yaml is not a file"),
        ("dinov2", {"config": "broken.yaml"}, "broken.yaml cannot be read as the config of a training"),
        ("dinov2", {"image_size": 15}, "`image_size=15` does not fit this model"),
        ("dinov3", {"config": "huge.yaml"}, "huge.yaml gives a projection head a size that it cannot have"),
        ("dinov3", {"image_size": 32}, "`image_size` resamples a table of positions, and this model has none"),
        ("vit", {"image_mean": (0.5, 0.5, 0.5)}, "`image_mean` has no place in a start for training"),
        ("vit", {"max_shard_bytes": 5000}, "`max_shard_bytes` goes with a conversion to Transformers, not `to='train"),
        ("vit", {"pooler": "none"}, "`pooler` goes with a conversion to Transformers, not `to='training'`"),
        ("vit", {"to": "timm", "pooler": "none"}, "`pooler` goes with a conversion to Transformers, not `to='timm'`"),
        (
            "vit",
            {"to": "original", "class_name": "ViTModel"},
            "`class_name` goes with a conversion to Transformers",
        ),
        ("vit", {"to": "original", "config": "mine.yaml"}, "`config` goes with `to='training'`"),
        ("vit", {"to": "transformers", "ranks": 2}, "`ranks` goes with `to='training'`"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, asked: dict[str, Any], said: str, tmp_path: Path) -> None:
    source, _ = source_of(name, tmp_path)
    config(tmp_path)
    (tmp_path / "broken.yaml").write_text(NO_YAML)
    (tmp_path / "huge.yaml").write_text("dino: {head_n_prototypes: 1000000000000}\n")
    given = {key: tmp_path / value if key == "config" else value for key, value in asked.items()}
    with pytest.raises(DinoportError) as caught:
        convert(source, tmp_path / "start", **{"to": "training", "level": "exact", **given})
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(said)
    assert not (tmp_path / "start").exists()


def test_a_model_without_a_trainer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(training.TRAINERS, "dinov2")
    source, _ = source_of("dinov2", tmp_path)
    assert error_text(UnknownModelError, lambda: start(source, tmp_path / "start")) == (
        "no trainer is known for a DINOv2 ViT\n"
        "  expected: a model of facebookresearch/dino, dinov2 or dinov3\n"
        "  found: DINOv2 ViT (facebookresearch/dinov2)\n"
        "  try: `to='original'` writes it under the names of the code that it came from"
    )


def test_a_start_without_its_config_is_a_failure(tmp_path: Path) -> None:
    source, _ = source_of("dinov2", tmp_path)
    start(source, tmp_path / "start")
    (tmp_path / "start" / "start.yaml").unlink()
    failures = verify(source, tmp_path / "start", level="exact").verdict.failures
    assert "start.yaml is missing" in failures
    assert any(failure.startswith("start.yaml: ") for failure in failures)


def test_a_model_that_no_builder_makes_is_said_to_need_one(tmp_path: Path) -> None:
    source, _ = source_of("dinov2", tmp_path)
    [warning] = start(source, tmp_path / "start").verdict.warnings
    assert warning == (
        "no builder of facebookresearch/dinov2 makes this model (width 64, depth 2, heads 1, hidden features 128): add "
        "one to dinov2/models/vision_transformer.py, and give its name as student.arch"
    )


def test_other_channels_are_said_to_need_another_patch_embedding(tmp_path: Path) -> None:
    case = Case("four", replace(V2, channels=4), "Dinov2Model")
    source, _ = case.write(tmp_path)
    assert any(
        "takes 4: change its patch embedding" in line for line in start(source, tmp_path / "start").verdict.warnings
    )


def test_a_file_without_a_report_is_proven_by_its_backbone(tmp_path: Path) -> None:
    source = tiny.write(tmp_path / "source.pth")
    start(source, tmp_path / "start", num_heads=2)
    found = verify(source, tmp_path / "start" / "checkpoint.pth", num_heads=2, level="exact")
    assert found.verdict.word is Word.TRANSPORTED


@pytest.mark.parametrize(
    ("model", "built"),
    [(VIT, "1e-06"), (V2, "1e-06"), (V3, "1e-06 or 1e-05"), (CONVNEXT, "1e-06")],
    ids=["dino", "dinov2", "dinov3", "dinov3_convnext"],
)
def test_an_eps_that_the_trainer_does_not_build_is_said(model: Any, built: str, tmp_path: Path) -> None:
    source, _ = Case("eps", model, "").write(tmp_path)
    for eps, count in ((1e-3, 1), (model.layer_norm_eps, 0)):
        warnings = plan(source, to="training", layer_norm_eps=eps).verdict.warnings
        assert len([line for line in warnings if f"norms of eps {built}, and this model has 0.001" in line]) == count
