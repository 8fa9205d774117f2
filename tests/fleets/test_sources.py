"""What a fleet takes for done: of the very source that it was made from, and of what lies beside it."""

import os
from pathlib import Path
from typing import Any

import pytest

from dinoport import api
from dinoport.formats.torch.writer import write_torch_file
from dinoport.request import Request
from dinoport.work.fleets import one_job
from dinoport.work.fleets.jobs import Job, jobs_of
from dinoport.work.fleets.one_job import run_job, there_already
from tests import formula, tiny
from tests.http_server import Site, serving
from tests.writing.stub_tensors import tensor

HEADS = {"num_heads": 2, "level": "exact"}


def another(path: Path, like: Path) -> Path:
    """A checkpoint of another model with the size and the time of one: as two runs of one training are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shapes = {**tiny.ARCHITECTURE.tensors(), **tiny.DROPPED}
    values = {name: formula.tensor(f"another {name}", shape) for name, shape in shapes.items()}
    write_torch_file(path, [tensor(name, each, block=1 << 20) for name, each in values.items()])
    tiny.write(like)
    assert path.stat().st_size == like.stat().st_size
    return path


@pytest.mark.parametrize("place", ["another folder", "a link", "a folder's name"])
def test_another_source_under_the_name_of_one_that_was_done_is_not_there(tmp_path: Path, place: str) -> None:
    """One name, one size, and older than the folder: `checkpoint.pth` of two runs, named one after the other."""
    (tmp_path / "a").mkdir()
    other, source = tmp_path / "b" / "step.pth", tmp_path / "a" / "step.pth"
    another(other, source)
    as_source = source.stat().st_atime_ns, source.stat().st_mtime_ns
    os.utime(other, ns=as_source)
    while other.stat().st_ctime_ns == source.stat().st_ctime_ns:
        os.utime(other, ns=as_source)  # until the clock of the disk has moved on
    link = tmp_path / "latest.pth"
    link.symlink_to(source)
    first = {"a link": link}.get(place, source)
    assert api.fleet([first], tmp_path / "out", **HEADS).counts == {"done": 1}
    assert api.fleet([first], tmp_path / "out", **HEADS).counts == {"there": 1}
    if place == "a link":
        link.unlink()
        link.symlink_to(other)
    elif place == "a folder's name":
        (tmp_path / "a").rename(tmp_path / "c")
        (tmp_path / "b").rename(tmp_path / "a")
    second = other if place == "another folder" else first
    assert api.fleet([second], tmp_path / "out", **HEADS).counts == {"not equal": 1}
    if place == "another folder":
        assert api.fleet([first], tmp_path / "out", **HEADS).counts == {"there": 1}


def test_labels_that_were_edited_are_looked_at_again(tmp_path: Path) -> None:
    source, labels = tiny.write(tmp_path / "step.pth"), tmp_path / "labels.json"
    head = tmp_path / "head.pth"
    names = {
        "linear.weight": formula.tensor("head", (3, tiny.ARCHITECTURE.width)),
        "linear.bias": formula.tensor("bias", (3,)),
    }
    write_torch_file(head, [tensor(name, each, block=1 << 20) for name, each in names.items()])
    labels.write_text('["cat", "dog", "hen"]')
    entry = {"source": str(source), "head": str(head), "labels": str(labels)}
    assert api.fleet([entry], tmp_path / "out", **HEADS).counts == {"done": 1}
    assert api.fleet([entry], tmp_path / "out", **HEADS).counts == {"there": 1}
    labels.write_text('["cat", "dog", "fox"]')
    os.utime(labels, ns=(1, 1))
    assert api.fleet([entry], tmp_path / "out", **HEADS).counts == {"not equal": 1}


def become(entry: dict[str, Any], out: Path, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """What becomes of a job, in this process, where the log says `before` of it."""
    job = {**jobs_of([entry], Request(num_heads=2), "exact")[0].to_plain(out), "before": before or {}}
    return there_already(job) or run_job(job)


def statuses(entries: list[dict[str, Any]], out: Path, before: list[dict[str, Any]]) -> list[str]:
    return [str(become(entry, out, then)["status"]) for entry, then in zip(entries, before, strict=True)]


def swapped(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    for before, after in ((one, aside), (other, one), (aside, other)):
        before.rename(after)


@pytest.mark.parametrize("what", ["results", "sources of one time"])
def test_folders_that_changed_their_names_are_not_there(tmp_path: Path, what: str) -> None:
    """By the names, sizes and times alone each is what it was."""
    first, second, out = tmp_path / "a" / "one.pth", tmp_path / "b" / "one.pth", tmp_path / "out"
    first.parent.mkdir()
    another(second, first)
    os.utime(first, ns=(7, 7))
    while second.stat().st_mtime_ns != 7 or second.stat().st_ctime_ns == first.stat().st_ctime_ns:
        os.utime(second, ns=(7, 7))  # until the clock of the disk has moved on
    entries = [{"source": str(first), "target": "first"}, {"source": str(second), "target": "second"}]
    done = [become(entry, out) for entry in entries]
    assert statuses(entries, out, done) == ["there", "there"]
    if what == "results":
        swapped(out / "first", out / "second")
    else:
        swapped(tmp_path / "a", tmp_path / "b")
    assert statuses(entries, out, done) == ["not equal", "not equal"]


@pytest.mark.skipif(os.name == "nt", reason="keeps no time of a change")
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("step.pth", formula.tensor("norm.bias", (8,)).tobytes()),
        ("out/step/model.safetensors", formula.tensor("norm.bias", (8,)).tobytes()),
        ("out/step/dinoport.json", b"exactly"),
    ],
    ids=["source", "weights", "report"],
)
def test_an_edit_that_keeps_size_and_time_is_seen(tmp_path: Path, name: str, changed: bytes) -> None:
    entry, out, path = {"source": str(tiny.write(tmp_path / "step.pth"))}, tmp_path / "out", tmp_path / name
    done = become(entry, out)
    before = path.stat()
    data = path.read_bytes()
    assert changed in data
    path.write_bytes(data.replace(changed, changed[::-1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert become(entry, out, done)["status"] in ("not equal", "refused")


def test_what_lies_beside_a_link_is_looked_at_again(tmp_path: Path) -> None:
    """The config of a run is looked for beside the link itself, and not where it leads."""
    (tmp_path / "store").mkdir()
    (tmp_path / "run").mkdir()
    source, config = tmp_path / "run" / "latest.pth", tmp_path / "run" / "config.yaml"
    source.symlink_to(tiny.write(tmp_path / "store" / "step.pth"))
    config.write_text("student: {arch: vit_small, patch_size: 4}\nteacher: {}\n")
    job = Job(str(source), "latest", Request(num_heads=2), "exact").to_plain(tmp_path / "out")
    job["before"] = run_job(job)
    assert there_already(job)
    config.write_text("student: {arch: vit_small, patch_size: 4, ffn_layer: swiglu}\nteacher: {}\n")
    assert there_already(job) is None


def written_head(path: Path, word: str) -> bytes:
    path.unlink(missing_ok=True)
    values = {"weight": formula.tensor(f"{word} weight", (3, 8)), "bias": formula.tensor(f"{word} bias", (3,))}
    write_torch_file(path, [tensor(f"linear.{name}", each, block=1 << 20) for name, each in values.items()])
    return path.read_bytes()


def test_all_that_a_job_reads_is_looked_at_again_wherever_it_lies(tmp_path: Path) -> None:
    """A head here of a remote source, and a remote head of a source here."""
    source, head, out = tiny.write(tmp_path / "step.pth"), tmp_path / "head.pth", tmp_path / "out"
    labels = tmp_path / "labels.json"
    labels.write_text('["cat", "dog", "hen"]')
    with serving(Site(files={"step.pth": source.read_bytes(), "head.pth": written_head(head, "first")})) as site:
        entries: list[dict[str, Any]] = [
            {"source": site.url("step.pth"), "target": "remote", "head": str(head), "labels": str(labels)},
            {"source": str(source), "target": "here", "head": site.url("head.pth"), "labels": str(labels)},
        ]
        done = [become(entry, out) for entry in entries]
        assert statuses(entries, out, done) == ["there", "there"], done
        site.files["head.pth"] = written_head(head, "later")
        assert statuses(entries, out, done) == ["not equal", "not equal"]


def test_what_a_killed_run_left_beside_its_folder_is_taken_back(tmp_path: Path) -> None:
    entry, out = {"source": str(tiny.write(tmp_path / "step.pth"))}, tmp_path / "out"
    become(entry, out)
    (out / ".step.dinoport-lock").touch()
    (out / ".step.dinoport-new").mkdir()
    assert become(entry, out)["status"] == "there"
    assert [path.name for path in out.iterdir()] == ["step"]


def test_a_folder_that_another_fleet_made_meanwhile_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"source": str(tiny.write(tmp_path / "step.pth"))}
    needed = one_job._needed

    def slow(*given: Any) -> int:
        monkeypatch.undo()
        assert become(entry, tmp_path / "out")["status"] == "done"
        return needed(*given)

    monkeypatch.setattr(one_job, "_needed", slow)
    assert become(entry, tmp_path / "out")["status"] == "there"


@pytest.mark.parametrize(
    "before", [{"version": "0.1.0"}, {"status": "not equal"}, {"ends": None}, {"ends": "one hash"}]
)
def test_what_another_version_found_or_nobody_is_proven_again(tmp_path: Path, before: dict[str, Any]) -> None:
    source = tiny.write(tmp_path / "step.pth")
    job = Job(str(source), "step", Request(num_heads=2), "exact").to_plain(tmp_path / "out")
    done = run_job(job)
    assert there_already({**job, "before": done})
    again = {**job, "before": {**done, **before}}
    assert there_already(again) is None
    assert there_already({**job, "before": run_job(again)})  # once
