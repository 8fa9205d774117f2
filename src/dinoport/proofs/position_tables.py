"""How far a resampled position table is from what the original makes of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dinoport.codebases.running import Pass
from dinoport.proofs.comparison import Comparison
from dinoport.proofs.difference import Difference


def given_table_distance(
    case: Comparison, state: Mapping[str, Any], theirs: Pass, size: tuple[int, int]
) -> float | None:
    """How far the other side's resampled table is from the original's own for (height, width) pixels; None without."""
    table = theirs.shared.get("positions")
    return None if table is None else resampled_distance(case, state, table, size)


def resampled_distance(
    case: Comparison, state: Mapping[str, Any], table: Any, size: tuple[int, int], architecture: Any = None
) -> float:
    """How far a table is from what an architecture makes of the original's own for (height, width) pixels."""
    from dinoport.networks.torch_interpolation import interpolate_table

    architecture = architecture or case.architecture
    rows, columns = (side // architecture.cell for side in size)
    own = interpolate_table(state[architecture.positions], rows, columns, architecture.interpolation)
    return Difference.between(own, table).relative


def table_distance(source: Mapping[str, Any], table: Any, case: Comparison, architecture: Any = None) -> float:
    """How far a baked position table is from the original's own for its size, relative to the largest value."""
    name = case.architecture.positions or ""
    return Difference.between(table_of_original(source[name], case, architecture), table).relative


def table_of_original(table: Any, case: Comparison, architecture: Any = None) -> Any:
    """The original's own interpolation of its table, computed by PyTorch."""
    from dinoport.networks.torch_interpolation import interpolate_table

    architecture = architecture or case.architecture
    patches = case.image_size // architecture.cell
    return interpolate_table(table, patches, patches, architecture.interpolation, architecture.first_rows)
