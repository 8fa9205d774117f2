"""Files of the kinds that public trackers ask about: each converted, or refused by what it is, in the words below.

What a user sees of each lies in `fixtures/reports`, whole; `DINOPORT_RECORD=1` writes it anew.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dinoport.api import convert
from dinoport.formats.opening import open_checkpoint
from tests.command_line import Run
from tests.finding.reports import (
    V2,
    VIT,
    WRITE,
    accelerate,
    arrays,
    deepspeed,
    depth_network,
    encoder_decoder,
    first_release,
    saved,
    state,
    student_teacher,
)  # fmt: skip

SEEN = Path(__file__).parents[1] / "fixtures" / "reports"

OF_A_CONTAINER = re.compile(r"(torch zip file|NumPy .npz file), [\d.]+ (bytes|[kM]B)")
"""Its size, which is torch's and NumPy's matter."""


@pytest.mark.parametrize(
    ("write", "model", "chosen", "aside"),
    [
        (first_release, VIT, "teacher was chosen", "head.prototypes.weight_g"),
        (depth_network, V2, "", "depth_head.projects.{0…3}.weight"),
        (encoder_decoder, V2, "", "decoder.conv.weight"),
        (student_teacher, V2, "state_dict.teacher.vit was chosen", "teacher_head.layers.0.weight"),
        (accelerate, VIT, "", ""),
        (deepspeed, VIT, "", ""),
        (arrays, VIT, "", ""),
    ],
)
def test_what_people_ask_about_is_converted(
    write: Callable[[Path], Path], model: object, chosen: str, aside: str, tmp_path: Path
) -> None:
    report = convert(write(tmp_path), tmp_path / "out", level="exact")
    convert(saved(tmp_path / "bare.pth", state(model)), tmp_path / "bare", level="exact")
    with open_checkpoint(tmp_path / "out") as ours, open_checkpoint(tmp_path / "bare") as bare:
        assert ours.tensors.keys() == bare.tensors.keys()
        for name, tensor in bare.tensors.items():
            assert np.array_equal(ours.tensors[name].read(), tensor.read()), name
    assert any(remark.startswith(chosen) for remark in report.remarks) or not chosen
    assert aside in ", ".join(line.names for line in report.accounting.dropped)


@pytest.mark.parametrize("name", WRITE)
def test_what_a_user_sees(name: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = WRITE[name](Path())
    text = ""
    for words in (("inspect", source), ("convert", source, "model", "--verify", "exact")):
        done = run(*words)
        command = " ".join(map(str, words))
        shown = (done.out + done.err).partition("\nfolder ")[0]  # below, what it has written, with its hashes
        plain = OF_A_CONTAINER.sub(r"\1, …", shown).rstrip()
        text += f"$ dinoport {command}\n{plain}\nexit code {done.code}\n\n"
    if os.environ.get("DINOPORT_RECORD"):
        (SEEN / f"{name}.txt").write_text(text, encoding="utf-8")
    assert text == (SEEN / f"{name}.txt").read_text(encoding="utf-8")
