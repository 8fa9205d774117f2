"""Our NumPy resampling against torch's own, in float64."""

import numpy as np
import pytest

from dinoport.mapping.operations import resample_table


@pytest.mark.parametrize("side", [14, 37, 3, 1])
@pytest.mark.parametrize("grid", [(5, 5), (14, 14), (16, 16), (20, 20), (7, 11), (37, 37), (1, 3)])
@pytest.mark.parametrize(("offset", "antialias"), [(0.1, False), (0.0, False), (0.0, True)])
def test_resampling_is_torchs(side: int, grid: tuple[int, int], offset: float, antialias: bool) -> None:
    torch = pytest.importorskip("torch")
    width = 6
    table = np.random.default_rng(1).standard_normal((1, side * side + 1, width))
    patches = torch.from_numpy(table[:, 1:]).reshape(1, side, side, width).permute(0, 3, 1, 2)
    how = {"scale_factor": tuple((target + offset) / side for target in grid)} if offset else {"size": grid}
    expected = torch.nn.functional.interpolate(patches, mode="bicubic", antialias=antialias, **how)
    found = resample_table(table, grid, offset, antialias)
    assert found.shape == (1, grid[0] * grid[1] + 1, width)
    np.testing.assert_array_equal(found[:, 0], table[:, 0])
    np.testing.assert_allclose(
        found[0, 1:], expected.permute(0, 2, 3, 1).reshape(-1, width).numpy(), rtol=0, atol=1e-13
    )


def test_the_offset_moves_the_samples() -> None:
    table = np.random.default_rng(2).standard_normal((1, 197, 4))
    with_offset, without = (resample_table(table, (16, 16), offset, False) for offset in (0.1, 0.0))
    assert np.abs(with_offset - without).max() > 0.01
