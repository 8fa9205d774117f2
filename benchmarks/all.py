"""Run every benchmark one after the other and write what they print into `docs/performance.md`.

`python benchmarks/all.py [--quick] [--largest] [--rounds N] [--write FILE]`; without `--write` the page goes to stdout.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import timing

HERE = Path(__file__).parent

SCRIPTS = ("startup", "convert", "bounds", "growth", "transformers_io", "distributed", "remote", "fleet", "exports")

HEAD = """\
# Performance

Written by `make bench` from what the
[benchmarks](https://github.com/dinoport/dinoport/tree/main/benchmarks) print.

Measured with: {machine}.
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", type=Path, metavar="FILE")
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--largest", action="store_true", help="the 7B model too, which takes 54 GB of disk")
    arguments.add_argument("--rounds", help="in place of each script's own number")
    options = arguments.parse_args()
    sections = [HEAD.format(machine=timing.machine())]
    for name in (*SCRIPTS, *(["largest"] if options.largest else [])):
        script = HERE / f"{name}.py"
        print(f"{script.name} …", file=sys.stderr)
        command = [sys.executable, str(script), *(["--quick"] if options.quick else [])]
        command += ["--rounds", options.rounds] if options.rounds else []
        sections.append(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    page = "\n".join(section.rstrip() + "\n" for section in sections)
    if options.write:
        options.write.write_text(page, encoding="utf-8")
    else:
        print(page, end="")


if __name__ == "__main__":
    main()
