from __future__ import annotations

import numpy as np
import pytest
from dinoport.mapping.RESOLVE import backwards, compare_shapes, forwards

from dinoport.mapping.constants import identity, ones, zeros
from dinoport.mapping.operations import Kind
from dinoport.mapping.rule import Rule, add_axis, copy, deinterleave, drop, make, split_rows
from dinoport.tensor import Array, ArrayValues, TensorRef

RULES: tuple[Rule, ...] = (
    copy("norm.{p}", "layernorm.{p}"),
    split_rows("blocks.{i}.qkv.{p}", ("layer.{i}.q.{p}", "layer.{i}.k.{p}", "layer.{i}.v.{p}")),
    add_axis("mask", "mask_token"),
    deinterleave("linear.weight", "classifier.weight"),
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


def test_there_and_back_gives_the_same_bits() -> None:
    originals = whole()
    there = forwards(originals, RULES)
    assert there.problems == ()
    assert there.plan.shapes()["layer.1.k.weight"] == (4, 4)
    assert there.plan.shapes()["mask_token"] == (1, 1, 4)
    assert there.plan.counts() == {
        Kind.BIJECTIVE: 9, Kind.RECOMPUTED: 0, Kind.SYNTHESISED: 1, Kind.DROPPED: 1,
    }  # fmt: skip
    written = {step.target.name: step.tensor() for step in there.plan.steps}
    back = backwards(written, RULES)
    assert back.problems == ()
    assert {dropped.name for dropped in back.plan.dropped} == {"scale"}
    for step in back.plan.steps:
        np.testing.assert_array_equal(step.tensor().read(), originals[step.target.name].read())
    assert {step.target.name for step in back.plan.steps} == originals.keys() - {"head.0.weight"}


def test_a_part_that_is_left_out_returns_as_zeros_and_is_said() -> None:
    rules = (split_rows("qkv.{p}", ("q.{p}", None, "v.{p}"), because="a masked key bias"),)
    bias = np.arange(1, 7, dtype=np.float32)
    there = forwards(tensors(qkv__bias=bias), rules)
    assert [(dropped.name, dropped.reason) for dropped in there.plan.dropped] == [
        ("qkv.bias (part 2 of 3)", "a masked key bias")
    ]
    [step] = backwards({step.target.name: step.tensor() for step in there.plan.steps}, rules).plan.steps
    assert step.tensor().read().tolist() == [1, 2, 0, 0, 5, 6]


def test_a_cast_spares_integers_and_counts_as_recomputed() -> None:
    counter = np.array(7, dtype=np.int64)
    there = forwards(tensors(norm__weight=np.ones(4, np.float32), norm__count=counter), RULES, np.dtype(np.float16))
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
    problems = forwards(whole() | tensors(**extra), rules).problems
    assert (name, what) in [(problem.name, problem.what) for problem in problems]


def test_a_missing_part_stops_the_way_back() -> None:
    written = {step.target.name: step.tensor() for step in forwards(whole(), RULES).plan.steps}
    del written["layer.1.k.weight"]
    [problem] = backwards(written, RULES).problems
    assert (problem.name, problem.what) == ("layer.1.k.weight", "is missing")


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
