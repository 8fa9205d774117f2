"""Pull requests to somebody else's repository: one for each model, and none again after one was closed."""

import json
from pathlib import Path
from typing import Any

import pytest

from dinoport import api
from dinoport.errors import HubError, SettingError, UsageError
from dinoport.files.remote.repository import Repository
from tests.publishing.conftest import contents, put
from tests.publishing.store import Fault, Hub
from tests.publishing.test_publish import TITLE

OTHERWISE: tuple[dict[str, Any], ...] = (
    {},
    {"commit_message": "Another title"},
    {"source_name": "other words"},
    {"commit_message": "Another title", "source_name": "other words"},
)
"""The same model, proposed in other words."""


@pytest.fixture
def theirs(hub: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A repository of somebody else."""
    from huggingface_hub import HfApi

    HfApi().create_repo("owner/model")
    monkeypatch.setenv("HF_TOKEN", "hf_guest")
    hub.log.clear()
    return hub


def pulls(hub: Hub) -> list[dict[str, Any]]:
    return list(json.loads(hub.file("owner/model").read_text())["discussions"])


def set_status(hub: Hub, status: str, number: int = 1) -> None:
    repo = json.loads(hub.file("owner/model").read_text())
    repo["discussions"][number - 1]["status"] = status
    hub.save(repo)


def test_a_pull_request_is_opened_once(theirs: Hub, proven: Path) -> None:
    done = api.publish(proven, "owner/model", create_pr=True)
    assert done.pull_request == f"{theirs.url}/owner/model/discussions/1"
    again = api.publish(proven, "owner/model", create_pr=True)
    assert (again.is_new, again.pull_request, again.commit) == (False, done.pull_request, done.commit)
    for more in OTHERWISE:
        other = api.publish(proven, "owner/model", create_pr=True, **more)
        assert (other.pull_request, other.revision) == (done.pull_request, "main")
    assert [(pull["title"], pull["status"]) for pull in pulls(theirs)] == [(TITLE, "open")]
    assert "**Verdict: transported exactly" in pulls(theirs)[0]["text"]
    assert "It may be closed" in pulls(theirs)[0]["text"]


def test_a_pull_request_whose_answer_is_lost(theirs: Hub, proven: Path) -> None:
    theirs.faults.append(Fault("POST .*/commit/", lost=True))
    assert api.publish(proven, "owner/model", create_pr=True).pull_request is not None
    assert len(pulls(theirs)) == 1


def test_a_closed_pull_request_is_a_no(theirs: Hub, proven: Path) -> None:
    api.publish(proven, "owner/model", create_pr=True)
    set_status(theirs, "closed")
    for more in OTHERWISE:
        with pytest.raises(SettingError, match="was offered this model before, and the pull request was closed"):
            api.publish(proven, "owner/model", create_pr=True, **more)
    assert len(pulls(theirs)) == 1


def test_an_open_pull_request_is_brought_up_to_date(theirs: Hub, proven: Path) -> None:
    first = api.publish(proven, "owner/model", create_pr=True)
    second = api.publish(proven, "owner/model", create_pr=True, source_name="better words")
    assert (second.is_new, second.pull_request) == (True, first.pull_request)
    assert second.commit != first.commit
    assert len(pulls(theirs)) == 1
    assert b"better words" in contents(theirs, revision="refs/pr/1")["dinoport.json"]


def test_a_pull_request_is_gone_on_with_by_its_revision(theirs: Hub, proven: Path) -> None:
    api.publish(proven, "owner/model", create_pr=True)
    done = api.publish(proven, "owner/model", revision="refs/pr/1", source_name="better words")
    assert (done.is_new, done.revision) == (True, "refs/pr/1")
    assert b"better words" in contents(theirs, revision="refs/pr/1")["dinoport.json"]
    assert len(pulls(theirs)) == 1


def test_another_run_that_was_faster_is_noticed(theirs: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = Repository.upload

    def slow(self: Repository, *arguments: Any) -> Any:
        sent = upload(self, *arguments)
        monkeypatch.setattr(Repository, "upload", upload)
        api.publish(proven, "owner/model", create_pr=True)
        return sent

    monkeypatch.setattr(Repository, "upload", slow)
    assert not api.publish(proven, "owner/model", create_pr=True).is_new
    assert len(pulls(theirs)) == 1


def test_what_was_merged_is_there(theirs: Hub, proven: Path) -> None:
    from huggingface_hub import HfApi

    api.publish(proven, "owner/model", create_pr=True)
    HfApi(token="hf_owner").merge_pull_request("owner/model", 1)  # noqa: S106
    assert not api.publish(proven, "owner/model", create_pr=True).is_new
    assert len(pulls(theirs)) == 1


def test_no_pull_request_to_a_repository_that_does_not_exist(theirs: Hub, proven: Path) -> None:
    with pytest.raises(HubError, match="lab/none does not exist, or is private and not open to you"):
        api.publish(proven, "lab/none", create_pr=True)


def test_a_pull_request_makes_no_repository(proven: Path) -> None:
    with pytest.raises(UsageError, match="`private` is for a repository of one's own"):
        api.publish(proven, "owner/model", create_pr=True, private=True)
    with pytest.raises(UsageError, match="`revision` is empty"):
        api.publish(proven, "owner/model", revision="")


def test_two_models_under_one_title_are_two_pull_requests(theirs: Hub, proven: Path, other: Path) -> None:
    first = api.publish(proven, "owner/model", create_pr=True)
    second = api.publish(other, "owner/model", create_pr=True)
    assert first.pull_request != second.pull_request
    assert [(pull["title"], pull["status"]) for pull in pulls(theirs)] == [(TITLE, "open")] * 2
    weights = [contents(theirs, revision=f"refs/pr/{number}")["model.safetensors"] for number in (1, 2)]
    assert weights == [(folder / "model.safetensors").read_bytes() for folder in (proven, other)]
    assert api.publish(proven, "owner/model", create_pr=True).pull_request == first.pull_request
    assert api.publish(other, "owner/model", create_pr=True).pull_request == second.pull_request


def test_a_closed_pull_request_of_one_model_is_no_answer_to_another(theirs: Hub, proven: Path, other: Path) -> None:
    api.publish(proven, "owner/model", create_pr=True)
    set_status(theirs, "closed")
    assert api.publish(other, "owner/model", create_pr=True).is_new
    with pytest.raises(SettingError, match="was offered this model before"):
        api.publish(proven, "owner/model", create_pr=True)


def test_an_open_pull_request_is_gone_on_with_whatever_was_closed_after_it(theirs: Hub, proven: Path) -> None:
    from huggingface_hub import HfApi

    first = api.publish(proven, "owner/model", create_pr=True)
    HfApi().upload_folder(folder_path=proven, repo_id="owner/model", create_pr=True)
    set_status(theirs, "closed", 2)
    assert api.publish(proven, "owner/model", create_pr=True).pull_request == first.pull_request


def test_an_authors_pull_request_about_something_else_is_left_alone(
    theirs: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are in the repository already, and so in every pull request."""
    from huggingface_hub import HfApi

    weights = (proven / "model.safetensors").read_bytes()
    put(theirs, "owner/model", {"model.safetensors": weights, "dinoport.json": b"{}"})
    HfApi().upload_file(
        path_or_fileobj=b"a typo", path_in_repo="notes.md", repo_id="owner/model", create_pr=True, commit_message=TITLE
    )
    done = api.publish(proven, "owner/model", create_pr=True)
    assert done.pull_request == f"{theirs.url}/owner/model/discussions/2"
    assert api.publish(proven, "owner/model", create_pr=True, source_name="x").pull_request == done.pull_request
    assert contents(theirs, revision="refs/pr/1").keys() == {
        ".gitattributes",
        "model.safetensors",
        "dinoport.json",
        "notes.md",
    }


def test_a_pull_request_whose_files_are_gone_does_not_stand_in_the_way(theirs: Hub, proven: Path) -> None:
    api.publish(proven, "owner/model", create_pr=True)
    set_status(theirs, "closed")
    repo = json.loads(theirs.file("owner/model").read_text())
    del repo["refs"]["refs/pr/1"]
    theirs.save(repo)
    assert api.publish(proven, "owner/model", create_pr=True).is_new


def test_a_pull_request_says_whose_files_it_replaces(theirs: Hub, proven: Path) -> None:
    put(theirs, "owner/model", {"README.md": b"# Theirs"})
    done = api.publish(proven, "owner/model", create_pr=True)
    assert done.replaced == ("README.md",)
    assert "It replaces what lies there: README.md." in pulls(theirs)[0]["text"]


def test_words_that_the_owner_wrote_into_a_pull_request_are_kept(theirs: Hub, proven: Path) -> None:
    api.publish(proven, "owner/model", create_pr=True)
    put(theirs, "owner/model", {"README.md": b"# Reviewed"}, "refs/pr/1")
    with pytest.raises(SettingError, match="holds words of yours or of others"):
        api.publish(proven, "owner/model", create_pr=True)
    assert contents(theirs, revision="refs/pr/1")["README.md"] == b"# Reviewed"
