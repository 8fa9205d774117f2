"""Fuzz one target for some seconds in a process of its own, and say in a line what came of it.

    python -m tests.fuzz.watch TARGET SECONDS [SEED]

libFuzzer's own output goes to .fuzz/TARGET.log, and its end is shown where something was found. Exit code 1 then.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(".fuzz")

MAX_LINES_SHOWN = 40

FIGURES = {
    "executions": r"stat::number_of_executed_units: +(\d+)",
    "new inputs": r"stat::new_units_added: +(\d+)",
    "MB at most": r"stat::peak_rss_mb: +(\d+)",
}
"""Of libFuzzer's final statistics."""

FOUND = re.compile(r"Test unit written to (\S+)")


def main(target: str, seconds: str, seed: str = "0") -> int:
    """The exit code. The seed 0 is libFuzzer's word for another one each time."""
    FOLDER.mkdir(exist_ok=True)
    log = FOLDER / f"{target}.log"
    options = [f"-max_total_time={seconds}", f"-seed={seed}", "-print_final_stats=1"]
    command = [sys.executable, "-m", "tests.fuzz.run", target, *options]
    begun = time.monotonic()
    with log.open("wb") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    text = log.read_text(errors="replace")
    if code:
        print("\n".join(text.splitlines()[-MAX_LINES_SHOWN:]))
    print(f"fuzz {target}: {verdict(target, code, text)} in {time.monotonic() - begun:.0f} s")
    return 1 if code else 0


def verdict(target: str, code: int, text: str) -> str:
    """What libFuzzer's output comes to, with the file that makes a failure again."""
    if not code:
        return ", ".join(f"{found[1]} {name}" for name, figure in FIGURES.items() if (found := re.search(figure, text)))
    if found := FOUND.search(text):
        return f"FAILED; again with: .venv-fuzz/bin/python -m tests.fuzz.run {target} {found[1]}"
    return f"FAILED with exit code {code}, before any input was kept; see {FOLDER / f'{target}.log'}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
