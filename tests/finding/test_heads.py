"""Linear heads from files of their own: which layer is meant, and names of classes that lie beside it."""

import json
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from dinoport.api import convert, inspect
from dinoport.cli.options import as_options
from dinoport.errors import CheckpointError, SettingError, UnknownModelError, UsageError
from tests import formula, models

CLASSES = 5

EVALUATED = {
    "classifier_1_blocks_avgpool_False_lr_0_02344": 64,
    "classifier_1_blocks_avgpool_True_lr_0_02344": 128,
    "classifier_1_blocks_avgpool_True_lr_1_17188": 128,
    "classifier_2_blocks_avgpool_False_lr_1_17188": 128,
    "classifier_4_blocks_avgpool_True_lr_0_02344": 320,
}
"""Classifiers as `dinov2/eval/linear.py` names them, and their columns for a width of 64."""

BEST = "classifier_1_blocks_avgpool_True_lr_1_17188"


def layer(name: str, columns: int) -> dict[str, torch.Tensor]:
    weight = torch.from_numpy(formula.tensor(f"{name}.weight", (CLASSES, columns)))
    return {f"{name}.weight": weight, f"{name}.bias": torch.arange(CLASSES) * 0.25 + columns}


def evaluation(path: Path, names: list[str], prefix: str = "") -> Path:
    layers = [layer(f"{prefix}classifiers_dict.{name}.linear", EVALUATED[name]) for name in names]
    model = {name: tensor for each in layers for name, tensor in each.items()}
    torch.save({"model": model, "optimizer": {}, "iteration": 4}, path)
    return path


def backbone(folder: Path, model: object = models.V2) -> Path:
    state = formula.state_dict(model.tensors())  # type: ignore[attr-defined]
    torch.save({name: torch.from_numpy(each) for name, each in state.items()}, folder / "backbone.pth")
    return folder / "backbone.pth"


def classifier(folder: Path) -> torch.Tensor:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")["classifier.weight"]


def test_among_several_checkpoints_a_head_is_proposed_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinoport.shown.calls.missing", lambda *names: [])
    for name in ("first", "second"):
        backbone(tmp_path).rename(tmp_path / f"{name}.pth")
    torch.save(layer("linear", 64), tmp_path / "probe.pth")
    evaluation(tmp_path / "sweep.pth", [*EVALUATED])
    (tmp_path / "damaged.pth").write_bytes(b"PK\x03\x04")
    for source in (tmp_path, tmp_path / "*.pth"):
        with pytest.raises(CheckpointError) as caught:
            inspect(source)
        said = as_options(str(caught.value)).replace(f"{tmp_path}/", "")
        assert said.partition("\n")[2] == (
            "  expected: one, or its path\n"
            "  try: dinoport convert second.pth FOLDER\n"
            "       dinoport convert first.pth FOLDER\n"
            "       dinoport convert damaged.pth FOLDER\n"
            "       all models: dinoport fleet OUT second.pth first.pth damaged.pth\n"
            "       dinoport convert BACKBONE FOLDER --head sweep.pth --head-name NAME\n"
            "       dinoport convert BACKBONE FOLDER --head probe.pth"
        )


def results(folder: Path, *best: str) -> None:
    lines = [
        f"iter: {10 * place}\n{json.dumps({'best_classifier': {'name': name, 'accuracy': 0.5 + place / 8}})}\n\n"
        for place, name in enumerate(best)
    ]
    (folder / "results_eval_linear.json").write_text("".join(lines))


def test_the_only_classifier_is_taken_and_named(tmp_path: Path) -> None:
    head = evaluation(tmp_path / "model_final.pth", [BEST], "module.")
    report = convert(backbone(tmp_path), tmp_path / "out", head=head, level="exact")
    assert report.class_name == "Dinov2ForImageClassification"
    assert f"classifier from model_final.pth: classifiers_dict.{BEST}.linear" in report.remarks
    columns = next(setting for setting in report.settings if setting.name == "head columns")
    assert (columns.origin, columns.reason) == ("inferred", "named as dinov2/eval/linear.py names it")


def test_the_runs_own_results_choose_among_several(tmp_path: Path) -> None:
    head = evaluation(tmp_path / "model_final.pth", list(EVALUATED))
    results(tmp_path, "classifier_4_blocks_avgpool_True_lr_0_02344", BEST)
    report = convert(backbone(tmp_path), tmp_path / "out", head=head, level="exact")
    assert (
        f"{BEST} was chosen of 5 classifiers: the best in results_eval_linear.json, accuracy 0.625 at iteration 10"
        in report.remarks
    )
    expected = torch.load(head, weights_only=True)["model"][f"classifiers_dict.{BEST}.linear.weight"]
    assert torch.equal(classifier(tmp_path / "out"), expected)


ASKED = """\
{head} holds 5 linear classifiers, and nothing says which one is meant
  expected: `head_name` with one that fits: classifier_1_blocks_avgpool_False_lr_0_02344, \
classifier_1_blocks_avgpool_True_lr_0_02344, {best}
  found: 2 that take what no class of Transformers or timm computes
  likely cause: {cause}
  try: add `head_name='classifier_1_blocks_avgpool_False_lr_0_02344'`"""


def test_several_without_results_are_asked_for(tmp_path: Path) -> None:
    head = evaluation(tmp_path / "model_final.pth", list(EVALUATED))
    with pytest.raises(SettingError) as caught:
        convert(backbone(tmp_path), tmp_path / "out", head=head, level="exact")
    cause = "an evaluation of several at once, without its results_eval_linear.json beside it"
    assert str(caught.value) == ASKED.format(head=head, best=BEST, cause=cause)
    results(tmp_path, "classifier_4_blocks_avgpool_True_lr_0_02344")
    with pytest.raises(SettingError) as caught:
        convert(backbone(tmp_path), tmp_path / "out", head=head, level="exact")
    cause = (
        "the best one in results_eval_linear.json is classifier_4_blocks_avgpool_True_lr_0_02344, which no class of "
        "Transformers or timm computes"
    )
    assert str(caught.value) == ASKED.format(head=head, best=BEST, cause=cause)


@pytest.mark.parametrize("name", [BEST, f"classifiers_dict.{BEST}.linear", f"{BEST}.linear"])
def test_a_name_chooses_and_is_kept_for_the_proof(tmp_path: Path, name: str) -> None:
    from dinoport.api import verify

    head = evaluation(tmp_path / "model_final.pth", list(EVALUATED))
    source = backbone(tmp_path)
    convert(source, tmp_path / "out", head=head, head_name=name, level="exact")
    expected = torch.load(head, weights_only=True)["model"][f"classifiers_dict.{BEST}.linear.weight"]
    assert torch.equal(classifier(tmp_path / "out"), expected)
    assert not verify(source, tmp_path / "out", head=head, level="exact").verdict.failed
    other = "classifier_1_blocks_avgpool_True_lr_0_02344"
    assert verify(source, tmp_path / "out", head=head, head_name=other, level="exact").verdict.failed


def test_as_many_columns_are_not_the_same_features(tmp_path: Path) -> None:
    """The CLS tokens of two blocks are as many columns as CLS token and patch mean."""
    head = evaluation(tmp_path / "model_final.pth", ["classifier_2_blocks_avgpool_False_lr_1_17188"])
    with pytest.raises(UnknownModelError) as caught:
        convert(backbone(tmp_path), tmp_path / "out", head=head, level="exact")
    assert (
        "found: shape (5, 128): CLS tokens of the last 2 blocks, without a patch mean, by the name classifiers_dict."
        "classifier_2_blocks_avgpool_False_lr_1_17188.linear\n" in str(caught.value)
    )


def test_a_dinov3_has_no_class_for_a_classifier(tmp_path: Path) -> None:
    head = evaluation(tmp_path / "checkpoint.pth", [BEST])
    with pytest.raises(UnknownModelError, match="Transformers has no image classification class for DINOv3"):
        convert(backbone(tmp_path, models.V3), tmp_path / "out", head=head, level="exact")


def probe(path: Path, **beside: object) -> Path:
    torch.save({"state_dict": layer("net.fc", 64), **beside}, path)
    return path


NAMES = ["ant", "bee", "cat", "dog", "elk"]


@pytest.mark.parametrize(
    ("beside", "place"),
    [
        ({"hyper_parameters": {"class_names": NAMES, "lr": 0.1}}, "hyper_parameters.class_names"),
        ({"class_to_idx": {name: index for index, name in enumerate(NAMES)}}, "class_to_idx"),
        ({"args": Namespace(id2label=dict(enumerate(NAMES)))}, "args.id2label"),
        ({"meta": {"dataset_meta": {"classes": tuple(NAMES)}}}, "meta.dataset_meta.classes"),
    ],
)
def test_a_users_probe_brings_the_names_of_its_classes(tmp_path: Path, beside: dict[str, object], place: str) -> None:
    head = probe(tmp_path / "probe.pt", **beside)
    report = convert(backbone(tmp_path, models.VIT), tmp_path / "out", head=head, level="exact")
    assert report.class_name == "ViTForImageClassification"
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert list(config["id2label"].values()) == NAMES
    assert f"5 class names from {place} in {head}" in report.remarks


@pytest.mark.parametrize(
    "beside",
    [
        {"hyper_parameters": {"classes": 5}},
        {"hyper_parameters": {"class_names": NAMES[:4]}},
        {"hyper_parameters": {"class_names": ["ant"] * 5}},
        {"hyper_parameters": {"labels": [0, 1, 2, 3, 4]}},
        {"classes": NAMES, "class_names": NAMES[::-1]},
    ],
)
def test_what_names_no_classes_or_two_kinds_is_not_taken(tmp_path: Path, beside: dict[str, object]) -> None:
    head = probe(tmp_path / "probe.pt", **beside)
    report = convert(backbone(tmp_path, models.VIT), tmp_path / "out", head=head, level="exact")
    assert "ant" not in (tmp_path / "out/config.json").read_text()
    assert not any("names of" in remark for remark in report.remarks)


def test_a_head_of_several_layers_is_no_linear_head(tmp_path: Path) -> None:
    torch.save({**layer("mlp.0", 64), **layer("mlp.2", CLASSES)}, tmp_path / "probe.pt")
    with pytest.raises(SettingError) as caught:
        convert(backbone(tmp_path, models.VIT), tmp_path / "out", head=tmp_path / "probe.pt", level="exact")
    assert str(caught.value).startswith(
        f"{tmp_path}/probe.pt holds 2 linear layers, and nothing says which one is the classifier\n"
    )
    with pytest.raises(SettingError) as caught:
        convert(
            backbone(tmp_path, models.VIT),
            tmp_path / "out",
            head=tmp_path / "probe.pt",
            head_name="mlp",
            level="exact",
        )
    assert str(caught.value) == (
        f"{tmp_path}/probe.pt has 2 linear layers under the name 'mlp'\n"
        "  expected: the name of one layer\n"
        "  found: mlp.0 (5, 64), mlp.2 (5, 5)\n"
        "  try: give `head_name` in full"
    )


def test_a_layer_among_other_tensors_is_taken_by_name_alone(tmp_path: Path) -> None:
    head = tmp_path / "probe.pt"
    torch.save({"norm.running_mean": torch.ones(64), **layer("fc", 64)}, head)
    source = backbone(tmp_path, models.VIT)
    with pytest.raises(SettingError, match="found: tensors that belong to no linear layer"):
        convert(source, tmp_path / "out", head=head, level="exact")
    report = convert(source, tmp_path / "out", head=head, head_name="fc", level="exact")
    assert report.class_name == "ViTForImageClassification"
    with pytest.raises(SettingError) as caught:
        convert(source, tmp_path / "other", head=head, head_name="fcc", level="exact")
    assert str(caught.value) == (
        f"{head} has no linear layer under the name 'fcc'\n"
        "  expected: one of its layers\n"
        "  found: fc (5, 64)\n"
        "  did you mean: `head_name='fc'`\n"
        "  try: give `head_name` in full"
    )


def test_a_name_without_a_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        convert(backbone(tmp_path), tmp_path / "out", head_name="fc", level="exact")
    assert str(caught.value) == (
        "`head_name` says which layer of the file that `head` gives\n  try: add `head=FILE`, or leave `head_name` out"
    )


WIDTH = models.V2.width

BEFORE: dict[str, dict[str, torch.Tensor]] = {
    "a batch norm": {"head.0.running_mean": torch.ones(WIDTH), "head.0.running_var": torch.ones(WIDTH)},
    "a layer norm": {"head.0.weight": torch.ones(WIDTH), "head.0.bias": torch.zeros(WIDTH)},
    "another layer": {"head.0.weight": torch.ones(WIDTH, 9), "head.0.bias": torch.zeros(WIDTH)},
    "a scale": {"head.temperature": torch.tensor(2.0)},
    "statistics": {"head.mean": torch.ones(1, WIDTH)},
}


@pytest.mark.parametrize("kind", BEFORE)
def test_what_lies_around_a_layer_is_said(tmp_path: Path, kind: str) -> None:
    """The layer that is asked for by its name is taken; a norm before it changes what its classifier computes."""
    torch.save({**layer("head.1", WIDTH), **BEFORE[kind]}, tmp_path / "head.pth")
    asked = {"head": tmp_path / "head.pth", "head_name": "1", "num_heads": 1}
    report = convert(backbone(tmp_path, models.VIT), tmp_path / "out", level="exact", **asked)
    listed = {"a batch norm": "head.0.running_mean, head.0.running_var", "another layer": "head.0"}
    said = listed.get(kind, next(iter(BEFORE[kind])))
    looks = "a classifier that looks through these computes something else"
    assert f"not taken with the layer 1: {said}; {looks}" in report.remarks


def test_nothing_is_said_of_other_classifiers_and_of_a_backbone(tmp_path: Path) -> None:
    torch.save({**layer("a", WIDTH), **layer("b", WIDTH)}, tmp_path / "two.pth")
    whole = torch.load(backbone(tmp_path, models.VIT))
    torch.save({**whole, **layer("a", WIDTH)}, tmp_path / "whole.pth")
    for name in ("two", "whole"):
        asked = {"head": tmp_path / f"{name}.pth", "head_name": "a", "num_heads": 1}
        report = convert(tmp_path / "backbone.pth", tmp_path / name, level="exact", **asked)
        assert not any("not taken with the layer" in remark for remark in report.remarks)


@pytest.mark.parametrize("names", [
    ("head.0.running_mean", "head.1.weight"), ("head.0.weight", "head.2.weight"), ("fc.weight", "fc.bias"),
    ("heads.a.weight", "heads.b.weight"), ("mlp_head.0.weight", "mlp_head.1.bias"),
    ("projection_head.0.weight", "projection_head.4.bias"), ("proj_head.weight", "projector.2.weight"),
])  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "model.", "encoder."])
def test_a_users_own_classifier_in_the_file_is_left_aside(tmp_path: Path, names, prefix) -> None:
    """As MAE's linear probe writes one: a batch norm and a layer, which are no part of the features."""
    own = {name: torch.ones(WIDTH) * (number + 2) for number, name in enumerate(names)}
    state = torch.load(backbone(tmp_path, models.VIT))
    torch.save({f"{prefix}{name}": each for name, each in {**state, **own}.items()}, tmp_path / "probe.pth")
    report = convert(tmp_path / "probe.pth", tmp_path / "out", level="exact", num_heads=1)
    assert report.class_name == "ViTModel"
    dropped = {line.names: line.reason for line in report.accounting.dropped}
    assert "a layer outside the backbone: what it looks at is not known" in dropped.values(), dropped


BLOCKS = {
    "dino": models.VIT, "dinov2": models.V2, "dinov3": models.V3, "convnext": models.CONVNEXT,
}  # fmt: skip


@pytest.mark.parametrize("lead", ["", "module.net."])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_backbone_is_no_head(tmp_path: Path, name: str, lead: str) -> None:
    """Rows of a matrix of its blocks would be classes, and the verdict would be equal."""
    whole = torch.load(backbone(tmp_path, BLOCKS[name]))
    torch.save({f"{lead}{each}": tensor for each, tensor in whole.items()}, tmp_path / "whole.pth")
    layers = [each.removesuffix(".weight") for each, tensor in whole.items()
              if tensor.ndim == 2 and each.removesuffix("weight") + "bias" in whole]  # fmt: skip
    assert layers
    for asked in (None, f"{lead}{layers[0]}"):
        with pytest.raises(SettingError) as caught:
            convert(
                tmp_path / "backbone.pth", tmp_path / "out", head=tmp_path / "whole.pth", head_name=asked, level="none"
            )
        text = str(caught.value)
        assert text.startswith(f"{tmp_path}/whole.pth is not a linear head\n")
        assert "  likely cause: a backbone, and none of its own layers is a classifier\n" in text


@pytest.mark.parametrize(
    ("model", "beside"),
    [(models.VIT, "head.mlp.0"), (models.V2, "dino_head.mlp.0"), (models.VIT, "other.blocks.3.attn.qkv")],
)
def test_beside_a_backbone_only_a_users_own_layer_is_a_head(tmp_path: Path, model: object, beside: str) -> None:
    """Neither a projection head of training nor a block of another network is one."""
    whole = torch.load(backbone(tmp_path, model))
    torch.save({**whole, **layer(beside, 64)}, tmp_path / "trained.pth")
    asked = {"head": tmp_path / "trained.pth", "num_heads": 1, "level": "exact"}
    with pytest.raises(SettingError, match="is not a linear head"):
        convert(tmp_path / "backbone.pth", tmp_path / "out", **asked, head_name=beside)
    for own in ("head", "probe.fc"):
        torch.save({**whole, **layer(beside, 64), **layer(own, 64)}, tmp_path / "trained.pth")
        with pytest.raises(SettingError, match=f"try: add `head_name='{own.removeprefix('probe.')}'`"):
            convert(tmp_path / "backbone.pth", tmp_path / own, **asked)
        convert(tmp_path / "backbone.pth", tmp_path / own, **asked, head_name=own)
        assert torch.equal(classifier(tmp_path / own)[:, :64], layer(own, 64)[f"{own}.weight"])
