"""From what a file holds to the state dicts in it."""

import numpy as np
import pytest

from dinoport.errors import CheckpointError
from dinoport.finding import completeness
from dinoport.finding.unwrap import StateDict, state_dicts
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.torch.stand_ins import Opaque
from dinoport.tensor import ArrayValues, TensorRef
from tests.formats.memory import Memory

_next = iter(range(1, 1_000_000))


def tensor(*shape: int) -> TensorRef:
    values = np.full(shape or (2,), float(next(_next)), np.float32)
    return TensorRef("", values.dtype, values.shape, ArrayValues(values))


def module(name: str, **parts: object) -> Opaque:
    """A pickled nn.Module with these parts; the others are empty, as torch writes them."""
    return Opaque(name, (), {"_parameters": {}, "_buffers": {}, "_modules": {}, "_state_dict_hooks": {}} | parts)


def found(tree: object, size_bytes: int = 1000) -> list[StateDict]:
    return state_dicts(Checkpoint("file.pth", "torch zip file", tree, (Memory(bytes(size_bytes)),)))


def refused(tree: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        found(tree)
    return str(caught.value)


def test_a_bare_state_dict():
    [state] = found({"cls_token": tensor(), "blocks.0.norm1.weight": tensor()})
    assert (state.branch, state.path, state.notes) == ("", "", ())
    assert state.label == "the file's own state dict"
    assert list(state.tensors) == ["cls_token", "blocks.0.norm1.weight"]
    assert [ref.name for ref in state.tensors.values()] == list(state.tensors)


def test_what_main_dino_saves():
    tree = {
        "student": {"module.backbone.cls_token": tensor(), "module.head.last_layer.weight_g": tensor()},
        "teacher": {"backbone.cls_token": tensor(), "head.last_layer.weight_g": tensor()},
        "optimizer": {"state": {0: {"exp_avg": tensor()}}},
        "dino_loss": {"center": tensor()},
        "epoch": 3,
    }
    teacher, student = found(tree)
    assert (teacher.branch, teacher.path) == ("teacher", "teacher")
    assert list(teacher.tensors) == ["cls_token", "head.last_layer.weight_g"]
    values = [ref.read()[0] for ref in teacher.tensors.values()]
    assert values == [ref.read()[0] for ref in tree["teacher"].values()]
    assert teacher.notes == ("prefix 'backbone.' stripped from 1 name",)
    assert teacher.why == "which upstream evaluates and publishes"
    assert (student.branch, student.why) == ("student", "")
    assert student.notes == (
        "prefix 'module.backbone.' stripped from 1 name",
        "prefix 'module.' stripped from 1 name",
    )
    assert list(student.originals.values()) == ["module.backbone.cls_token", "module.head.last_layer.weight_g"]


@pytest.mark.parametrize(
    ("name", "branch", "stripped"),
    [
        ("module.cls_token", "", "module."),
        ("backbone.module.cls_token", "", "backbone.module."),
        ("module.backbone.cls_token", "", "module.backbone."),
        ("model.module._orig_mod.backbone.cls_token", "", "model.module._orig_mod.backbone."),
        ("_orig_mod.module.cls_token", "", "_orig_mod.module."),
        ("teacher.backbone.cls_token", "teacher", "teacher.backbone."),
        ("model.teacher.backbone.cls_token", "teacher", "model.teacher.backbone."),
        ("module.student.backbone.cls_token", "student", "module.student.backbone."),
        ("model_ema.backbone.cls_token", "model_ema", "model_ema.backbone."),
        ("_fsdp_wrapped_module.teacher._fsdp_wrapped_module.backbone.cls_token", "teacher",
         "_fsdp_wrapped_module.teacher._fsdp_wrapped_module.backbone."),
    ],
)  # fmt: skip
def test_prefixes_in_any_order_and_depth(name, branch, stripped):
    [state] = found({name: tensor()})
    assert list(state.tensors) == ["cls_token"]
    assert state.branch == branch
    assert state.notes == (f"prefix {stripped!r} stripped from 1 name",)
    assert state.originals == {"cls_token": name}


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("blocks.0._checkpoint_wrapped_module.attn.qkv.weight", "blocks.0.attn.qkv.weight"),
        ("blocks.0.attn._fsdp_wrapped_module.qkv.weight", "blocks.0.attn.qkv.weight"),
    ],
)
def test_wrappers_within_a_name(name, bare):
    [state] = found({name: tensor()})
    assert list(state.tensors) == [bare]


@pytest.mark.parametrize("name", ["module", "backbone", "teacher", "model.model", "backbone.module"])
def test_the_last_part_of_a_name_is_never_stripped(name):
    [state] = found({name: tensor()})
    assert list(state.tensors) == [name.rsplit(".")[-1]]


@pytest.mark.parametrize("containers", [("model",), ("state_dict",), ("state_dict", "model"), ("net", "network")])
def test_containers(containers):
    tree: object = {"module.cls_token": tensor()}
    for name in reversed(containers):
        tree = {name: tree, "epoch": 1}
    [state] = found(tree)
    assert list(state.tensors) == ["cls_token"]
    assert state.path == ".".join(containers)
    assert state.label == ".".join(containers)


def test_teachers_within_containers():
    states = found({"model": {"teacher": {"a": tensor()}, "student": {"a": tensor()}, "model_ema": {"a": tensor()}}})
    assert [(state.branch, state.path) for state in states] == [
        ("teacher", "model.teacher"), ("model_ema", "model.model_ema"), ("student", "model.student"),
    ]  # fmt: skip


def test_branches_within_one_dict_are_told_apart():
    states = found({f"{branch}.backbone.a": tensor() for branch in ("student", "teacher", "gram_teacher")})
    assert [state.branch for state in states] == ["teacher", "student", "gram_teacher"]
    assert all(list(state.tensors) == ["a"] for state in states)


def test_a_module_that_was_pickled_whole():
    norm = module("torch.nn.LayerNorm", _parameters={"weight": tensor(), "bias": None})
    model = module("VisionTransformer", _parameters={"cls_token": tensor()}, _modules={"norm": norm})
    [state] = found({"teacher": model})
    assert (state.branch, list(state.tensors)) == ("teacher", ["cls_token", "norm.weight"])
    [state] = found(model)
    assert list(state.tensors) == ["cls_token", "norm.weight"]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"_parameters": 0}, "_parameters that are not a dict of names"),
        ({"_buffers": None}, "_buffers that are not a dict of names"),
        ({"_modules": ()}, "_modules that are not a dict of names"),
        ({"_modules": {1: None}}, "_modules that are not a dict of names"),
        ({"_state_dict_hooks": {0: Opaque("function")}}, "a module whose state_dict is made in its own way: it has "
         "_state_dict_hooks"),
        ({"_state_dict_pre_hooks": ()}, "a module whose state_dict is made in its own way: it has "
         "_state_dict_pre_hooks"),
        ({"state_dict": 1}, "a module whose state_dict is made in its own way: it has state_dict"),
        ({"_save_to_state_dict": None}, "a module whose state_dict is made in its own way: it has _save_to_state_dict"),
    ],
)  # fmt: skip
def test_a_module_whose_state_dict_torch_would_not_make_so(changed, what):
    """Each was read in silence once, where torch raises an error or calls what the file names."""
    norm = module("torch.nn.LayerNorm", _parameters={"weight": tensor()})
    assert found({"model": norm})
    norm.state |= changed
    assert refused({"model": norm}) == unsound(what)


def test_one_dict_under_two_names_is_told_once():
    shared = {"a": tensor()}
    [state] = found({"model": shared, "state_dict": shared})
    assert state.path == "model"


def test_a_collision():
    tree = {"cls_token": tensor(), "module.backbone.cls_token": tensor()}
    assert refused(tree) == (
        "two tensors of file.pth become one once their prefixes are stripped\n"
        "  expected: one tensor for each name of the model\n"
        "  found: 'cls_token' and 'module.backbone.cls_token', both 'cls_token'\n"
        "  likely cause: two models or a wrapped and an unwrapped copy were merged into one state dict\n"
        "  try: save the model that you mean on its own, or remove the other copy's entries"
    )


@pytest.mark.parametrize(
    ("tree", "what"),
    [
        ({}, "an empty dict"),
        ([], "a list"),
        (None, "a NoneType"),
        (tensor(), "a single tensor"),
        (Opaque("module.Class"), "an object of class module.Class"),
        ({"epoch": 3, "args": {}}, "a dict with the keys 'epoch', 'args'"),
        (dict.fromkeys("abcdefg", 1), "a dict with the keys 'a', 'b', 'c', 'd', 'e', 'f' …"),
        ({"optimizer": {"state": tensor()}}, "a dict with the keys 'optimizer'"),
    ],
)
def test_nothing_that_could_be_a_model(tree, what):
    assert refused(tree) == (
        "file.pth holds no tensors that could be a model's\n"
        "  expected: a state dict: names and their tensors, bare or inside a training checkpoint\n"
        f"  found: {what}\n"
        "  try: save model.state_dict() with torch.save, and give that file"
    )


def nested(depth: int) -> object:
    tree: object = {"a": tensor()}
    for _ in range(depth):
        tree = {"state_dict": tree}
    return tree


def test_depth():
    assert list(found(nested(16))[0].tensors) == ["a"]
    assert refused(nested(17)) == (
        "file.pth nests its dicts more than 16 deep\n"
        "  expected: a state dict, at most three dicts deep\n"
        "  found: state_dict.state_dict.state_dict.state_dict …\n"
        "  likely cause: the file was not written by a training code\n"
        "  try: save the innermost state dict on its own"
    )


def unsound(what: str) -> str:
    return (
        "file.pth holds what no training code saves\n"
        f"  found: {what}\n"
        "  likely cause: a file that was made to mislead or to exhaust something\n"
        "  try: save the state dict of the model on its own"
    )


def test_a_dict_within_itself():
    tree: dict[str, object] = {"a": tensor()}
    tree["state_dict"] = tree
    assert [state.path for state in found(tree)] == [""]


def test_a_module_within_itself():
    itself = module("Module")
    itself.state["_modules"]["again"] = itself
    assert refused({"model": itself}) == unsound("modules that nest too deep or share too much")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "\u202egnp.exe", "a" * 1001])
def test_names_that_cannot_be_shown(name):
    assert refused({name: tensor()}).startswith(
        "file.pth holds what no training code saves\n  found: an impossible name: "
    )
    assert refused({name: {"a": tensor()}}).split("\n")[0] == "file.pth holds what no training code saves"


def test_one_tensor_under_many_names_is_no_way_to_fill_a_disk():
    large = TensorRef("", np.dtype("f4"), (4096, 4096), ArrayValues(np.zeros(0, np.float32)))
    assert refused({f"blocks.{n}.weight": large for n in range(2)}) == unsound(
        "2 tensors of 134217728 bytes in a file of 1000"
    )
    assert found({f"blocks.{n}.weight": large for n in range(2)}, size_bytes=20_000_000)


def test_more_tensors_than_any_model_has(monkeypatch):
    monkeypatch.setattr(completeness, "MAX_TENSORS", 2)
    assert "3 tensors of 24 bytes" in refused({name: tensor() for name in "abc"})
