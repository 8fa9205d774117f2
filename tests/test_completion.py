"""Scripts that complete a command line, in the shells that are installed here."""

import shutil
import subprocess

import pytest

from dinoport.cli.completion import script
from dinoport.cli.program import COMMANDS
from dinoport.request import option_of
from tests.command_line import Run

COMPLETED = [
    (("",), {command.name for command in COMMANDS} | {"--version", "--help"}),
    (("conv",), {"convert"}),
    (("convert", "x", "--num"), {"--num-heads"}),
    (("convert", "x", "--verify", ""), {"full", "exact", "none"}),
    (("verify", "x", "y", "--verify", ""), {"full", "exact"}),
    (("verify", "--dtype", "f"), {"float32", "float16"}),
    (("convert", "--dtype", "f"), {"float32", "float16"}),
    (("convert", "--head", "no-such-fi"), set()),
    (("models", "--"), {"--json", "--help"}),
    (("demo", "--dt"), set()),
]


@pytest.mark.parametrize(("words", "completed"), COMPLETED, ids=[" ".join(words) for words, _ in COMPLETED])
def test_bash(words: tuple[str, ...], completed: set[str]) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    typed = " ".join(f"'{word}'" for word in ("dinoport", *words))
    asked = f'COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _dinoport; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", f"{script('bash', COMMANDS)}\n{asked}"], capture_output=True, text=True, check=True
    )
    assert (set(done.stdout.split()), done.stderr) == (completed, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_script_is_sound_and_names_every_option(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert (done.code, done.err) == (0, "")
    for command in COMMANDS:
        for option in command.options:
            flag = option_of(option.field)
            assert (f" -l {flag[2:]} " if shell == "fish" else flag) in done.out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.out, text=True, check=True)
