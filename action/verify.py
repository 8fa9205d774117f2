"""Run `dinoport verify` with the inputs of action.yml, and write what it found into the run's output and summary.

Whatever happens, the output `word` is written: `error` where dinoport gave no result.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dinoport.shown.text import shown_markdown

RESULT = Path("dinoport-verify.json")

VOUCHED = "Nobody vouches for that: with `source`, this action proves it."


def main() -> int:
    """Verify, tell it, and give the exit code of the step."""
    try:
        command = _command()
    except ValueError as error:
        told = f"`options` cannot be read: {error}. Quote them as in a shell: `--source-name 'run 7'`."
        return _tell("error", [told], 2)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603  # no shell
    RESULT.write_bytes(done.stdout)
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    found = _parsed(done.stdout)
    if not (word := found.get("word") or found.get("verdict", {}).get("word")):
        told = list(_error(found.get("error") or {}, code))
        return _tell("error", told, code or 1)
    return _tell(str(word), list(_standing(found) if "claims" in found else _verdict(found)), code)


def _command() -> list[str]:
    """Raises ValueError for options with a quote that does not end."""
    asked = os.environ
    place = f"hf://{asked['REPOSITORY']}" + (f"@{asked['REVISION']}" if asked.get("REVISION") else "")
    source = [asked["SOURCE"]] if asked.get("SOURCE") else []
    words = shlex.split(asked.get("OPTIONS", ""))
    return [sys.executable, "-m", "dinoport", "verify", *source, place, "--json", *words]


def _parsed(stdout: bytes) -> Mapping[str, Any]:
    """The result; nothing of what is no result, as of a process that was killed, or of `--help`."""
    try:
        found = json.loads(stdout)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _standing(found: Mapping[str, Any]) -> Iterator[str]:
    """Of files that were held against their own dinoport.json, which proves no model."""
    if not found["changes"]:
        yield f"The files of {shown_markdown(found['where'])} are those that its dinoport.json lists."
    yield from (f"- {shown_markdown(change)}" for change in found["changes"])
    claims = shown_markdown(found["claims"]) if found["claims"] else "no verdict"
    yield f"Its dinoport.json claims: {claims}. {VOUCHED}"


def _verdict(found: Mapping[str, Any]) -> Iterator[str]:
    verdict = found["verdict"]
    if more := str(verdict.get("text", "")).removeprefix(str(verdict["word"])).strip(" ,"):
        yield shown_markdown(more)
    for field in ("failures", "warnings"):
        yield from (f"- {shown_markdown(line)}" for line in verdict.get(field, ()))


def _error(error: Mapping[str, Any], code: int) -> Iterator[str]:
    if not error:
        yield f"dinoport gave no result (exit code {code}): it was stopped, or an option prints something else."
        return
    yield shown_markdown(error["what"])
    yield from (f"- {shown_markdown(problem)}" for problem in error.get("problems") or ())
    labels = {"where": "where", "expected": "expected", "found": "found", "cause": "likely cause", "next_step": "try"}
    for field, label in labels.items():
        if error.get(field):
            yield f"- {label}: {shown_markdown(' '.join(error[field].split()))}"


def _tell(word: str, lines: list[str], code: int) -> int:
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
        file.write(f"word={word}\n")
    text = "\n\n".join([f"**{word}**", *lines])
    with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
