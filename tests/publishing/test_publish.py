"""Publication to a Hub on this machine: one commit, read back, whatever happens on the way."""

import json
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

from dinoport import api
from dinoport.errors import HubError, NotProvenError, SettingError
from dinoport.files.remote.repository import Repository
from dinoport.formats.transformers_folder import ORIGINAL_FILE
from dinoport.progress import silent
from dinoport.report.as_json import is_sealed, sealed
from dinoport.work.parcel import Publication, packed
from tests import tiny
from tests.command_line import Run
from tests.error_text import error_text
from tests.publishing.conftest import commits, contents
from tests.publishing.store import Fault, Hub

TITLE = "Add a DINO ViT (facebookresearch/dino), converted by dinoport"


def asked(hub: Hub) -> list[str]:
    return [line["request"].replace("owner/model", "M") for line in hub.log]


def rewritten(folder: Path, **fields: Any) -> Path:
    """The folder with other fields in its report, which is sealed as if dinoport had written it."""
    path = folder / "dinoport.json"
    report = {**json.loads(path.read_text()), **fields}
    report.pop("sha256")
    path.write_text(f"{json.dumps(sealed(report), indent=2, ensure_ascii=False)}\n")
    return folder


@pytest.fixture
def folder(proven: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(proven, tmp_path / "my-model"))


def test_a_first_publication_is_one_commit_that_is_read_back(hub: Hub, proven: Path) -> None:
    done = api.publish(proven, "owner/model")
    assert commits(hub) == ["initial commit", TITLE]
    there = contents(hub)
    assert there.keys() == {".gitattributes", *(path.name for path in proven.iterdir())}
    same = ("model.safetensors", "config.json", "preprocessor_config.json")
    assert all(there[name] == (proven / name).read_bytes() for name in same)
    assert is_sealed(there["dinoport.json"], json.loads(there["dinoport.json"]))
    assert (done.is_new, done.private, done.pull_request) == (True, False, None)
    assert done.url == f"{hub.url}/owner/model/tree/{done.commit}"
    assert asked(hub)[0] == "POST /api/repos/create"
    assert asked(hub)[-1].startswith(f"GET /api/models/M/tree/{done.commit}?recursive=")
    assert sum("/commit/" in request for request in asked(hub)) == 1


def test_the_same_folder_again_sends_nothing(hub: Hub, proven: Path) -> None:
    first = api.publish(proven, "owner/model")
    hub.log.clear()
    again = api.publish(proven, "owner/model")
    assert (again.is_new, again.commit) == (False, first.commit)
    assert [request.split("?")[0] for request in asked(hub)] == [
        "POST /api/repos/create",
        "GET /api/models/M",
        f"GET /api/models/M/tree/{first.commit}",
    ]


def test_a_published_folder_can_be_published_again(hub: Hub, proven: Path, tmp_path: Path) -> None:
    api.publish(proven, "owner/model")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in contents(hub).items():
        (copy / name).write_bytes(content)
    done = api.publish(copy, "owner/model")
    assert not done.is_new
    assert done.left_out == (".gitattributes",)
    api.publish(copy, "lab/model")
    card = contents(hub, "lab/model")["README.md"].decode()
    assert "owner/model" not in card
    assert card.count("## Check it") == 1


DAMAGE = {
    "model.safetensors has another sha256": lambda path: (path / "model.safetensors").write_bytes(b"x" * 6568),
    "config.json is missing": lambda path: (path / "config.json").unlink(),
    "README.md has another sha256": lambda path: (path / "README.md").write_text("mine"),
    "it does not have its own sha256": lambda path: (path / "dinoport.json").write_text(
        (path / "dinoport.json").read_text().replace("exactly", "perfectly")
    ),
}


@pytest.mark.parametrize("found", DAMAGE)
def test_a_folder_that_is_not_what_was_proven_is_refused_before_anything_is_sent(
    hub: Hub, folder: Path, found: str
) -> None:
    DAMAGE[found](folder)
    with pytest.raises(NotProvenError, match=found) as error:
        api.publish(folder, "owner/model")
    assert f"{folder} is not what was proven, and nothing was sent" in str(error.value)
    assert error.value.exit_code == 3
    assert hub.log == []


def test_a_file_that_is_edited_while_it_is_published_is_not_sent(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashing large weights takes long, and the small files were looked at before them."""
    from dinoport.work import parcel

    card = parcel.cleaned_card

    def edited(*given: Any) -> str:
        config = folder / "config.json"
        config.write_text(config.read_text().replace("ViTModel", "ViTModeL"))
        return card(*given)

    monkeypatch.setattr(parcel, "cleaned_card", edited)
    assert error_text(NotProvenError, lambda: api.publish(folder, "owner/model")) == (
        "config.json changed while it was to be published, and nothing was sent\n"
        "  try: convert the source again, and leave the folder alone meanwhile"
    )
    assert hub.log == []


@pytest.mark.parametrize("change", ["a weight", "no weights", "the config"])
def test_what_is_edited_after_it_was_looked_at_never_goes_up(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Small files go up as they were read; of large ones the hash is compared before the Hub is asked to take them."""
    monkeypatch.setattr("dinoport.work.parcel.MAX_TEXT_BYTES", 5000)  # so that the weights are a large file
    made, weights, config = Repository.create, folder / "model.safetensors", folder / "config.json"

    def create(repository: Repository, private: bool | None) -> None:
        made(repository, private)
        if change == "the config":
            config.write_text("{}")
        elif change == "a weight":
            weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        else:
            weights.unlink()

    monkeypatch.setattr(Repository, "create", create)
    if change == "the config":
        proven = config.read_bytes()
        api.publish(folder, "owner/model")
        assert contents(hub)["config.json"] == proven
        return
    with pytest.raises(NotProvenError, match=r"model\.safetensors changed while it was to be published, and nothing"):
        api.publish(folder, "owner/model")
    assert contents(hub).keys() == {".gitattributes"}


@pytest.mark.parametrize("word", ["not verified", "not equal", "planned"])
def test_only_what_was_proven_is_published(hub: Hub, folder: Path, word: str) -> None:
    verdict = {**json.loads((folder / "dinoport.json").read_text())["verdict"], "word": word}
    with pytest.raises(NotProvenError, match=f"is not published: its verdict is {word}"):
        api.publish(rewritten(folder, verdict=verdict), "owner/model")
    assert hub.log == []


def test_a_folder_without_a_report_is_refused(hub: Hub, folder: Path) -> None:
    (folder / "dinoport.json").unlink()
    with pytest.raises(SettingError, match=r"cannot be published: it has no dinoport\.json") as refused:
        api.publish(folder, "owner/model")
    assert [step.split("(")[0] for step in refused.value.next_step] == ["`dinoport.convert", "`dinoport.publish"]
    assert hub.log == []


def test_what_is_not_listed_stays_here_and_is_named(hub: Hub, folder: Path, run: Run) -> None:
    (folder / "notes.txt").write_text("private")
    (folder / "logs").mkdir()
    done = run("publish", folder, "owner/model")
    assert done.code == 0
    assert "not sent    notes.txt, which dinoport.json does not list" in done.out
    assert "not sent    logs/, which" in done.out
    assert contents(hub).keys() & {"notes.txt", "logs"} == set()


def test_nothing_of_this_machine_is_published(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home of" / "ulrike_k"
    monkeypatch.setenv("HOME", str(home))
    (home / "runs").mkdir(parents=True)
    (home / "runs" / "config.yaml").write_text("not: [a config")
    (home / "labels.json").write_text("{}")
    source = tiny.write(home / "runs" / "check_point.pth")
    api.convert(source, home / "my-model", tiny.REQUEST, level="exact")
    report = json.loads((home / "my-model" / "dinoport.json").read_text())
    places = [f"kept in {home}/.cache/torch, where nothing vouches for it", f"{home}/runs/a b.yaml was not read"]
    remarks = [*report["remarks"], *places]
    assert any(str(home) in remark for remark in report["remarks"])
    rewritten(home / "my-model", remarks=remarks, request={**report["request"], "head": f"{home}/heads/h.pth"})
    api.publish(home / "my-model", "owner/model")
    for name, content in contents(hub).items():
        for private in (str(home), "ulrike", "home of", str(tmp_path), "runs/", "heads/", gethostname()):
            assert private.encode() not in content, (name, private)
    published = json.loads(contents(hub)["dinoport.json"])
    assert published["source"]["where"] == "check_point.pth"
    assert published["command"] == "dinoport convert check_point.pth owner/model --num-heads 2 --verify exact"
    assert published["request"]["head"] == "h.pth"
    assert published["remarks"][-3:-1] == [
        "kept in .cache/torch, where nothing vouches for it",
        "a b.yaml was not read",
    ]
    assert "the seal was made anew" in published["remarks"][-1]
    assert published["usage"][1] == 'processor = AutoImageProcessor.from_pretrained("owner/model")'


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("is_absolute", [True, False], ids=["absolute", "relative"])
@pytest.mark.parametrize("name", ["a ulrike", "it's ulrike", 'q"ulrike', "x\nulrike", "ulrike (1),`$_*"])
@pytest.mark.parametrize("to", ["transformers", "original", "training"])
def test_no_folder_is_published_however_its_name_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, name: str, is_absolute: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    place = (tmp_path if is_absolute else Path()) / name
    place.mkdir()
    api.convert(tiny.write(place / "checkpoint.pth"), place / "out", tiny.REQUEST, level="exact", to=to)
    for file in packed(place / "out", "owner/model", Publication(), silent).files:
        content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
        assert b"ulrike" not in content, file.name
        assert tmp_path.name.encode() not in content, file.name


def test_the_source_is_called_as_the_user_says(hub: Hub, proven: Path, run: Run) -> None:
    assert run("publish", proven, "owner/model", "--source-name", "run 7, epoch 100").code == 0
    published = json.loads(contents(hub)["dinoport.json"])
    assert published["source"]["where"] == "run 7, epoch 100"
    assert "prove it again from the source, run 7, epoch 100" in contents(hub)["README.md"].decode()


def test_the_originals_file_is_published_with_a_card(hub: Hub, proven: Path, tmp_path: Path) -> None:
    back = tmp_path / "back"
    api.convert(proven, back, to="original", level="exact")
    api.publish(back, "owner/model")
    there = contents(hub)
    assert there[ORIGINAL_FILE] == (back / ORIGINAL_FILE).read_bytes()
    card = there["README.md"].decode()
    assert "**Verdict: transported exactly" in card
    assert str(tmp_path) not in card
    assert 'torch.load("checkpoint.pth", weights_only=True)' in card
    assert [file["name"] for file in json.loads(there["dinoport.json"])["files"]] == [ORIGINAL_FILE, "README.md"]


def test_a_folder_of_timm_is_loaded_from_the_hub(hub: Hub, proven: Path, tmp_path: Path) -> None:
    source = proven.parents[1] / "runs" / "checkpoint.pth"
    api.convert(source, tmp_path / "for-timm", tiny.REQUEST, to="timm", level="exact")
    api.publish(tmp_path / "for-timm", "owner/model")
    there = contents(hub)
    assert 'timm.create_model("hf-hub:owner/model"' in there["README.md"].decode()
    assert 'timm.create_model("hf-hub:owner/model"' in json.loads(there["dinoport.json"])["usage"][1]
    assert not any(b"for-timm" in content for content in there.values())


def test_weights_that_would_be_read_in_place_of_these_are_removed(hub: Hub, proven: Path, tmp_path: Path) -> None:
    api.publish(proven, "owner/model")
    shards = tmp_path / "shards"
    source = proven.parents[1] / "runs" / "checkpoint.pth"
    api.convert(source, shards, tiny.REQUEST, level="exact", max_shard_bytes=3000)
    done = api.publish(shards, "owner/model")
    assert done.removed == ("model.safetensors",)
    assert "model.safetensors.index.json" in contents(hub)
    assert "model.safetensors" not in contents(hub)
    assert len(commits(hub)) == 3


def test_a_large_file_through_xet(hub: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hf_xet")
    if not hasattr(sys.modules["huggingface_hub"], "__version__") or sys.modules["huggingface_hub"].__version__ < "1":
        pytest.skip("huggingface_hub before 1.0 negotiates")
    hub.xet = True
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    done = api.publish(proven, "owner/model")
    assert done.is_new
    assert not any(request.startswith("PUT") for request in asked(hub))


REPOSITORY = ("create", "head", "files", "commit")


@pytest.mark.parametrize("name", REPOSITORY)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_publication_that_is_killed_is_done_by_the_next(
    hub: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch, name: str, when: str
) -> None:
    call = getattr(Repository, name)

    def killed(self: Repository, *arguments: Any, **options: Any) -> Any:
        if when == "after":
            call(self, *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Repository, name, killed)
    with pytest.raises(KeyboardInterrupt):
        api.publish(proven, "owner/model")
    monkeypatch.setattr(Repository, name, call)
    done = api.publish(proven, "owner/model")
    assert commits(hub) == ["initial commit", TITLE]
    assert done.is_new == ((name, when) != ("commit", "after"))


KILLED = """
import sys
from huggingface_hub import constants
constants.HF_HUB_DISABLE_XET = True
from dinoport import publish
publish(sys.argv[1], "owner/model")
"""


REQUESTS = ("/repos/create", "/tree/", "/validate-yaml", "/preupload/", "/objects/batch", "PUT /lfs/")
REQUESTS += ("/lfs/verify", "/commit/main")


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_process_that_dies_at_a_request_leaves_no_second_commit(hub: Hub, proven: Path, request_: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(proven)],
        env={"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_owner", "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    hub.faults.append(Fault(request_, lost=True, then=lambda: process.send_signal(signal.SIGKILL)))
    assert process.wait(60) == -signal.SIGKILL
    hub.faults.clear()
    hub.log.clear()
    api.publish(proven, "owner/model")
    assert commits(hub) == ["initial commit", TITLE]
    arrived = REQUESTS.index(request_) >= REQUESTS.index("PUT /lfs/")
    assert any(request.startswith("PUT") for request in asked(hub)) != arrived


def test_a_lost_answer_is_recognised(hub: Hub, proven: Path) -> None:
    hub.faults.append(Fault("POST .*/commit/", lost=True))
    assert api.publish(proven, "owner/model").is_new
    assert commits(hub) == ["initial commit", TITLE]


STUMBLES = {
    "an upload that breaks off": Fault("PUT /lfs/", cut_upload=100),
    "an answer that breaks off": Fault("GET .*/tree/", cut_answer=10),
    "a listing that fails": Fault("GET .*/tree/", status=500),
    "a batch that fails": Fault("POST .*/objects/batch", status=500),
}


@pytest.mark.parametrize("what", STUMBLES)
def test_a_hub_that_stumbles_ends_with_one_commit(hub: Hub, proven: Path, what: str) -> None:
    """Some versions of huggingface_hub try again by themselves, others leave it to the user."""
    hub.faults.append(replace(STUMBLES[what]))
    with suppress(HubError):
        api.publish(proven, "owner/model")
    api.publish(proven, "owner/model")
    assert commits(hub) == ["initial commit", TITLE]


REFUSALS = {
    409: "owner/model changed meanwhile, and nothing was published",
    412: "owner/model changed meanwhile, and nothing was published",
    401: "the Hub does not take the token for owner/model",
    403: "the token may not write to owner/model",
    429: "the Hub takes no more requests for owner/model now",
    503: "the Hub refuses what owner/model needs",
}


@pytest.mark.parametrize("status", REFUSALS)
def test_each_refusal_is_one_message(hub: Hub, proven: Path, run: Run, status: int) -> None:
    hub.faults.append(Fault("POST .*/commit/", status=status, headers={"Retry-After": "30"}))
    done = run("publish", proven, "owner/model")
    assert done.code == 1
    assert done.err.startswith(f"error: {REFUSALS[status]}\n  found: HTTP status {status}: injected {status}\n")
    assert "Traceback" not in done.err
    assert "hf_owner" not in done.err
    assert ("wait 30 seconds, then run the same command again" in done.err) == (status == 429)
    assert run("publish", proven, "owner/model").code == 0
    assert len(commits(hub)) == 2


@pytest.mark.parametrize("status", [409, 403])
def test_a_commit_that_cannot_be_read_back_is_not_called_nothing(hub: Hub, proven: Path, status: int) -> None:
    listing = Fault("GET .*/tree/", times=0, status=status)
    hub.faults.append(listing)
    commit = hub.commit

    def committed(*given: Any) -> str:
        listing.times = -1 if hub.file("owner/model").exists() else 0  # of the second: the first is the repository's
        return commit(*given)

    hub.commit = committed  # type: ignore[method-assign]
    with pytest.raises(HubError) as error:
        api.publish(proven, "owner/model")
    oid = list(json.loads(hub.file("owner/model").read_text())["commits"])[-1]
    assert str(error.value) == (
        "owner/model took the commit, which could not be read back\n"
        f"  where: {hub.url}/owner/model/tree/{oid}\n"
        f"  found: HTTP status {status}: injected {status}\n"
        "  try: run the same command again: what has arrived is not sent twice"
    )
    listing.times = 0
    assert not api.publish(proven, "owner/model").is_new


def test_no_token(hub: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere/token")
    for more in ({}, {"create_pr": True}):
        with pytest.raises(HubError, match="the Hub does not know who asks for owner/model") as error:
            api.publish(proven, "owner/model", **more)
        assert "try: `hf auth login`, or set HF_TOKEN" in str(error.value)


def test_a_token_that_is_given(hub: Hub, proven: Path, run: Run) -> None:
    done = run("publish", proven, "guest/model", "--token", "hf_guest", "--json")
    assert json.loads(done.out)["repository"] == "guest/model"
    with pytest.raises(HubError, match="the token may not write to owner/other"):
        api.publish(proven, "owner/other", token="hf_guest")  # noqa: S106


def test_offline(hub: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="owner/model was not asked for: HF_HUB_OFFLINE is set"):
        api.publish(proven, "owner/model")


def test_a_hub_that_is_down(hub: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="the Hub cannot be reached for owner/model") as error:
        api.publish(proven, "owner/model")
    assert "what has arrived is not sent twice" in str(error.value)


def test_an_upload_that_is_refused(hub: Hub, proven: Path) -> None:
    hub.faults.append(Fault("PUT /lfs/", status=403, times=-1))
    with pytest.raises(HubError, match="the token may not write to owner/model"):
        api.publish(proven, "owner/model")
    assert commits(hub) == ["initial commit"]


def test_a_card_that_the_hub_refuses(hub: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults.append(Fault("POST /api/validate-yaml", status=400))
    with pytest.raises(HubError, match="owner/model"):
        api.publish(proven, "owner/model")
    assert commits(hub) == ["initial commit"]


def test_a_commit_that_does_not_hold_what_was_sent(hub: Hub, proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Hub.small
    monkeypatch.setattr(Hub, "small", lambda self, data: small(self, data.replace(b"ViTModel", b"ViTModeL")))
    with pytest.raises(NotProvenError, match="owner/model does not hold what was sent") as error:
        api.publish(proven, "owner/model")
    assert "found: config.json, README.md, dinoport.json" in str(error.value)


def test_a_branch(hub: Hub, proven: Path) -> None:
    done = api.publish(proven, "owner/model", revision="step-100")
    assert done.revision == "step-100"
    assert contents(hub, revision="main").keys() == {".gitattributes"}
    assert "model.safetensors" in contents(hub, revision="step-100")
    assert not api.publish(proven, "owner/model", revision="step-100").is_new
