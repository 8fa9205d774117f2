"""The notebooks in a kernel of Jupyter, as a person sees them: pictures, a report that opens, bars that move."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.publishing.server import serving
from tests.publishing.store import Hub

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("ipywidgets")
pytest.importorskip("matplotlib")

EXAMPLES = Path(__file__).parents[2] / "examples"

PICTURES = {
    "training_run_to_transformers": 1,
    "lightning_to_linear_probe": 0,
    "publish_and_verify": 1,
}
"""The notebooks, with the pictures that each draws."""


@pytest.fixture
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The Hub is the tests' own, and every cache is new."""
    with serving(Hub(tmp_path / "hub")) as running:
        kept = {"HF_HOME": tmp_path / "home", "DINOPORT_CACHE": tmp_path / "cache", "IPYTHONDIR": tmp_path / "ipython"}
        said = {"HF_ENDPOINT": running.url, "HF_TOKEN": "hf_owner", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        for name, value in {**kept, **said}.items():
            monkeypatch.setenv(name, str(value))
        yield


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.usefixtures("_at_home")
def test_a_notebook_runs_in_a_kernel(tmp_path: Path, name: str) -> None:
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in shown) == PICTURES[name]
    for text in map(text_of, shown):
        assert not any(sign in text for sign in ("Traceback", "object at 0x", "=(", "PosixPath(")), text


@pytest.mark.usefixtures("_at_home")
def test_bars_move_and_the_report_opens_from_its_verdict(tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / "training_run_to_transformers.ipynb", as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"][:2]
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    stages = record_stages(client)
    client.execute()
    assert {"loading the model", "comparing pixels"} <= stages
    report = next(output for output in notebook.cells[1].outputs if output.output_type == "execute_result")
    assert report.data["text/html"].startswith("<details><summary>equal at 224×224 pixels")
    assert report.data["text/plain"].startswith("<Report: equal at 224×224 pixels")


def record_stages(client: Any) -> set[str]:
    """The names of stages that the bars showed, as far as messages of the kernel tell."""
    stages: set[str] = set()
    process = client.process_message

    def told(message: Any, cell: Any, number: int) -> Any:
        if message["msg_type"] == "display_data":
            text = json.dumps(message["content"]["data"])
            stages.update(stage for stage in ("loading the model", "comparing pixels") if stage in text)
        return process(message, cell, number)

    client.process_message = told
    return stages


def text_of(output: Any) -> str:
    return str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
