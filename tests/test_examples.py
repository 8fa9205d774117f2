"""The examples and notebooks run as they stand, on made files."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import DEMO, FILES
from tests.publishing import conftest as at_hub
from tests.publishing.store import Hub

pytest.importorskip("torch")
pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


hub = at_hub.hub


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DINOPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLBACKEND", "agg")


def run(notebook: Path) -> dict[str, object]:
    """Run the cells of a notebook one after the other, as a kernel does; its variables afterwards."""
    variables: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{notebook.name}, cell {number}", "exec"), variables)  # noqa: S102  # our own
    return variables


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 3


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs_of_a_machine(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_a_training_run_becomes_a_folder(tmp_path: Path) -> None:
    found = run(EXAMPLES / "training_run_to_transformers.ipynb")
    assert str(found["report"].verdict).startswith("equal at 224×224")  # type: ignore[attr-defined]  # a variable of the notebook
    assert (tmp_path / "drawn.png").stat().st_size > 10_000


def test_a_lightning_file_becomes_a_linear_probe() -> None:
    assert run(EXAMPLES / "lightning_to_linear_probe.ipynb")["accuracy"] >= 0.75  # type: ignore[operator]  # the same


def test_a_folder_is_published_and_verified(tmp_path: Path, hub: Hub) -> None:
    """At the tests' stand-in of the Hub."""
    found = run(EXAMPLES / "publish_and_verify.ipynb")
    assert str(found["again"].verdict).startswith("transported exactly")  # type: ignore[attr-defined]  # a variable of the notebook
    assert str(found["damaged"].verdict).startswith("not equal")  # type: ignore[attr-defined]  # the same
    assert at_hub.contents(hub).keys() >= FILES
    assert (tmp_path / "proven.png").stat().st_size > 5_000


def test_a_converted_folder_is_trained_on(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")  # which the Trainer needs
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # many threads of a small model wait for each other
    accuracy = runpy.run_path(str(EXAMPLES / "finetune.py"))["main"](DEMO, tmp_path / "tuned", num_heads=2)
    assert accuracy >= 0.9
    assert (tmp_path / "tuned" / "model.safetensors").is_file()


def test_features_of_a_folder_are_classified_by_their_neighbours(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for kind, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        for number in range(4):
            pixels = np.clip(np.array(colour) + random.normal(0, 20, (64, 80, 3)), 0, 255)
            path = tmp_path / "pictures" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    features = runpy.run_path(str(EXAMPLES / "features.py"))["main"]
    features(DEMO, tmp_path / "pictures", tmp_path / "features.npz", num_heads=2)
    assert np.load("features.npz")["features"].shape == (8, 32)
    assert runpy.run_path(str(EXAMPLES / "nearest_neighbours.py"))["main"](tmp_path / "features.npz") == 1.0
