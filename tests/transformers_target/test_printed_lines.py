"""The lines under "load it" run as they are printed, in the environment that printed them.

Each of the project's environments runs this file: two generations of Transformers, with and without torchvision.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import dinoport
from dinoport.report.text import report_lines
from tests.families.cases import BY_NAME
from tests.with_torchvision import INSTALLED

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

NAMES = (
    *("vit-classifier", "vit-no-pooler", "vit-four-channels", "resnet", "dinov2", "dinov2-registers"),
    *("dinov2-whole-classifier", "dinov3", "dinov3-convnext"),
)
NEEDS_TORCHVISION = "  # needs torchvision: pip install torchvision"


def printed(report: dinoport.Report) -> list[str]:
    """What stands beside the label `load it`."""
    lines = [*report_lines(report)]
    return [line[12:] for line in lines[next(n for n, line in enumerate(lines) if line.startswith("load it")) :]]


@pytest.mark.parametrize("name", NAMES)
def test_the_printed_lines_run(tmp_path: Path, name: str) -> None:
    source, request = BY_NAME[name].write(tmp_path / "source")
    lines = printed(dinoport.convert(source, tmp_path / "a 'folder'", request, level="exact"))
    assert any("from_pretrained" in line for line in lines)
    found: dict[str, object] = {}
    for line in lines:
        if line.endswith(NEEDS_TORCHVISION) and not INSTALLED:
            with pytest.raises((ImportError, ValueError), match=r"[Tt]orchvision"):
                exec(line, found)  # noqa: S102  # a line that dinoport printed
        else:
            exec(line, found)  # noqa: S102  # a line that dinoport printed
    assert ("processor" in found) == (name != "vit-four-channels" and (INSTALLED or not name.startswith("dinov3")))
    model, processor = found["model"], found.get("processor")
    if processor:
        pil = pytest.importorskip("PIL.Image")
        inputs = processor(pil.new("RGB", (40, 30), (90, 30, 200)), return_tensors="pt")  # type: ignore[operator]
        with torch.inference_mode():
            output = model(**inputs)[0]  # type: ignore[operator]
        assert output.isfinite().all()


@pytest.mark.parametrize("name", ["dinov2", "dinov3"])
def test_lines_for_timm_run(tmp_path: Path, name: str) -> None:
    pytest.importorskip("timm")
    source, request = BY_NAME[name].write(tmp_path / "source")
    lines = printed(dinoport.convert(source, tmp_path / "out", request, level="exact", to="timm"))
    found: dict[str, object] = {}
    exec("\n".join(lines), found)  # noqa: S102  # lines that dinoport printed
    assert found["model"]
