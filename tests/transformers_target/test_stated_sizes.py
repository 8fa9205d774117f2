"""A config never has Transformers make a larger model than the weights beside it are."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from dinoport.codebases.transformers.class_fields import FIELDS
from dinoport.codebases.transformers.stated_sizes import SIZES, too_large
from dinoport.tensor import TensorRef
from tests.families.cases import CASES, Case
from tests.transformers_target.genuine_classes import CONFIGS


class Nowhere:
    """Values that nobody may ask for: sizes are held against shapes alone."""

    def blocks(self, start: int, stop: int, limit: int) -> Any:
        raise AssertionError("values were read")


def refs(*shapes: tuple[int, ...]) -> dict[str, TensorRef]:
    named = {f"t{place}": shape for place, shape in enumerate(shapes)}
    return {name: TensorRef(name, np.dtype(np.float32), shape, Nowhere()) for name, shape in named.items()}


def config_of(class_name: str) -> dict[str, Any]:
    return {"architectures": [class_name], **CONFIGS[class_name]}


SMALL = refs(*[(16, 16)] * 40)

NO_SIZES = (-1, 0, 0.5, 1e300, True, "16", None, [], [16.5], [[16]], {"a": 16}, [16, "x"])
HUGE = (2**31, 10**9, 10**400)


@pytest.mark.parametrize("class_name", CONFIGS)
def test_every_size_of_every_class_is_a_size_and_no_larger_than_its_weights(class_name: str) -> None:
    config, checked = config_of(class_name), 0
    assert not [*too_large(config, SMALL)]
    for name, field in FIELDS[class_name].items():
        if field.kind not in SIZES:
            continue
        lists = field.kind == "counts"
        wrong = [value for value in NO_SIZES if not (value is None and field.default is None)]
        wrong = [value for value in wrong if not (value == 0 and value is not True and field.kind == "tokens")]
        huge = [[value] * 4 for value in HUGE] if lists else list(HUGE)
        for value in (*wrong, *huge):
            problems = [*too_large({**config, name: value}, SMALL)]
            checked += 1
            if isinstance(value, bool) or value is not None:
                assert any(problem.startswith(f"{name} = ") for problem in problems), (name, value)
            assert all(len(problem) < 200 for problem in problems)
    assert checked > 30


@pytest.mark.parametrize("class_name", CONFIGS)
def test_sizes_that_are_small_one_by_one_are_held_together(class_name: str) -> None:
    """Each below the limit for a single size; together they are gigabytes beside 40 kB of weights."""
    config = config_of(class_name)
    sizes: dict[str, Any] = {"hidden_size": 1024, "intermediate_size": 1024, "num_hidden_layers": 40}
    sizes |= {"hidden_sizes": [1024] * 4, "depths": [10] * 4, "mlp_ratio": 1024}
    large = {**config, **{name: value for name, value in sizes.items() if name in FIELDS[class_name]}}
    [problem] = too_large(large, SMALL)
    assert problem.endswith(f" parameters by its sizes, where the weights hold {40 * 256}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_folder_of_every_network_is_as_large_as_it_says(case: Case, tmp_path: Any) -> None:

    from dinoport.api import convert
    from dinoport.formats.opening import open_checkpoint

    path, request = case.write(tmp_path / "source")
    convert(path, tmp_path / "folder", request, level="none")
    with open_checkpoint(tmp_path / "folder") as folder:
        config = dict(folder.config or {})
        tensors = folder.tensors
        assert not [*too_large(config, tensors)]
        few = dict(list(tensors.items())[:2])
        if sum(tensor.size for tensor in tensors.values()) > 4_000_000:
            assert [*too_large(config, few)]


def test_no_memory_is_taken_for_a_number_of_any_length() -> None:
    tracemalloc.start()
    problems = [*too_large({**config_of("ViTModel"), "num_hidden_layers": 10**4000, "num_labels": 10**4000}, SMALL)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert problems[0] == f"num_hidden_layers = {'1' + '0' * 39}, with 40 tensors"
    assert peak < 1_000_000


def test_labels_count_as_rows_of_a_classifier() -> None:
    config = {**config_of("ViTForImageClassification"), "id2label": {str(i): "x" for i in range(200_000)}}
    [problem] = too_large(config, SMALL)
    assert "parameters by its sizes" in problem
