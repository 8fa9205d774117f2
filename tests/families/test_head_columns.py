"""Which columns of a linear head belong to which feature is in no shape: it is inferred from names, or assumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dinoport.api import convert
from dinoport.request import Request
from tests.families.cases import BY_NAME, tensors

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("case", "layer", "assumed"),
    [
        ("vit-interleaved-probe", "module.linear", False),
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
