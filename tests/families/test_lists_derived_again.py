"""Some of the recorded mapping lists, derived again with the Transformers that is installed here.

Those that take seconds; `python -m tests.fixtures.mapping.generate` derives all of them.
"""

from dataclasses import replace

import pytest

from tests.fixtures.mapping.cases import CASES

pytest.importorskip("transformers")
generate = pytest.importorskip("tests.fixtures.mapping.generate")

BY_NAME = {case.name: case for case in CASES}
QUICK = (
    "dinov2.Dinov2Model.plain",
    "dinov3.DINOv3ViTModel.plain",
    "dinov3_convnext.DINOv3ConvNextModel",
    "deit3.Dinov2Model",
    "mae.BeitModel",
)


@pytest.mark.parametrize("name", QUICK)
def test_this_version_of_transformers_gives_the_recorded_list(name: str) -> None:
    case = BY_NAME[name]
    assert generate.as_text(generate.derive(case)) == case.path.read_text(encoding="utf-8")


def test_a_class_that_computes_something_else_gives_no_list() -> None:
    case = BY_NAME["dinov3_convnext.DINOv3ConvNextModel"]
    wrong = replace(case, config={**case.config, "layer_norm_eps": 1e-3})
    with pytest.raises(generate.AmbiguityError, match="0 ways lead to the end"):
        generate.derive(wrong)
