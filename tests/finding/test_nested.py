"""Two models in one dict, one below the other's prefix, or under prefixes that differ by wrappers alone."""

import random
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dinoport.api import convert, inspect, plan
from dinoport.cli.options import as_options
from dinoport.errors import DinoportError, PlanError, SettingError, UnknownModelError
from dinoport.finding.listing import parts_of
from dinoport.finding.places import each_place, is_complete, naming_of
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint
from tests.error_text import error_text
from tests.finding.test_any_wrapping import opened, shapes_of
from tests.finding.test_places import state, weights

PAIRS = (
    ("model.", "model.model."),
    ("mod.", "model."),
    ("", "model."),
    ("", "module.backbone."),
    ("", "enc."),
    ("module.", "module.module."),
    ("backbone.", "backbone.backbone."),
    ("_orig_mod.", "module._orig_mod."),
    ("net.backbone.", "net.module."),
    ("teacher.backbone.", "teacher.module.backbone."),
    ("ema.", "ema.module."),
    ("enc.", "enc.enc."),
    ("backbone.", "encoder."),
)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("key", ["", "model", "state_dict"])
def test_both_are_listed_and_each_is_asked_for(pair, key, tmp_path: Path) -> None:
    tree = {**state("vit", pair[0]), **state("vit", pair[1], shift=1.0), "criterion_center": torch.ones(3)}
    if not pair[0]:
        del tree["criterion_center"]  # which would be the bare model's
    path = tmp_path / "run.ckpt"
    torch.save({key: tree} if key else tree, path)
    asked = [f"{key}.{prefix}" if key else prefix or "." for prefix in pair]
    with pytest.raises(SettingError, match="holds several models, and nothing says which one is meant") as caught:
        plan(path, num_heads=1)
    assert caught.value.found == ", ".join(asked)
    with open_checkpoint(path) as checkpoint:
        assert [part.prefix or "." for part in parts_of(checkpoint) if part.model] == asked
    others = plan(path, num_heads=1, prefix=asked[1]).remarks
    said = f"{asked[1].rstrip('.')} was chosen, as asked; also in the file: "
    assert any(each.startswith(said) and asked[1].rstrip(".") not in each[len(said) :].split(" ") for each in others)
    for place, (prefix, shift) in enumerate(zip(asked, (0.0, 1.0), strict=True)):
        torch.save(state("vit", shift=shift), tmp_path / f"{place}.pth")
        convert(tmp_path / f"{place}.pth", tmp_path / f"ours{place}", level="none", num_heads=1)
        convert(path, tmp_path / f"theirs{place}", level="exact", num_heads=1, prefix=prefix)
        assert weights(tmp_path / f"theirs{place}") == weights(tmp_path / f"ours{place}")


INNER = (
    ("vit", "original"),
    ("vit", "transformers"),
    ("dinov2", "transformers"),
    ("dinov3", "transformers"),
    ("convnext", "original"),
)


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", [*INNER, ("dinov3", "original"), ("resnet", "transformers")])
@pytest.mark.parametrize("lead", ["", "net."])
def test_a_model_under_encoder_lies_beside_another(lead: str, outer: tuple[str, str], inner: tuple[str, str]) -> None:
    """The blocks of one of Transformers are, on disk, below `encoder` too, and DINOv3's have names of a DINOv2's."""
    shapes = {f"{lead}{name}": shape for name, shape in shapes_of(*outer).items()}
    other = {f"{lead}encoder.{name}": shape for name, shape in shapes_of(*inner).items()}
    if shapes.keys() & other.keys():
        pytest.skip("names of two models that no file can hold together")
    shapes |= other
    states = state_dicts(opened(shapes))
    known = [each for each in states if naming_of(each) is not None]
    found = {f"{place.prefix}.".lstrip(".") for place in each_place(states, known) if is_complete(place)}
    assert found == {lead, f"{lead}encoder."}


def test_inspect_prints_the_command_that_takes_bare_names(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    torch.save({**state("vit"), **state("vit", "enc.", shift=1.0)}, path)
    commands = [as_options(part.command or "") for part in inspect(path, num_heads=1).parts if part.model]
    assert [command.partition("--prefix ")[2].split()[0] for command in commands] == [".", "enc."]


def test_a_role_in_the_longer_prefix_decides(tmp_path: Path) -> None:
    torch.save({**state("vit", "model."), **state("vit", "model.teacher_net.", shift=1.0)}, tmp_path / "run.ckpt")
    assert "model.teacher_net was chosen" in " ".join(plan(tmp_path / "run.ckpt", num_heads=1).remarks)


def test_one_module_under_two_names_is_one_model(tmp_path: Path) -> None:
    own = state("vit")
    path = tmp_path / "run.ckpt"
    torch.save({f"{prefix}{key}": each for prefix in ("model.", "model.model.") for key, each in own.items()}, path)
    assert "the same tensors also lie under model.model." in plan(path, num_heads=1).remarks
    for prefix in ("model.", "model.model"):
        assert plan(path, num_heads=1, prefix=prefix)


def test_of_two_that_are_nested_the_damaged_one_is_named(tmp_path: Path) -> None:
    hurt = state("vit", "model.teacher_net.", shift=1.0)
    del hurt["model.teacher_net.norm.bias"]
    path = tmp_path / "run.ckpt"
    torch.save({**state("vit", "model."), **hurt}, path)
    assert error_text(PlanError, lambda: plan(path, num_heads=1)) == (
        f"{path} holds a ViT (codebase not known) under model.teacher_net., but it is not whole\n"
        "  - norm.bias is missing\n"
        "  expected: every tensor of the model, each block like the others\n"
        "  likely cause: the file was cut, merged or renamed, or another code than upstream's wrote it\n"
        "  try: to take the copy that is whole: add `prefix='model.'`"
    )
    assert plan(path, num_heads=1, prefix="model.")
    with pytest.raises(PlanError, match=r"under model.teacher_net., but it is not whole"):
        plan(path, num_heads=1, prefix="model.teacher_net.")


@pytest.mark.parametrize(("better", "other"), [
    ("teacher_backbone.vit.", "student_backbone.vit."), ("ema.net.", "net."), ("net.", "student.net."),
    ("backbone.", "momentum_backbone."), ("teacher.vit.", "student.vit."),
])  # fmt: skip
def test_another_copy_never_stands_for_a_damaged_one_in_silence(better, other, tmp_path: Path) -> None:
    hurt = state("vit", better)
    del hurt[f"{better}blocks.1.mlp.fc1.bias"]
    path = tmp_path / "run.ckpt"
    torch.save({"state_dict": {**hurt, **state("vit", other, shift=1.0)}}, path)
    with pytest.raises(DinoportError, match=r"not whole|does not fit|in student alone"):
        plan(path, num_heads=1)
    assert plan(path, num_heads=1, prefix=f"state_dict.{other}")


def test_a_damaged_copy_that_would_not_be_preferred_is_said(tmp_path: Path) -> None:
    hurt = state("vit", "student_backbone.vit.", shift=1.0)
    del hurt["student_backbone.vit.norm.bias"]
    torch.save({**state("vit", "teacher_backbone.vit."), **hurt}, tmp_path / "run.ckpt")
    remarks = plan(tmp_path / "run.ckpt", num_heads=1).remarks
    assert "student_backbone.vit. is not whole: norm.bias is missing" in remarks


UNCOMPUTED = {
    "periods of no base": (lambda own: own["rope_embed.periods"].add_(1), "no base gives the rotary periods"),
    "a norm for the CLS token": (
        lambda own: own.update({f"cls_norm.{leaf}": torch.ones(64) for leaf in ("weight", "bias")}),
        "no class of Transformers or timm computes what this model computes",
    ),
}
"""Changes that make a DINOv3 one that no class computes."""


@pytest.mark.parametrize("kind", UNCOMPUTED)
@pytest.mark.parametrize(("it", "other", "found"), [
    ("teacher.vit.", "student.vit.", "refused"), ("student.vit.", "teacher.vit.", "listed"),
    ("right.", "left.", "asked"), ("left.", "right.", "asked"),
])  # fmt: skip
def test_a_model_that_no_class_computes_is_a_model(kind, it, other, found, tmp_path: Path) -> None:
    """It is neither passed over in silence nor called damaged."""
    change, refusal = UNCOMPUTED[kind]
    own, theirs = state("dinov3"), state("dinov3")
    change(own)
    theirs["norm.weight"] += 1
    both = {it: own, other: theirs}
    tree = {f"{prefix}{name}": each for prefix, model in both.items() for name, each in model.items()}
    path = tmp_path / "run.ckpt"
    torch.save({"state_dict": tree}, path)
    if found == "listed":
        [chosen] = [each for each in plan(path).remarks if " was chosen" in each]
        assert f"also in the file: state_dict.{it.rstrip('.')}" in chosen
    else:
        with pytest.raises(DinoportError, match="several models" if found == "asked" else refusal):
            plan(path)
    with pytest.raises(UnknownModelError, match=refusal):
        plan(path, prefix=f"state_dict.{it}")


WRAPPERS = re.compile(r"(_orig_mod|module|_fsdp_wrapped_module)\.")
PARTS = st.sampled_from(("model", "net", "encoder", "vit", "_orig_mod", "module", "backbone", "_fsdp_wrapped_module"))
prefixes = st.lists(PARTS, max_size=3).map(lambda parts: "".join(f"{part}." for part in parts))
pairs = st.tuples(prefixes, prefixes).filter(lambda pair: pair[0] != pair[1])
networks = st.sampled_from([(network, codebase) for network in ("vit", "dinov2", "dinov3", "convnext", "resnet")
                            for codebase in ("original", "transformers", "timm")])  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(first=networks, second=networks, pair=pairs, order=st.randoms(use_true_random=False))
def test_no_place_is_out_of_reach(first, second, pair, order: random.Random) -> None:
    shapes = [(f"{prefix}{name}", shape) for case, prefix in zip((first, second), pair, strict=True)
              for name, shape in shapes_of(*case).items()]  # fmt: skip
    order.shuffle(shapes)
    if len(dict(shapes)) < len(shapes):
        return  # of two codebases, with one name in both
    outer, inner = sorted((WRAPPERS.sub("", prefix) for prefix in pair), key=len)
    if inner.startswith(f"{outer}encoder."):
        return  # where Transformers has layers of its own: such a file may be refused
    assert whole_models(dict(shapes)) == set(pair)


def whole_models(shapes) -> set[str]:
    """The prefixes of all models that are found whole."""
    states = state_dicts(opened(shapes))
    known = [each for each in states if naming_of(each) is not None]
    return {f"{place.prefix}.".lstrip(".") for place in each_place(states, known) if is_complete(place)}


def test_another_model_s_names_are_not_names_in_memory() -> None:
    """`mlp.fc1` is a name of version 5's in memory, and of the original's."""
    own, other = shapes_of("vit", "transformers"), shapes_of("vit", "original")
    assert whole_models({**own, **{f"encoder.{name}": shape for name, shape in other.items()}}) == {"", "encoder."}


@pytest.mark.parametrize(
    ("prefix", "note"),
    [
        ("module.backbone.", "prefix 'module.backbone.' stripped from 30 names"),
        ("network.encoder.backbone.", "'network', 'backbone' left out of 30 names"),
        ("encoder.module.", "'module' left out of 30 names"),
        ("encoder.", None),
    ],
)
def test_a_prefix_is_called_one_only_where_names_begin_with_it(prefix: str, note: str | None, tmp_path: Path) -> None:
    torch.save(state("vit", prefix), tmp_path / "model.pt")
    (branch,) = inspect(tmp_path / "model.pt").branches
    assert branch.stripped == ((note,) if note else ())
    if note and note.startswith("prefix"):
        assert all(name.startswith(note.split("'")[1]) for name in state("vit", prefix))
