"""`dinoport demo`: the genuine checkpoint that ships, the whole way, as `make demo` runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dinoport import api
from dinoport.errors import DinoportError
from tests import goldens
from tests.command_line import DEMO
from tests.with_torchvision import INSTALLED

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

GOLDEN_CHECKPOINT = goldens.FOLDER / "dino1" / "tiny32" / "checkpoint.pth"


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("demo") / "dinoport-demo"
    command = [sys.executable, "-m", "dinoport", "demo", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False), folder


def test_the_demo_is_the_genuine_training_checkpoint() -> None:
    assert DEMO.read_bytes() == GOLDEN_CHECKPOINT.read_bytes()


def test_it_shows_a_report_that_reads_equal(demo) -> None:
    done, folder = demo
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "verdict     equal at 224×224 pixels, assuming heads = 2 (--num-heads) and 9\n"
        f"            values as in facebookresearch/dino, with {4 + INSTALLED} exceptions\n"
        "except      at"
    )
    for proof in (
        "exact       passed: 54 tensors found again",
        "loading     passed: ViTModel",
        "outputs     passed: tokens",
        f"pixels      passed: {'one grey level (torchvision)' if INSTALLED else 'equal (PIL)'} on a synthetic",
    ):
        assert proof in done.stdout
    assert json.loads((folder / "dinoport.json").read_text())["verdict"]["word"] == "equal except"


def test_the_folder_gives_what_the_genuine_code_gave(demo) -> None:
    _, folder = demo
    expected = goldens.outputs("dino1/tiny32/golden_teacher.npz")
    model = transformers.AutoModel.from_pretrained(folder)
    from tests import formula

    with torch.inference_mode():
        tokens = model(torch.from_numpy(formula.pixel_values(224, 224))).last_hidden_state.numpy()
    golden = expected["224x224/tokens"]
    assert np.abs(tokens - golden).max() <= 1e-5


def test_it_replaces_its_folder_only_when_told_to(demo) -> None:
    _, folder = demo
    with pytest.raises(DinoportError, match="exists"):
        api.demo(folder)
