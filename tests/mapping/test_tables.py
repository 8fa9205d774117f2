"""A table in both directions: encoding writes a codebase's names from canonical ones, decoding reads them back."""

import numpy as np
import pytest

from dinoport.mapping.claims import compare_shapes
from dinoport.mapping.constants import identity, ones, zeros
from dinoport.mapping.decoding import decode
from dinoport.mapping.encoding import Encoding, encode
from dinoport.mapping.operations import AddAxis, Deinterleave, Kind
from dinoport.mapping.rule import Rule, change, copy, drop, drop_alias, make, split_rows
from dinoport.tensor import Array, ArrayValues, TensorRef

RULES: tuple[Rule, ...] = (
    copy("norm.{p}", "layernorm.{p}"),
    split_rows("blocks.{i}.qkv.{p}", ("layer.{i}.q.{p}", "layer.{i}.k.{p}", "layer.{i}.v.{p}")),
    change("mask", "mask_token", AddAxis()),
    change("linear.weight", "classifier.weight", Deinterleave()),
    drop("head.{k}.{p}", because="a projection head"),
    make("scale", ones(4), because="no layer scale"),
)


def tensors(**arrays: Array) -> dict[str, TensorRef]:
    named = {name.replace("__", "."): array for name, array in arrays.items()}
    return {name: TensorRef(name, array.dtype, array.shape, ArrayValues(array)) for name, array in named.items()}


def whole() -> dict[str, TensorRef]:
    random = np.random.default_rng(0)

    def new(*shape: int) -> Array:
        return random.standard_normal(shape, dtype=np.float32)

    return tensors(
        norm__weight=new(4),
        blocks__0__qkv__weight=new(12, 4),
        blocks__1__qkv__weight=new(12, 4),
        mask=new(1, 4),
        linear__weight=new(3, 8),
        head__0__weight=new(2, 4),
    )


def written(encoding: Encoding) -> dict[str, TensorRef]:
    return {step.target.name: step.tensor() for step in encoding.plan.steps}


def test_there_and_back_gives_the_same_bits() -> None:
    originals = whole()
    there = encode(originals, RULES)
    assert there.problems == ()
    assert written(there)["layer.1.k.weight"].shape == (4, 4)
    assert written(there)["mask_token"].shape == (1, 1, 4)
    assert there.plan.counts() == {
        Kind.BIJECTIVE: 9, Kind.RECOMPUTED: 0, Kind.SYNTHESISED: 1, Kind.DROPPED: 1,
    }  # fmt: skip
    back = decode(written(there), RULES)
    assert back.problems == ()
    assert {made.tensor.name for made in back.made} == {"scale"}
    assert back.stored.keys() == written(there).keys()
    for name, tensor in back.tensors.items():
        np.testing.assert_array_equal(tensor.read(), originals[name].read())
    assert back.tensors.keys() == originals.keys() - {"head.0.weight"}


def test_a_part_that_is_left_out_returns_as_zeros_and_is_said() -> None:
    rules = (split_rows("qkv.{p}", ("q.{p}", None, "v.{p}"), because="a masked key bias"),)
    bias = np.arange(1, 7, dtype=np.float32)
    there = encode(tensors(qkv__bias=bias), rules)
    assert [(dropped.name, dropped.reason) for dropped in there.plan.dropped] == [
        ("qkv.bias (part 2 of 3)", "a masked key bias")
    ]
    back = decode(written(there), rules)
    assert back.tensors["qkv.bias"].read().tolist() == [1, 2, 0, 0, 5, 6]
    assert back.stored.keys() == {"q.bias", "v.bias"}


def test_what_a_codebase_has_no_place_for_is_declared() -> None:
    rules = (copy("norm.{p}", "n.{p}"), drop("mask", because="unused", returns=zeros(1, 4)), drop("gone", because="-"))
    back = decode(tensors(n__weight=np.ones(4, np.float16)), rules)
    assert back.declared == {"mask": f"{zeros(1, 4)} (unused)"}
    assert back.stored.keys() == {"n.weight"}
    assert (back.tensors["mask"].dtype, back.tensors["mask"].read().tolist()) == (np.float16, [[0, 0, 0, 0]])
    assert "gone" not in back.tensors
    again = encode(back.tensors, (copy("norm.{p}", "norm.{p}"), copy("mask", "mask")), declared=back.declared)
    assert {step.target.name: step.kind for step in again.plan.steps} == {
        "norm.weight": Kind.BIJECTIVE, "mask": Kind.SYNTHESISED,
    }  # fmt: skip


def test_a_second_name_is_read_from_the_tensor_that_it_names() -> None:
    rules = (copy("norm.{p}", "n.{p}"), drop_alias("norms.3.{p}", of="norm.{p}"))
    back = decode(tensors(n__weight=np.arange(4.0)), rules)
    assert back.tensors["norms.3.weight"].read().tolist() == [0, 1, 2, 3]
    assert back.stored.keys() == {"n.weight"}


def test_what_training_keeps_beside_a_model_is_left_aside_with_its_reason() -> None:
    back = decode(whole(), tuple(copy(name, name) for name in whole() if "head" not in name), RULES[4:5])
    assert back.problems == ()
    assert [(aside.name, aside.reason) for aside in back.aside] == [("head.0.weight", "a projection head")]


def test_a_cast_spares_integers_and_counts_as_recomputed() -> None:
    counter = np.array(7, dtype=np.int64)
    there = encode(tensors(norm__weight=np.ones(4, np.float32), norm__count=counter), RULES, np.dtype(np.float16))
    assert {step.target.name: step.target.dtype.name for step in there.plan.steps} == {
        "layernorm.weight": "float16", "layernorm.count": "int64", "scale": "float16",
    }  # fmt: skip
    assert there.plan.counts()[Kind.RECOMPUTED] == 1


@pytest.mark.parametrize(
    ("extra", "rules", "name", "what"),
    [
        ({"surprise": np.ones(1)}, RULES, "surprise", "is not part of this model"),
        ({}, (*RULES, copy("norm.weight", "other")), "norm.weight", "is claimed by two rules"),
        ({"norm2": np.ones(1)}, (*RULES, copy("norm2", "layernorm.weight")), "layernorm.weight",
         "would be written twice"),
        ({"blocks__2__qkv__weight": np.ones((47, 4))}, RULES, "blocks.2.qkv.weight",
         "has a shape that does not fit: (47, 4) cannot be split into 3 equal row ranges"),
    ],
)  # fmt: skip
def test_every_problem_is_found(extra: dict[str, Array], rules: tuple[Rule, ...], name: str, what: str) -> None:
    problems = encode(whole() | tensors(**extra), rules).problems
    assert (name, what) in [(problem.name, problem.what) for problem in problems]


@pytest.mark.parametrize(
    ("gone", "extra", "rules", "name", "what"),
    [
        ("layer.1.k.weight", {}, RULES, "layer.1.k.weight", "is missing"),
        ("", {"surprise": np.ones(1)}, RULES, "surprise", "is not part of this model"),
        ("", {}, (*RULES, copy("other", "layernorm.weight")), "layernorm.weight", "is claimed by two rules"),
        ("", {"n__weight": np.ones(4)}, (*RULES, copy("norm.{p}", "n.{p}")), "n.weight",
         "is a second tensor for one place of norm.weight"),
        ("layer.1.k.weight", {"layer__1__k__weight": np.ones((2, 4))}, RULES, "layer.1.k.weight",
         "differs in shape or dtype from the tensors that it is joined with"),
        ("mask_token", {"mask_token": np.ones((2, 4))}, RULES, "mask_token",
         "has a shape that does not fit: (2, 4) does not start with an axis of length 1"),
    ],
)  # fmt: skip
def test_every_problem_of_a_file_is_found(
    gone: str, extra: dict[str, Array], rules: tuple[Rule, ...], name: str, what: str
) -> None:
    found = written(encode(whole(), RULES))
    found.pop(gone, None)
    problems = decode(found | tensors(**extra), rules).problems
    assert (name, what) in [(problem.name, problem.what) for problem in problems]


def test_shapes_are_compared_both_ways() -> None:
    problems = compare_shapes({"a": (1,), "b": (2,)}, {"a": (1,), "b": (3,), "c": (4,)})
    assert [(problem.name, problem.what) for problem in problems] == [
        ("c", "is missing"),
        ("b", "has shape (2,) where (3,) was expected"),
    ]


@pytest.mark.parametrize("start", [0, 1, 5, 12])
def test_constants_are_made_from_any_element_on(start: int) -> None:
    ref = identity(5).tensor("eye", np.dtype(np.float32))
    found = np.concatenate([block.copy() for block in ref.values.blocks(start, 25, 4)])
    np.testing.assert_array_equal(found, np.eye(5, dtype=np.float32).reshape(-1)[start:])
    assert zeros(2, 0).tensor("none", np.dtype(np.float32)).read().shape == (2, 0)
