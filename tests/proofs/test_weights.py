from collections.abc import Iterator

import numpy as np
import pytest

from dinoport.files.byte_sources import LocalFile
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.values import byte_ranges
from dinoport.proofs.weights import Weights, floats
from dinoport.tensor import BFLOAT16, Array, ArrayValues, TensorRef
from tests import tiny

torch = pytest.importorskip("torch")

VALUES = np.array([[1.0, 1 / 3], [-2.0, 1e-3]], dtype=np.float32)


class Unreadable:
    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        raise AssertionError("read, though no layer asked for it")


def ref(name: str, values: Array) -> TensorRef:
    return TensorRef(name, values.dtype, values.shape, ArrayValues(values))


def test_a_weight_is_read_in_the_dtype_of_the_run() -> None:
    weights = Weights({"norm.weight": ref("norm.weight", VALUES)})
    assert weights["norm.weight"].dtype == torch.float64
    assert np.array_equal(weights["norm.weight"].numpy(), VALUES.astype(np.float64))


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16])
def test_a_weight_is_rounded_first(dtype: np.dtype) -> None:
    weights = Weights({"norm.weight": ref("norm.weight", VALUES)}, cast=dtype)
    assert np.array_equal(weights["norm.weight"].numpy(), VALUES.astype(dtype).astype(np.float64))
    assert not np.array_equal(weights["norm.weight"].numpy(), VALUES)


def test_bfloat16_is_read_bit_for_bit() -> None:
    weights = Weights({"norm.weight": ref("norm.weight", VALUES.astype(BFLOAT16))})
    assert np.array_equal(weights["norm.weight"].numpy(), VALUES.astype(BFLOAT16).astype(np.float32))


def test_nothing_is_read_that_no_layer_asks_for() -> None:
    head = TensorRef("head.weight", np.dtype(np.float32), (65536, 256), Unreadable())
    weights = Weights({"head.weight": head, "norm.weight": ref("norm.weight", VALUES)})
    assert "head.weight" in weights
    assert "head.bias" not in weights
    assert weights.get("head.bias") is None
    assert weights["norm.weight"].shape == (2, 2)
    assert list(weights) == ["head.weight", "norm.weight"]
    with pytest.raises(AssertionError, match="no layer asked"):
        weights["head.weight"]


def test_counters_are_no_weights() -> None:
    tensors = {"bn1.weight": ref("bn1.weight", VALUES), "bn1.num_batches_tracked": ref("n", np.array(3))}
    assert floats(tensors).keys() == {"bn1.weight"}


def test_while_a_large_tensor_is_used_the_next_large_one_is_fetched(tmp_path, monkeypatch) -> None:
    expected: list[tuple[int, int]] = []
    monkeypatch.setattr("dinoport.proofs.weights.LARGE_BYTES", 300)
    monkeypatch.setattr(LocalFile, "expect", lambda file, begin, end: expected.append((begin, end)))
    with open_checkpoint(tiny.write(tmp_path / "source.pth")) as checkpoint:
        tensors = checkpoint.tensors
        large = [name for name, tensor in tensors.items() if tensor.size_bytes >= 300]
        assert 2 < len(large) < len(tensors)
        weights = Weights(tensors)
        for name in tensors:
            _ = weights[name]
        spans = [next(iter(byte_ranges(tensors[name].values))) for name in large]
    assert expected == [(begin, end) for _, begin, end in spans[1:]]
