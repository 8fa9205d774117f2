"""The exact proof sees one bit, wherever it is, and names the tensor; a cast it computes itself."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from dinoport.api import convert, verify
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint
from dinoport.mapping.constants import Listed, identity, ones
from dinoport.mapping.decoding import Decoding, decode
from dinoport.mapping.encoding import encode
from dinoport.mapping.operations import AddAxis, BakeTable, Deinterleave
from dinoport.mapping.rule import Rule, change, copy, drop, drop_alias, make, split_rows
from dinoport.proofs.exact import ExactProof, prove
from dinoport.proofs.verdict import Word
from dinoport.tensor import BFLOAT16, Array, ArrayValues, TensorRef
from tests import tiny

BAKED = BakeTable(grid=5, offset=0.1, antialias=False)

RULES: tuple[Rule, ...] = (
    copy("norm.{p}", "layernorm.{p}"),
    split_rows("blocks.{i}.qkv.{p}", ("layer.{i}.q.{p}", "layer.{i}.k.{p}", "layer.{i}.v.{p}")),
    split_rows("masked.bias", ("q.bias", None, "v.bias"), because="masked"),
    change("mask", "mask_token", AddAxis()),
    change("linear.weight", "classifier.weight", Deinterleave()),
    change("pos_embed", "positions", BAKED, because="another size"),
    drop("head.{k}.{p}", because="a projection head"),
    make("scale", ones(4), because="no layer scale"),
    make("pooler", identity(4), because="a pooler"),
)

BF16 = ml_dtypes.bfloat16


def refs(arrays: Mapping[str, Array]) -> dict[str, TensorRef]:
    return {name: TensorRef(name, array.dtype, array.shape, ArrayValues(array)) for name, array in arrays.items()}


def originals() -> dict[str, Array]:
    random = np.random.default_rng(7)
    shapes = {
        "norm.weight": (4,),
        "norm.bias": (4,),
        "blocks.0.qkv.weight": (12, 4),
        "blocks.1.qkv.weight": (12, 4),
        "masked.bias": (12,),
        "mask": (1, 4),
        "linear.weight": (3, 8),
        "pos_embed": (1, 10, 4),
        "head.0.weight": (2, 4),
    }
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()} | {
        "norm.count": np.array(7, np.int64)
    }


def written(source: Mapping[str, Array], cast: np.dtype | None = None) -> dict[str, Array]:
    plan = encode(refs(source), RULES, cast).plan
    return {step.target.name: step.tensor().read() for step in plan.steps}


def own(arrays: Mapping[str, Array]) -> Decoding:
    """A side that uses the canonical names."""
    return decode(refs(arrays), tuple(copy(name, name) for name in arrays))


def proof_of(target: Mapping[str, Array], source: Mapping[str, Array] | None = None, **options) -> ExactProof:
    source = originals() if source is None else source
    return prove(own(source), decode(refs(target), RULES), anew={"pos_embed": BAKED}, **options)


def proof_of_copy(source: Array, target: Array, cast: np.dtype) -> ExactProof:
    return prove(own({"w": source}), decode(refs({"v": target}), (copy("w", "v"),)), cast=cast)


def test_everything_is_counted() -> None:
    proof = proof_of(written(originals()))
    assert proof.problems == ()
    assert (proof.found, proof.recomputed, proof.synthesised, proof.dropped) == (8, 1, 2, 1)
    assert proof.compared_bytes == sum(a.nbytes for name, a in originals().items() if name != "head.0.weight")


@pytest.mark.parametrize("name", sorted(written(originals())))
def test_one_flipped_bit_is_found_in_every_tensor(name: str) -> None:
    target = written(originals())
    bits = target[name].reshape(-1).view(np.uint8)
    for byte in (0, bits.size - 1):
        bits[byte] ^= 1
        [problem] = proof_of(target).problems
        assert f"differs from {name} at element" in problem or f"{name} is not what was declared" in problem
        bits[byte] ^= 1
    assert proof_of(target).passed


@pytest.mark.parametrize(
    ("one", "other", "problems"),
    [
        (
            "layer.0.q.weight",
            "layer.0.k.weight",
            ("blocks.0.qkv.weight differs from layer.0.q.weight at element 0",
             "blocks.0.qkv.weight differs from layer.0.k.weight at element 16"),
        ),
        (
            "layer.0.v.weight",
            "layer.1.v.weight",
            ("blocks.0.qkv.weight differs from layer.0.v.weight at element 32",
             "blocks.1.qkv.weight differs from layer.1.v.weight at element 32"),
        ),
        (
            "layernorm.weight",
            "layernorm.bias",
            ("norm.weight differs from layernorm.weight at element 0",
             "norm.bias differs from layernorm.bias at element 0"),
        ),
    ],
)  # fmt: skip
def test_a_swapped_pair_is_found(one: str, other: str, problems: tuple[str, ...]) -> None:
    target = written(originals())
    target[one], target[other] = target[other], target[one]
    assert sorted(proof_of(target).problems) == sorted(problems)


def without(arrays: Mapping[str, Array], name: str) -> dict[str, Array]:
    return {key: array for key, array in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (without(written(originals()), "layernorm.bias"), "norm.bias is neither found again nor dropped by a rule"),
        (without(written(originals()), "layer.1.k.weight"), "layer.1.k.weight of the target is missing"),
        (without(written(originals()), "scale"), "scale is not in the target"),
        (written(originals()) | {"extra": np.ones(1)}, "extra of the target is not part of this model"),
        (
            written(originals()) | {"layernorm.other": np.ones(4)},
            "layernorm.other of the target has no source: norm.other is not in the original",
        ),
        (
            written(originals()) | {"layernorm.weight": originals()["norm.weight"][:3]},
            "layernorm.weight has shape (3), where norm.weight gives (4)",
        ),
        (
            written(originals()) | {"mask_token": originals()["mask"]},
            "mask_token has shape (1, 4), where mask gives (1, 1, 4)",
        ),
        (
            written(originals()) | {"classifier.weight": written(originals())["classifier.weight"].reshape(4, 6)},
            "classifier.weight has shape (4, 6), where linear.weight gives (3, 8)",
        ),
        (
            written(originals()) | {"layernorm.weight": originals()["norm.weight"].astype(np.float64)},
            "layernorm.weight is float64, where norm.weight gives float32",
        ),
        (
            written(originals()) | {"scale": np.ones((2, 2), np.float32)},
            "scale has not the shape that was declared for it",
        ),
        (
            written(originals()) | {"scale": np.full(4, 1 + 2**-23, np.float32)},
            "scale is not what was declared (all 1)",
        ),
        (
            written(originals()) | {"pooler": np.ones((4, 4), np.float32)},
            "pooler is not what was declared (identity)",
        ),
    ],
)  # fmt: skip
def test_a_tensor_too_few_too_many_or_of_another_kind(target: Mapping[str, Array], problem: str) -> None:
    assert proof_of(target).problems == (problem,)


def test_a_second_tensor_for_one_place() -> None:
    rules = (copy("norm.weight", "layernorm.weight"), copy("norm.{p}", "again.{p}"))
    weight = originals()["norm.weight"]
    target = decode(refs({"layernorm.weight": weight, "again.weight": weight}), rules)
    proof = prove(own({"norm.weight": weight}), target)
    assert proof.problems == ("again.weight of the target is a second tensor for one place of norm.weight",)


def test_a_source_that_no_rule_drops() -> None:
    proof = proof_of(written(originals()), originals() | {"surprise": np.ones(2)})
    assert proof.problems == ("surprise is neither found again nor dropped by a rule",)


@pytest.mark.parametrize("row", [0, 1, 25])
def test_a_baked_table_is_computed_again(row: int) -> None:
    target = written(originals())
    target["positions"] = target["positions"].copy()
    target["positions"][0, row, 0] = np.nextafter(target["positions"][0, row, 0], np.float32(9))
    assert proof_of(target).problems == (f"pos_embed differs from positions at element {row * 4}",)


def test_a_baked_table_of_another_size() -> None:
    target = written(originals()) | {"positions": originals()["pos_embed"]}
    assert proof_of(target).problems == ("positions has shape (1, 10, 4), where pos_embed gives (1, 26, 4)",)


def test_nonfinite_values_are_counted_and_compared() -> None:
    source = originals()
    source["norm.weight"][1] = np.nan
    source["blocks.0.qkv.weight"][3, 2] = -np.inf
    proof = proof_of(written(source), source)
    assert proof.passed
    assert proof.nonfinite == {"norm.weight": 1, "blocks.0.qkv.weight": 1}


HALVES = {
    np.float16: (
        [(1 + 2**-11, 1.0), (1 + 3 * 2**-11, 1 + 2**-9), (1 + 2**-11 + 2**-23, 1 + 2**-10)],
        [(2.0**-24, 2.0**-24), (2.0**-25, 0.0), (3 * 2.0**-25, 2.0**-23), (2.0**-25 * (1 + 2**-23), 2.0**-24)],
        [(65519.996, 65504.0), (65520.0, np.inf), (-7e4, -np.inf), (-0.0, -0.0)],
    ),
    BF16: (
        [(1 + 2**-8, 1.0), (1 + 3 * 2**-8, 1 + 2**-6), (1 + 2**-8 + 2**-23, 1 + 2**-7)],
        [(2.0**-133, 2.0**-133), (2.0**-134, 0.0), (3 * 2.0**-134, 2.0**-132), (2.0**-149, 0.0)],
        [(3.3895e38, 3.3895314e38), (3.4e38, np.inf), (-3.4e38, -np.inf), (-0.0, -0.0)],
    ),
}
"""Float32 values and what they round to: halves to even, subnormal numbers, overflow. Worked out by hand."""


@pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
def test_a_cast_rounds_as_worked_out_by_hand(dtype: type) -> None:
    pairs = [pair for group in HALVES[dtype] for pair in group]
    source, rounded = np.array([pair[0] for pair in pairs], np.float32), np.array([pair[1] for pair in pairs])
    expected = rounded.astype(dtype)
    assert expected.astype(np.float64) == pytest.approx(rounded, rel=1e-6, abs=0)
    proof = proof_of_copy(source, expected, np.dtype(dtype))
    assert proof.problems == ()
    assert (proof.found, proof.recomputed) == (0, 1)
    np.testing.assert_array_equal(cast_by_writer(source, np.dtype(dtype)).view(np.uint16), expected.view(np.uint16))


def cast_by_writer(source: Array, cast: np.dtype) -> Array:
    [step] = encode(refs({"w": source}), (copy("w", "v"),), cast).plan.steps
    return step.tensor().read()


@pytest.mark.parametrize("cast", [np.dtype(np.float16), BFLOAT16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("wide", [np.float32, np.float64, np.float16, BF16])
def test_writer_and_proof_round_alike(cast: np.dtype, wide: type) -> None:
    """All kinds of bit patterns; NaN need not keep its payload."""
    width = np.dtype(wide).itemsize
    bits = np.random.default_rng(3).integers(0, 256, 40_000 * width, dtype=np.uint8)
    source = bits.view(wide)
    with np.errstate(all="ignore"):
        target = cast_by_writer(source, cast)
    assert proof_of_copy(source, target, cast).problems == ()


@pytest.mark.parametrize("cast", [np.dtype(np.float16), BFLOAT16], ids=["float16", "bfloat16"])
def test_a_cast_that_rounds_otherwise_is_found(cast: np.dtype) -> None:
    source, target = originals(), written(originals(), cast)
    assert proof_of(target, cast=cast).passed
    bits = target["layer.0.k.weight"].view(np.uint16)
    bits[2, 1] += 1
    assert proof_of(target, cast=cast).problems == ("blocks.0.qkv.weight differs from layer.0.k.weight at element 25",)
    bits[2, 1] -= 1
    target["layernorm.count"] = source["norm.count"].astype(np.int32)
    assert proof_of(target, cast=cast).problems == ("layernorm.count is int32, where norm.count gives int64",)


def test_weights_that_nobody_asked_to_round_are_not_equal() -> None:
    target = written(originals())
    target["layernorm.weight"] = target["layernorm.weight"].astype(np.float16)
    assert proof_of(target).problems == ("layernorm.weight is float16, where norm.weight gives float32",)


def test_a_source_may_lack_what_a_rule_would_make_and_a_target_may_not() -> None:
    """A folder that somebody saved without a pooler returns; one that was written without is not what was asked for."""
    folder = decode(refs(without(written(originals()), "pooler")), RULES)
    original = own({name: array.read() for name, array in folder.tensors.items()})
    assert prove(folder, original).problems == ()
    assert prove(original, folder).problems == ("pooler is not in the target",)


def test_a_table_that_was_resampled_is_read_as_it_is() -> None:
    folder = decode(refs(written(originals())), RULES)
    np.testing.assert_array_equal(folder.tensors["pos_embed"].read(), written(originals())["positions"])


def test_what_a_source_was_given_must_be_what_its_table_declares() -> None:
    folder = decode(refs(written(originals()) | {"scale": np.zeros(4, np.float32)}), RULES)
    original = own({name: array.read() for name, array in folder.tensors.items()})
    assert prove(folder, original).problems == ("scale is not what was declared (all 1)",)


NORM = np.array([1.5, 2.5, 3.5], np.float32)
SECOND_NAME = (copy("norm.{p}", "layer_norm.{p}"), drop_alias("norms.3.{p}", of="norm.{p}"))


@pytest.mark.parametrize(
    ("second", "problems"),
    [
        (NORM, ()),
        (NORM + np.float32([0, 0, 1e-6]), ("norms.3.weight differs from layer_norm.weight at element 2",)),
        (NORM.astype(np.float64), ("layer_norm.weight is float32, where norms.3.weight gives float64",)),
    ],
)
def test_a_second_name_must_hold_the_same_bits(second: Array, problems: tuple[str, ...]) -> None:
    target = decode(refs({"layer_norm.weight": NORM}), SECOND_NAME)
    proof = prove(own({"norm.weight": NORM, "norms.3.weight": second}), target)
    assert proof.problems == problems
    assert proof.found == 2


def test_a_second_name_needs_a_first() -> None:
    proof = prove(own({"norms.3.weight": NORM}), decode({}, SECOND_NAME))
    assert proof.problems == ("norms.3.weight is neither found again nor dropped by a rule",)


@pytest.mark.parametrize(("value", "back", "faults"), [(10.0, True, 0), (10.5, True, 1), (10.5, False, 0)])
def test_a_declared_tensor_returns_as_declared(value: float, back: bool, faults: int) -> None:
    periods = Listed((1.0, 10.0), "the powers of 100")
    folder = decode({}, (drop("rope_embed.periods", because="computed", returns=periods),))
    original = own({"rope_embed.periods": np.array([1.0, value], np.float32)})
    proof = prove(folder, original) if back else prove(original, folder)
    assert len(proof.problems) == faults
    assert (proof.synthesised, proof.dropped) == ((1, 0) if back else (0, 1))
    if faults:
        assert proof.problems == ("rope_embed.periods is not what was declared: the powers of 100 (computed)",)


def test_what_the_source_leaves_aside_is_counted_as_dropped() -> None:
    beside = {"head.0.weight": originals()["head.0.weight"]}
    source = decode(refs(beside), (), (drop("head.{k}.{p}", because="a projection head"),))
    assert prove(source, decode({}, ())).dropped == 1


def test_a_checksum_that_does_not_hold(tmp_path: Path) -> None:
    """Bits that changed before the conversion are in the folder too: only the zip's own checksum knows."""
    source = tiny.write(tmp_path / "checkpoint.pth")
    convert(source, tmp_path / "folder", tiny.REQUEST, level="none")
    with zipfile.ZipFile(source) as archive:
        entry = next(info for info in archive.infolist() if info.filename.endswith("data/3"))
    with open_checkpoint(source) as checkpoint:
        name = list(state_dicts(checkpoint)[0].tensors)[3]
    damaged = bytearray(source.read_bytes())
    damaged[damaged.index(bytes.fromhex(first_bytes(source, entry)))] ^= 1
    source.write_bytes(damaged)
    report = verify(source, tmp_path / "folder", level="exact")
    assert report.verdict.word is Word.NOT_EQUAL
    assert any(f"{name} differs from" in problem for problem in report.proofs.exact.problems)
    assert any("checksum" in problem and entry.filename in problem for problem in report.proofs.exact.problems)


def first_bytes(source: Path, entry: zipfile.ZipInfo) -> str:
    with zipfile.ZipFile(source) as archive:
        return archive.read(entry)[:16].hex()
