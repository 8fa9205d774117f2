"""Which columns of a linear head belong to which feature is in no shape: it is inferred from names, or assumed."""

from pathlib import Path

import pytest

from dinoport.api import convert
from dinoport.request import Request
from tests import formula
from tests.families.cases import BY_NAME, tensors
from tests.models import V2

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("case", "layer", "assumed"),
    [
        ("vit-cls-probe", "module.linear", False),
        ("vit-cls-probe", "fc", True),
        ("vit-interleaved-probe", "module.linear", True),
        ("vit-interleaved-probe", "", True),
        ("dinov2-classifier", "", False),
        ("dinov2-classifier", "classifier", True),
    ],
)
def test_a_head_by_another_name_is_assumed_to_be_laid_out_alike(
    case: str, layer: str, assumed: bool, tmp_path: Path
) -> None:
    found = BY_NAME[case]
    source, _ = found.write(tmp_path)
    state = found.state()
    prefix = f"{layer}." if layer else ""
    head = {f"{prefix}{name.rpartition('.')[2]}": state[name] for name in found.head}
    torch.save(tensors(head), tmp_path / "other_head.pth")
    request = Request(**{**found.request.to_dict(), "head": tmp_path / "other_head.pth"})
    report = convert(source, tmp_path / "out", request, level="exact")
    setting = next(setting for setting in report.settings if setting.name == "head columns")
    assert setting.origin == ("assumed" if assumed else "inferred")
    [said] = [text for text in report.verdict.assumptions if text.startswith("head columns = ")]
    assert (" writes them)" in said) == assumed
    assert (" names it)" in said) == (not assumed)
    assert (said in str(report.verdict)) == assumed


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("layer", ["classifier", "linear_head"])
def test_what_a_user_s_own_classifier_in_the_file_looks_at_is_named(layer: str, width: int, tmp_path: Path) -> None:
    """A layer of the CLS token's size may look at the mean of the patches as well."""
    state = formula.state_dict(V2.tensors())
    shape = (5, width * V2.width)
    state |= {f"{layer}.weight": formula.noise("w", shape), f"{layer}.bias": formula.noise("b", shape[:1])}
    torch.save(tensors(state), tmp_path / "a.pth")
    report = convert(tmp_path / "a.pth", tmp_path / "out", level="exact")
    looks_at = "the CLS token (as " if width == 1 else "CLS token, then patch mean (named as "
    assert [text for text in report.verdict.assumptions if text.startswith(f"head columns = {looks_at}")]
    assert ("head columns = " in str(report.verdict)) == (width == 1)
