"""What others have put into a repository is not lost, and what will be said of it is said beforehand."""

import json
from pathlib import Path

import pytest

from dinoport import api
from dinoport.errors import SettingError
from tests.command_line import Run
from tests.error_text import error_text
from tests.publishing.conftest import commits, contents, put
from tests.publishing.store import Hub

EDITS = {
    "a card that was edited": (True, lambda card: card.replace(b"# owner/model", b"# Our slides")),
    "a line more": (True, lambda card: card + b"mine"),
    "a card of another": (False, lambda card: b"# Theirs\n"),
    "a licence alone, as the Hub's page makes it": (False, lambda card: b"---\nlicense: mit\n---\n"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_card_that_was_edited_on_the_hub_is_not_lost(
    hub: Hub, proven: Path, tmp_path: Path, run: Run, edit: str
) -> None:
    published_before, change = EDITS[edit]
    api.publish(proven, "owner/model" if published_before else "owner/other")
    if not published_before:
        api.publish(proven, "owner/model", revision="elsewhere")
    was = contents(hub, "owner/model" if published_before else "owner/other")["README.md"]
    put(hub, "owner/model", {"README.md": change(was)})
    before = commits(hub)
    for more in ((), ("--source-name", "better words"), ("--revision", "new-branch")):
        done = run("publish", proven, "owner/model", *more)
        assert done.code == 1
        assert "README.md of owner/model holds words of yours or of others" in done.err
        assert "would be replaced; nothing was sent" in done.err
        assert "save the file from there, and give it as --card" in done.err
    assert commits(hub) == before
    assert "new-branch" not in json.loads(hub.file("owner/model").read_text())["refs"]
    (tmp_path / "card.md").write_bytes(change(was))
    done = run("publish", proven, "owner/model", "--card", tmp_path / "card.md")
    assert done.code == 0
    card = contents(hub)["README.md"]
    assert ("replaced    README.md, which somebody else wrote or edited" in done.out) == (card != change(was))
    assert card.count(b"**Verdict: ") == 1
    assert all(word in card for word in (b"# Our slides", b"mine", b"# Theirs", b"license: mit") if word in change(was))
    assert "is there" in run("publish", proven, "owner/model", "--card", tmp_path / "card.md").out


@pytest.mark.parametrize("to", ["owner/model", "a pull request"])
def test_words_of_a_card_are_not_lost_where_it_is_not_given_again(
    hub: Hub, proven: Path, other: Path, tmp_path: Path, run: Run, to: str
) -> None:
    (tmp_path / "card.md").write_text("# Slides\n\nOurs.\n")
    api.publish(proven, "owner/model", card=tmp_path / "card.md")
    if to == "a pull request":
        assert api.publish(other, "owner/model", create_pr=True).replaced == ("README.md",)
        return
    before = commits(hub)
    done = run("publish", other, "owner/model")
    assert done.code == 1
    assert "README.md of owner/model holds words of yours or of others, and would be replaced" in done.err
    assert "or give the --card of last time again" in " ".join(done.err.split())
    assert commits(hub) == before
    (tmp_path / "card.md").write_text("# Slides\n\nOurs again.\n")
    assert api.publish(other, "owner/model", card=tmp_path / "card.md").replaced == ()
    assert b"Ours again." in contents(hub)["README.md"]


def test_what_dinoport_sent_itself_is_replaced_without_a_word(hub: Hub, proven: Path, other: Path) -> None:
    api.publish(proven, "owner/model")
    done = api.publish(other, "owner/model", source_name="better words")
    assert (done.is_new, done.replaced) == (True, ())


def test_what_another_sender_put_there_unchanged_is_replaced_without_a_word(hub: Hub, proven: Path) -> None:
    """Its report has no hashes of git's, so the small files are read."""
    from huggingface_hub import HfApi

    HfApi().create_repo("owner/model")
    HfApi().upload_folder(folder_path=proven, repo_id="owner/model")
    assert api.publish(proven, "owner/model").replaced == ()


def test_weights_of_another_are_named(hub: Hub, proven: Path, run: Run) -> None:
    put(hub, "owner/model", {"model.safetensors": b"theirs" * 10, "config.json": b"{}"})
    done = run("publish", proven, "owner/model", "--json")
    assert json.loads(done.out)["replaced"] == ["model.safetensors", "config.json"]


FOREIGN = {
    "pytorch_model.bin": b"weights",
    "modeling.py": b"import os",
    "notes.txt": b"a note",
    "tokenizer.json": b"{}",
    "picture.png": b"no matter",
    "logs/run.json": b"{}",
    "evil\x1b[2J.txt": b"x",
}


def test_what_verify_will_say_is_said(hub: Hub, proven: Path, run: Run) -> None:
    put(hub, "owner/model", FOREIGN)
    for word in ("published", "is there"):
        done = run("publish", proven, "owner/model")
        assert (done.code, done.out.split()[0]) == (0, word.split()[0])
        beside = json.loads(run("publish", proven, "owner/model", "--json").out)["beside"]
        changes = api.verify("hf://owner/model").changes
        assert len(beside) == len(changes) == 4
        assert all(change.startswith(name) for name, change in zip(beside, changes, strict=True))
        told = " ".join(done.out.split())
        assert "beside pytorch_model.bin lies in the repository, and dinoport.json does not list it" in told
        assert "until it is removed there, a verification says `changed`" in told
        assert "\x1b" not in done.out


@pytest.mark.parametrize("create_pr", [False, True])
@pytest.mark.parametrize("name", ["adapter_config.json", "processor_config.json"])
def test_nothing_is_sent_where_transformers_would_load_something_else(
    hub: Hub, proven: Path, name: str, create_pr: bool
) -> None:
    put(hub, "owner/model", {name: b"{}"})
    before = contents(hub)
    assert error_text(SettingError, lambda: api.publish(proven, "owner/model", create_pr=create_pr)) == (
        f"owner/model holds {name}, by which Transformers would load something else than what is sent; nothing was "
        f"sent\n  where: {hub.url}/owner/model\n  found: {name}\n"
        "  try: remove it there, or publish to another repository"
    )
    assert contents(hub) == before


def test_nothing_is_made_where_others_may_see_what_they_should_not(hub: Hub, proven: Path, run: Run) -> None:
    api.publish(proven, "owner/open", private=False)
    api.publish(proven, "owner/shut", private=True)
    for name, option in (("owner/open", "--private"), ("owner/shut", "--no-private")):
        done = run("publish", proven, name, option, "--revision", "new-branch")
        assert done.code == 1
        assert "one was asked for; nothing was sent" in done.err
        assert json.loads(hub.file(name).read_text())["refs"].keys() == {"main"}


def test_a_branch_starts_where_everything_was_looked_at(hub: Hub, proven: Path) -> None:
    first = api.publish(proven, "owner/model")
    done = api.publish(proven, "owner/model", revision="step-100")
    assert (done.is_new, done.commit) == (False, first.commit)
    moved = api.publish(proven, "owner/model", revision="step-200", source_name="x")
    assert moved.is_new
    assert json.loads(hub.file("owner/model").read_text())["refs"]["main"] == first.commit


def test_who_may_see_it(hub: Hub, proven: Path, run: Run) -> None:
    assert api.publish(proven, "owner/model", private=True).private
    assert not api.publish(proven, "owner/open", private=False).private
    assert api.publish(proven, "owner/model").private
    done = run("publish", proven, "owner/open", "--private")
    assert done.code == 1
    assert "owner/open is public, and a private one was asked for; nothing was sent" in done.err
    assert "or leave --private out" in done.err
    assert run("publish", proven, "owner/open", "--private", "--no-private").code == 2
