"""What a newcomer does in the first hour, each command timed: until its first word, and until its end.

`python benchmarks/first_hour.py --bin FRESH/bin --bare BARE/bin --write docs/first-hour.md` runs the commands of that
page in two environments made for it: FRESH has the built wheel with the extra `all` and torch for the CPU, BARE has
the wheel alone. Commands run on a terminal of their own, as a person would see them.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Timer
from typing import NamedTuple

STOP_AFTER_SECONDS = 2.0

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What colours a terminal, and moves its cursor."""

LOAD = """
from PIL import Image
from transformers import AutoImageProcessor, AutoModel
processor = AutoImageProcessor.from_pretrained("my-model")
model = AutoModel.from_pretrained("my-model")
print(model(**processor(Image.open("photo.jpg"), return_tensors="pt")).last_hidden_state.shape)
"""

ROWS: Mapping[int, tuple[int, str, str]] = {
    1: (2, "dinoport", "convert"),
    2: (0, "dinoport convert -h", "--num-heads"),
    3: (0, "dinoport demo", "equal at"),
    4: (0, "dinoport inspect checkpoint.pth", "dinoport convert checkpoint.pth"),
    5: (1, "dinoport convert checkpoint.pth my-model", "--num-heads N"),
    6: (0, "dinoport convert checkpoint.pth my-model --num-heads 2", "equal at"),
    7: (
        0,
        "dinoport convert checkpoint.pth quick --num-heads 2 --verify exact",
        "transported exactly (outputs not shown)",
    ),
    8: (0, "python load.py", "torch.Size"),
    9: (0, "dinoport verify checkpoint.pth my-model", "equal at"),
    10: (0, "dinoport verify my-model", "unchanged"),
    11: (0, "dinoport convert checkpoint.pth paged --num-heads 2 --report report.html", "report.html"),
    12: (0, "dinoport visualize my-model photo.jpg", "8 pictures"),
    13: (0, "dinoport convert my-model back --to original", "equal at"),
    14: (1, "dinoport convert last.ckpt lightning", "--num-heads N"),
    15: (0, "dinoport convert run back-of-run --to original", "checkpoint-3 was chosen"),
    16: (0, "dinoport inspect lightly.ckpt", "teacher_embedding_model"),
    17: (1, "dinoport inspect runs", "dinoport fleet OUT runs"),
    18: (0, "dinoport fleet out runs/*.pth --num-heads 2 --verify exact", "2 of 2"),
    19: (1, "dinoport inspect model.tar.gz", "tar -xf"),
    20: (1, "dinoport inspect page.pth", "a web page"),
    21: (1, "dinoport convert dinov2_vitb15 x", "did you mean: dinov2_vitb14"),
    22: (2, "dinoport convert checkpoint.pth x --num-head 2", "did you mean: --num-heads"),
    23: (3, "dinoport verify checkpoint.pth my-model", "not equal"),
    24: (130, "dinoport convert checkpoint.pth stopped --num-heads 2", "interrupted: no folder was written"),
    25: (0, "dinoport demo bare", "pip install"),
}
"""The rows of the page: the exit code, the command, and words that it shows. Before row 23 a byte of the weights is
changed, row 24 is stopped with Ctrl-C, and row 25 runs in BARE."""

DAMAGED, STOPPED, BARE = 23, 24, 25


class Seen(NamedTuple):
    """What a command showed: the exit code, seconds until the first word and until the end, and the words."""

    code: int
    first: float | None
    end: float
    text: str


def on_terminal(words: list[str], folder: Path, path: Path, *, stop: bool = False) -> Seen:
    """Run a command as a person does. One that is stopped ends so many seconds after Ctrl-C."""
    outside, inside = pty.openpty()
    began = time.monotonic()
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        words, cwd=folder, stdin=inside, stdout=inside, stderr=inside, env=environment, start_new_session=True
    )
    os.close(inside)
    stopper = Timer(STOP_AFTER_SECONDS, process.send_signal, [signal.SIGINT])
    if stop:
        stopper.start()
    first, chunks = None, []
    while chunk := _read(outside):
        first = first or time.monotonic() - began
        chunks.append(chunk)
    code = process.wait()
    os.close(outside)
    seconds = time.monotonic() - began - (STOP_AFTER_SECONDS if stop else 0)
    return Seen(code, first, seconds, b"".join(chunks).decode(errors="replace"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux, once nobody writes to the terminal any more
        return b""


def material(folder: Path) -> None:
    """The files of the page: the demo's checkpoint, and the same model as other frameworks keep it."""
    import numpy as np
    import torch
    from PIL import Image

    import dinoport
    from dinoport.api import DEMO_FILE

    demo = folder / "checkpoint.pth"
    shutil.copyfile(Path(dinoport.__file__).parent / "work" / DEMO_FILE, demo)
    saved = torch.load(demo, map_location="cpu", weights_only=False)
    backbone = {
        name.removeprefix("backbone."): value
        for name, value in saved["teacher"].items()
        if name.startswith("backbone.")
    }
    lightning = {"epoch": 1, "global_step": 3, "pytorch-lightning_version": "2.6.6"}
    wrapped = "embedding_model.wrapped_model._model"
    torch.save(
        {**lightning, "state_dict": {f"encoder.{name}": value for name, value in backbone.items()}},
        folder / "last.ckpt",
    )
    both = {f"{side}_{wrapped}.{name}": value for side in ("teacher", "student") for name, value in backbone.items()}
    torch.save({**lightning, "state_dict": both}, folder / "lightly.ckpt")
    for step in (3, 6):
        kept = folder / f"run/checkpoint-{step}"
        dinoport.convert(demo, kept, num_heads=2, level="none")
        (kept / "dinoport.json").unlink()
        state = {"global_step": step, "best_global_step": 3, "best_model_checkpoint": "run/checkpoint-3"}
        (kept / "trainer_state.json").write_text(json.dumps(state))
    (folder / "runs").mkdir()
    for name in ("one.pth", "two.pth"):
        shutil.copyfile(demo, folder / "runs" / name)
    with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
        archive.add(demo, "model.pth")
    (folder / "page.pth").write_text("<!DOCTYPE html><html><title>Sign in</title></html>")
    rows, columns = np.mgrid[0:480, 0:640]
    pixels = np.stack([rows // 2, columns // 3, (rows ^ columns) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "photo.jpg")
    (folder / "load.py").write_text(LOAD)


def measured(folder: Path, fresh: Path, bare: Path | None) -> dict[int, Seen]:
    """Every row of the page, in its order. Raises SystemExit for a command that ends otherwise than it should."""
    seen = {}
    for number, (code, command, words) in ROWS.items():
        path = bare if number == BARE else fresh
        if path is None:
            continue
        if number == DAMAGED:
            weights = bytearray((folder / "my-model/model.safetensors").read_bytes())
            weights[-3] ^= 1
            (folder / "my-model/model.safetensors").write_bytes(weights)
        program, *others = command.split(" ")
        seen[number] = on_terminal([str(path / program), *others], folder, path, stop=number == STOPPED)
        print(f"{number:3} {cells(seen[number], number)} {command}", file=sys.stderr)
        text = " ".join(ANSI.sub("", seen[number].text).split())
        if seen[number].code != code or words not in text:
            raise SystemExit(f"{command} ended with {seen[number].code}, not {code}, or without {words!r}:\n{text}")
    return seen


def cells(seen: Seen, number: int) -> str:
    first = "–" if number == 8 or seen.first is None else f"{seen.first:.1f} s"
    return f"{first} | {seen.end:.1f} s{' later' if number == STOPPED else ''}"


def written(page: str, seen: Mapping[int, Seen]) -> str:
    """The page with the two times of every row that was measured."""
    for number, each in seen.items():
        page, count = re.subn(
            rf"(?m)^(\| {number} \|.*)\| [^|]* \| [^|]* \|$", rf"\g<1>| {cells(each, number)} |", page
        )
        if count != 1:
            raise SystemExit(f"the page has no row {number}")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=Path, required=True, help="where dinoport and python of FRESH lie")
    parser.add_argument("--bare", type=Path, help="the same of BARE")
    parser.add_argument("--write", type=Path, help="the page whose times are written anew")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job, and so by its children
    with tempfile.TemporaryDirectory(prefix="first-hour-") as name:
        material(Path(name))
        seen = measured(Path(name), given.bin.resolve(), given.bare and given.bare.resolve())
    if given.write:
        given.write.write_text(written(given.write.read_text(encoding="utf-8"), seen), encoding="utf-8")


if __name__ == "__main__":
    main()
