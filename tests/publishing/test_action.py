"""The steps of the GitHub Action, run here as the runner runs them: its inputs are variables."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import dinoport
from dinoport import api
from tests.publishing.store import Hub

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())


def step(hub: Hub, tmp_path: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], str, list[str]]:
    """Run the script with inputs; what it wrote into the output, and what it asked pip for."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    python = f'#!/bin/sh\ncase "$2" in pip) shift 2; printf "%s\\n" "$@" >> "{tmp_path}/pip"; '
    python += 'case "$*" in *fails*) exit 1;; esac;; '
    (programs / "python").write_text(f'{python} *) exec "{sys.executable}" "$@";; esac\n')
    (programs / "python").chmod(0o755)
    (tmp_path / "summary").touch()
    variables = {name.upper().replace("TOKEN", "HF_TOKEN"): inputs.get(name, "") for name in ACTION["inputs"]}
    done = subprocess.run(
        ["bash", str(ROOT / "action" / "verify.sh")],
        cwd=tmp_path,
        env={
            **variables,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": ":".join(sys.path),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "DINOPORT_CACHE": str(tmp_path / "cache"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    output = tmp_path / "output"
    asked = (tmp_path / "pip").read_text().splitlines() if (tmp_path / "pip").exists() else []
    return done, output.read_text() if output.exists() else "", asked


@pytest.fixture
def published(hub: Hub, proven: Path) -> Hub:
    api.publish(proven, "owner/model")
    return hub


def test_without_a_source(published: Hub, tmp_path: Path) -> None:
    done, output, asked = step(published, tmp_path, repository="owner/model")
    assert (done.returncode, output) == (0, "word=unchanged\n"), done.stderr
    summary = (tmp_path / "summary").read_text()
    assert summary.startswith("**unchanged**\n\nThe files of hf\\://owner/model@")
    assert "Its dinoport.json claims: transported exactly (outputs not shown)" in summary
    assert "Nobody vouches for that: with `source`, this action proves it." in summary
    assert asked == ["install", "--quiet", str(ROOT)]


def test_with_a_source_an_option_and_a_version(published: Hub, proven: Path, tmp_path: Path) -> None:
    source = str(proven.parents[1] / "runs" / "checkpoint.pth")
    options = "--verify exact\n--num-heads 2\n"
    inputs = {"repository": "owner/model", "source": source, "options": options, "transformers": "4.57.*"}
    done, output, asked = step(published, tmp_path, **inputs)
    assert (done.returncode, output) == (0, "word=transported exactly\n"), done.stderr
    assert asked[-2:] == [f"{ROOT}[verify]", "transformers==4.57.*"]
    summary = (tmp_path / "summary").read_text()
    assert summary.startswith("**transported exactly**\n\n(outputs not shown), assuming ")
    assert summary.count("transported exactly") == 1


def test_an_error_is_told_and_fails_the_step(published: Hub, tmp_path: Path) -> None:
    done, output, _ = step(published, tmp_path, repository="owner/none")
    assert (done.returncode, output) == (1, "word=error\n")
    summary = (tmp_path / "summary").read_text()
    assert "owner/none does not exist" in summary
    assert "- try: look at the name" in summary


def test_a_missing_repository_is_told_before_anything_is_installed(hub: Hub, tmp_path: Path) -> None:
    done, output, asked = step(hub, tmp_path, source="x.pth")
    assert (done.returncode, output, asked) == (2, "word=error\n", [])
    message = "the input `repository` is missing: owner/name on the Hub\n"
    assert done.stdout == f"::error::{message}"
    assert (tmp_path / "summary").read_text() == f"**error**\n\n{message}"


@pytest.mark.parametrize("options", ["--help", "--version", "--no-such-option", "--num-heads", "'half a quote", "\n"])
def test_there_is_always_a_word(published: Hub, tmp_path: Path, options: str) -> None:
    done, output, _ = step(published, tmp_path, repository="owner/model", options=options)
    if not options.strip():
        assert (done.returncode, output) == (0, "word=unchanged\n")
        return
    assert (done.returncode, output) == (1 if options == "--help" else 2, "word=error\n")
    assert "Traceback" not in done.stderr + done.stdout
    assert (tmp_path / "summary").read_text().startswith("**error**\n\n")


@pytest.mark.parametrize("result", ["", "[]", "{}", "null", '{"word": ', "Usage: …"])
def test_a_process_that_ends_without_a_result(
    published: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str
) -> None:
    fake = tmp_path / "fake" / "dinoport"
    shutil.copytree(Path(dinoport.__file__).parent / "shown", fake / "shown")
    (fake / "__init__.py").touch()
    killed = "import os, sys\nsys.stdout.write(RESULT)\nsys.stdout.flush()\nos.kill(os.getpid(), 9)\n"
    (fake / "__main__.py").write_text(killed.replace("RESULT", ascii(result)))
    monkeypatch.setattr(sys, "path", [str(fake.parent), *sys.path])
    done, output, _ = step(published, tmp_path, repository="owner/model")
    assert (done.returncode, output) == (137, "word=error\n")
    assert "dinoport gave no result (exit code 137)" in (tmp_path / "summary").read_text()


def test_an_option_with_a_space_is_one_word(published: Hub, proven: Path, tmp_path: Path) -> None:
    source = str(proven.parents[1] / "runs" / "checkpoint.pth")
    options = "--verify exact --num-heads 2\n--source-name 'run 7, epoch 100'"
    done, output, _ = step(published, tmp_path, repository="owner/model", source=source, options=options)
    assert (done.returncode, output) == (0, "word=transported exactly\n"), done.stderr
    result = json.loads((tmp_path / "dinoport-verify.json").read_text())
    assert result["source"]["where"] == "run 7, epoch 100"


def test_a_version_that_cannot_be_installed_is_an_error(published: Hub, tmp_path: Path) -> None:
    inputs = {"repository": "owner/model", "source": "x.pth", "transformers": "fails"}
    done, output, _ = step(published, tmp_path, **inputs)
    assert (done.returncode, output) == (1, "word=error\n")


def test_an_input_is_never_run(published: Hub, tmp_path: Path) -> None:
    inputs = {"repository": "owner/model$(touch here)", "options": "--json; touch here\n$(touch here)"}
    done, _, _ = step(published, tmp_path, **inputs)
    assert done.returncode == 2
    assert not (tmp_path / "here").exists()


def test_the_action_is_as_safe_as_it_says() -> None:
    steps = ACTION["runs"]["steps"]
    assert all("${{" not in each.get("run", "") for each in steps)
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each["uses"]) for each in steps if "uses" in each)
    given = {re.search(r"inputs\.(\w+)", value)[1] for value in steps[1]["env"].values()}
    assert given == ACTION["inputs"].keys()
