"""What is said of names, tokens, folders and refusals: what is wrong, and the step that helps."""

import itertools
import json
import re
import shutil
from pathlib import Path

import pytest

from dinoport import api
from dinoport.cli.options import as_options
from dinoport.errors import HubError, SettingError, UsageError
from dinoport.files.remote.hub import name_fault
from dinoport.files.remote.hub_errors import told
from dinoport.files.remote.repository import Repository
from dinoport.report.published import Published
from tests import tiny
from tests.command_line import Run
from tests.publishing.store import Fault, Hub

NAMES = {
    "": None,
    "model": "no '/'",
    "a/b/c": "more than one '/'",
    "owner/": "nothing after '/'",
    "/model": "nothing before '/'",
    "owner/a--b": "'--'",
    "owner/a..b": "'..'",
    "owner/-a": "'-' at the beginning of a part",
    "owner-/a": "'-' at the end of a part",
    "owner/a.": "'.' at the end of a part",
    "owner/a b": "' '",
    "owner/a:b": "':'",
    "owner/ä": "'ä'",
    "owner/a.git": "'.git' at the end",
    f"owner/{'a' * 97}": "97 characters in one part",
    "hf://owner/model": "an address",
    "https://huggingface.co/owner/model.git": "an address",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_the_hub_does_not_take_is_told_why(hub: Hub, proven: Path, run: Run, name: str) -> None:
    done = run("publish", proven, name)
    assert done.code == 2
    assert done.err.startswith(f"error: {name or 'an empty text'} does not name a repository on the Hub\n")
    assert "  expected: owner/name, each of at most 96 letters, digits, '_', '-' and '.'; no '-'" in done.err
    assert f"\n  found: {NAMES[name]}\n" in done.err or (NAMES[name] is None and "found:" not in done.err)
    assert hub.log == []


def test_whatever_huggingface_hub_refuses_has_a_fault_and_nothing_else_has() -> None:
    """Version 0.36 takes some names more: letters that are not ASCII, and owners of over 96 characters."""
    import huggingface_hub
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    pieces = ("a", "_", "-", ".", "/", ":", "é", ".git", "b" * 95)
    for name in ("".join(each) for count in range(5) for each in itertools.product(pieces, repeat=count)):
        try:
            validate_repo_id(name)
            taken = name.count("/") == 1
        except HFValidationError:
            taken = False
        if not taken or not huggingface_hub.__version__.startswith("0."):
            assert (name_fault(name) is None) == taken, name


@pytest.mark.parametrize("name", ["owner/model", "o-w_n.er/M0-d_e.l", "o/" + "a" * 96])
def test_a_name_that_the_hub_takes_is_taken(name: str) -> None:
    assert Repository(name).name == name


@pytest.mark.parametrize("place", ["hf://demo", "hf://", "hf://owner/a--b", "hf://datasets/owner/model", "hf://@/x"])
def test_an_address_that_names_no_repository_is_a_mistake_of_the_command(hub: Hub, run: Run, place: str) -> None:
    for arguments in ((place,), ("checkpoint.pth", place)):
        done = run("verify", *arguments)
        assert (done.code, done.err.count("error: ")) == (2, 1)
    assert hub.log == []


EMPTY = ("", " ", "\n", "\r\n\t")
STRANGE = {"hf_ab\ncd": "a line break", "hf_ab cd": "a space", "hf_äb": "a character", "hf\x00": "a character"}


@pytest.mark.parametrize("token", EMPTY)
def test_an_empty_token_is_a_secret_that_is_not_set(hub: Hub, proven: Path, run: Run, token: str) -> None:
    done = run("publish", proven, "owner/model", "--token", token)
    assert done.code == 2
    assert done.err.startswith("error: --token is empty\n")
    assert "likely cause: a secret that is not set where this runs" in done.err
    assert hub.log == []


@pytest.mark.parametrize("token", STRANGE)
def test_a_token_that_cannot_be_sent_is_told_and_not_shown(hub: Hub, proven: Path, run: Run, token: str) -> None:
    done = run("publish", proven, "owner/model", "--token", token)
    assert done.code == 2
    assert done.err.startswith("error: --token cannot be a token\n")
    assert f"found: {STRANGE[token]}" in done.err
    assert token[:5] not in done.err
    assert hub.log == []


def test_a_token_with_a_line_break_at_its_end_is_a_token(hub: Hub, proven: Path) -> None:
    assert api.publish(proven, "owner/model", token="hf_owner\n").is_new  # noqa: S106


@pytest.mark.parametrize("token", ["hf_äb", "hf_ab cd"])
def test_a_token_of_the_environment_that_cannot_be_sent(
    hub: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UsageError, match="HF_TOKEN, or the token of `hf auth login`, cannot be a token") as error:
        api.publish(proven, "owner/model")
    assert token not in str(error.value)
    with pytest.raises(UsageError, match="cannot be a token"):
        api.verify("hf://owner/model")


def test_an_empty_token_of_the_environment(hub: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere/token")
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(HubError, match="the Hub does not know who asks for owner/model") as error:
        api.publish(proven, "owner/model")
    assert "found: none: HF_TOKEN is set, and empty" in str(error.value)
    assert "likely cause: a secret that is not set where this runs" in str(error.value)


def test_a_place_that_is_no_converted_folder_is_called_what_it_is(proven: Path, tmp_path: Path) -> None:
    (tmp_path / "file.py").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd" / "dinoport.json").mkdir(parents=True)
    places = {
        "file.py": "it is a file",
        "empty": "it has no dinoport.json",
        "odd": "it has a dinoport.json that cannot be read",
    }
    for name, why in places.items():
        for ask in (lambda place: api.publish(place, "owner/model"), api.verify):
            with pytest.raises(SettingError, match=f"{name} cannot be .*: {why}"):
                ask(tmp_path / name)


@pytest.mark.parametrize("command", ["verify {}", "publish {} owner/model", "visualize {} photo.jpg"])
def test_a_place_where_nothing_is_gets_the_name_that_is_nearest(run: Run, proven: Path, command: str) -> None:
    pytest.importorskip("matplotlib")
    near = proven.with_name(f"{proven.name}s")
    done = run(*(word.format(near) for word in command.split()))
    assert (done.code, done.err) == (
        1,
        f"error: {near} cannot be read: No such file or directory\n"
        f"  did you mean: {proven}\n"
        f"  try: ls -l {proven.parent}\n",
    )


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"verdict": null}', '{"verdict": {"text": null}}'])
def test_an_emptied_report_claims_nothing(proven: Path, tmp_path: Path, run: Run, text: str) -> None:
    folder = Path(shutil.copytree(proven, tmp_path / "copy"))
    (folder / "dinoport.json").write_text(text)
    done = run("verify", folder)
    assert done.code == 3
    assert "claims      nothing: dinoport.json holds no verdict\n" in done.out
    assert "None" not in done.out
    assert json.loads(run("verify", folder, "--json").out)["claims"] is None


def test_who_only_reads_is_not_told_of_sending(hub: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.publish(proven, "owner/model")
    for status in (401, 403, 409, 429, 503):
        hub.faults.append(Fault("GET .*/api/models/", status=status, times=-1))
        with pytest.raises(HubError) as error:
            api.verify("hf://owner/model")
        assert not any(word in str(error.value) for word in ("sent", "write", "published", "create_pr"))
        hub.faults.clear()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="the Hub cannot be reached") as error:
        api.verify("hf://owner/model")
    assert str(error.value).endswith("try: run the same command again")
    assert re.search(r"found: Connect\w*Error: ", str(error.value))


def test_two_folders_of_one_checkpoint_are_held_against_each_other(tmp_path: Path, run: Run) -> None:
    """What the second says of the heads that it was made with, the first says itself."""
    source = tiny.write(tmp_path / "checkpoint.pth")
    for name in ("one", "two"):
        api.convert(source, tmp_path / name, num_heads=2, level="exact")
    done = run("verify", tmp_path / "one", tmp_path / "two", "--verify", "exact")
    assert done.code == 0, done.err
    assert done.out.startswith("verdict     transported exactly")
    given = run("verify", tmp_path / "one", tmp_path / "two", "--verify", "exact", "--num-heads", "2")
    assert (given.code, "a folder of Transformers says itself what these options say" in given.err) == (1, True)


NEXT = {
    400: "pip install --upgrade huggingface_hub",
    402: "look at https://huggingface.co/settings/billing",
    404: "look at ",
    410: "look at ",
    413: "convert again with --max-shard-size",
    500: "run the same command again: what has arrived is not sent twice; https://status.huggingface.co",
    503: "run the same command again: what has arrived is not sent twice; https://status.huggingface.co",
}


@pytest.mark.parametrize("status", NEXT)
def test_each_other_refusal_has_a_cause_and_a_step_that_helps(hub: Hub, proven: Path, run: Run, status: int) -> None:
    hub.faults.append(Fault("POST .*/commit/", status=status, times=-1))
    done = run("publish", proven, "owner/model")
    assert done.code == 1
    assert done.err.startswith(f"error: the Hub refuses what owner/model needs\n  found: HTTP status {status}: ")
    assert "\n  likely cause: " in done.err
    assert f"\n  try: {NEXT[status]}" in done.err
    assert ("run the same command again" in done.err) == (status >= 500)


@pytest.mark.parametrize("there", [False, True])
def test_a_conflict_without_an_address(hub: Hub, proven: Path, run: Run, there: bool) -> None:
    """huggingface_hub reads the address of what is there, and fails where the answer has none."""
    if there:
        assert run("publish", proven, "owner/model").code == 0
    hub.faults.append(Fault("POST .*/repos/create", status=409, times=-1))
    done = run("publish", proven, "owner/model")
    assert done.code == (0 if there else 1)
    if not there:
        assert done.err == (
            "error: the Hub does not make owner/model, and has no such repository\n"
            "  found: HTTP status 409, a conflict\n"
            "  likely cause: another command makes it at this moment, or the name was another repository's once\n"
            "  try: run the same command again: what has arrived is not sent twice; if it stays, make the "
            "repository on the Hub's own page first\n"
        )


def test_what_the_network_says_is_told_without_secrets(hub: Hub) -> None:
    error = ConnectionError("PUT https://user:pw@store.example/lfs/1?X-Amz-Signature=s3cr3t broke off")
    found = str(told(Repository("owner/model", sends=True), error))
    assert "found: ConnectionError: PUT https://store.example/lfs/1?… broke off\n" in found
    assert "s3cr3t" not in found
    assert "pw" not in found


def test_the_command_that_proves_what_was_published_is_one_line() -> None:
    commit = "c" * 40
    done = Published("owner/name", "main", commit, "https://host/owner/name", "equal", True, False, ())
    *_, last = done.lines()
    assert as_options(last).startswith(f"prove it    dinoport verify SOURCE hf://owner/name@{commit}")
