"""What is dropped is not only named: what its rule says of it must hold."""

from __future__ import annotations

import numpy as np
import pytest

from dinoport.mapping.constants import Listed
from dinoport.mapping.rule import copy, drop, drop_alias
from dinoport.proofs.exact import prove
from dinoport.tensor import Array, ArrayValues, TensorRef


def ref(name: str, array: Array) -> TensorRef:
    return TensorRef(name, array.dtype, array.shape, ArrayValues(array))


NORM = np.array([1.5, 2.5, 3.5], np.float32)
RULES = (copy("norm.{p}", "layer_norm.{p}"), drop_alias("norms.3.{p}", of="norm.{p}"))


@pytest.mark.parametrize(
    ("second", "problems"),
    [
        (NORM, ()),
        (NORM + np.float32(1e-7), ("norms.3.weight is not norm.weight",)),
        (NORM.astype(np.float64), ("norms.3.weight is not norm.weight",)),
    ],
)
def test_a_second_name_must_hold_the_same_bits(second: Array, problems: tuple[str, ...]) -> None:
    originals = {"norm.weight": ref("norm.weight", NORM), "norms.3.weight": ref("norms.3.weight", second)}
    written = {"layer_norm.weight": ref("layer_norm.weight", NORM)}
    assert prove(originals, written, RULES).problems == problems


def test_a_second_name_needs_a_first() -> None:
    originals = {"norms.3.weight": ref("norms.3.weight", NORM)}
    assert prove(originals, {}, RULES).problems == ("norms.3.weight is not norm.weight",)


@pytest.mark.parametrize(("value", "returned", "faults"), [(10.0, True, 0), (10.5, True, 1), (10.5, False, 0)])
def test_a_declared_tensor_returns_as_declared(value: float, returned: bool, faults: int) -> None:
    periods = Listed((1.0, 10.0), "the powers of 100")
    rules = (drop("rope_embed.periods", because="computed", returns=periods),)
    originals = {"rope_embed.periods": ref("rope_embed.periods", np.array([1.0, value], np.float32))}
    proof = prove(originals, {}, rules, returned=returned)
    assert len(proof.problems) == faults
    if faults:
        assert proof.problems == ("rope_embed.periods is not what was declared (the powers of 100)",)
