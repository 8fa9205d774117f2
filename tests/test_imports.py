"""What a command imports: nothing heavy for what needs nothing heavy. In processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "src" / "dinoport" / "work" / "demo_checkpoint.pth"

RUN = """
import sys
from dinoport.cli.commands import main
sys.argv = ["dinoport", *sys.argv[1:]]
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
print("imported:", *sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""

HEAVY = {"torch", "transformers", "PIL", "torchvision", "scipy", "matplotlib", "jinja2", "huggingface_hub", "requests"}


def imported(*arguments: str | Path) -> set[str]:
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("command", [(), ("convert",), ("inspect",), ("verify",), ("demo",)])
def test_help_imports_not_even_numpy(command: tuple[str, ...]) -> None:
    assert not imported(*command, "--help") & (HEAVY | {"numpy", "safetensors", "filelock"})


def test_inspect_imports_nothing_heavy() -> None:
    assert not imported("inspect", DEMO) & HEAVY


def test_an_exact_conversion_and_its_verification_import_nothing_heavy(tmp_path) -> None:
    out = tmp_path / "out"
    assert not imported("convert", DEMO, out, "--num-heads", "2", "--verify", "exact") & HEAVY
    assert not imported("verify", DEMO, out, "--verify", "exact") & HEAVY
    assert not imported("convert", out, tmp_path / "back", "--to", "original", "--verify", "exact") & HEAVY


def test_a_dry_run_imports_nothing_heavy(tmp_path) -> None:
    assert not imported("convert", DEMO, tmp_path / "out", "--num-heads", "2", "--dry-run") & HEAVY


def test_a_full_proof_imports_what_the_others_do_not(tmp_path) -> None:
    """The check itself can fail: here is what it looks for."""
    assert {"torch", "transformers"} <= imported("convert", DEMO, tmp_path / "out", "--num-heads", "2")
