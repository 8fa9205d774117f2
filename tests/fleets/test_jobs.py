"""Which jobs a fleet has: sources, names, manifests, shards."""

import json
from pathlib import Path
from typing import Any

import pytest

from dinoport.errors import CheckpointError, UsageError
from dinoport.request import Request
from dinoport.work.fleets.jobs import Job, expanded, jobs_of, read_manifest, shard_of
from dinoport.work.fleets.target_names import target_names
from tests import tiny
from tests.command_line import Run


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["a/checkpoint.pth", "a/last.ckpt"], ["checkpoint", "last"]),
        (["a/checkpoint.pth", "b/checkpoint.pth"], ["a-checkpoint", "b-checkpoint"]),
        (["x/a/c.pth", "y/a/c.pth", "c2.pth"], ["x-a-c", "y-a-c", "c2"]),
        (
            ["eval/training_9/teacher.pth", "eval/training_19/teacher.pth"],
            ["training_9-teacher", "training_19-teacher"],
        ),
        (["run/ckpt/9", "run/ckpt/19"], ["9", "19"]),
        (["hf://owner/a/model.safetensors", "hf://owner/b@rev/model.safetensors"], ["a-model", "b_rev-model"]),
        (["s3://bucket/x y/é.pth", "x y/v1.5.pth", "b/V1.5.pth"], ["é", "x_y-v1.5", "b-V1.5"]),
        (["https://me:pw@host/a/b.pth?sig=1#part", "s3://bucket/c.ckpt"], ["b", "c"]),
        (["/"], ["checkpoint"]),
        (["a/model.pt", "a/model.pth", "b/c.pth"], ["model.pt", "model.pth", "c"]),
        (["a/m.ckpt", "a/m.pth", "b/m.pth"], ["m.ckpt", "m.pth", "m"]),
        (["a/fleet.html.pth", "a/Fleet.jsonl.pth"], ["a-fleet.html", "a-Fleet.jsonl"]),
    ],
)
def test_a_target_is_named_after_the_files_stem(sources: list[str], names: list[str]) -> None:
    assert target_names(sources) == names


def test_what_a_run_holds_beside_its_teachers_is_named(run: Run, tmp_path: Path) -> None:
    """Whole teachers stand for a run; what lies beside them is left out, and said so, unless it is named too."""
    folder = tmp_path / "run" / "eval" / "training_9"
    folder.mkdir(parents=True)
    tiny.write(folder / "teacher_checkpoint.pth")
    other = tiny.write(tmp_path / "run" / "checkpoint0.pth")
    (tmp_path / "run" / "early").mkdir()
    early = tiny.write(tmp_path / "run" / "early" / "step.pth")
    ask = ("fleet", tmp_path / "out", tmp_path / "run", "--num-heads", "2", "--verify", "exact", "--quiet")
    done = run(*ask)
    left = f"note: not among the checkpoints of this fleet: {other}, {early}; name them to convert them too\n"
    assert (done.code, done.err) == (0, left)
    done = run(*ask, other, tmp_path / "run" / "*" / "*.pth")
    assert (done.code, done.err) == (0, "")


def test_a_pattern_a_run_and_a_folder_of_transformers(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        folder = tmp_path / "run" / "eval" / f"training_{step}"
        folder.mkdir(parents=True)
        tiny.write(folder / "teacher_checkpoint.pth")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"")
    run = [str(path) for path in expanded(str(tmp_path / "run"))]
    assert [path.split("/")[-2] for path in run] == ["training_9", "training_20", "training_100"]
    assert expanded(str(tmp_path / "run" / "eval" / "*" / "*.pth")) == run
    assert expanded(str(model)) == [str(model)]
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (adapter / name).touch()
    assert expanded(str(adapter)) == [str(adapter)]
    assert expanded(str(tmp_path / "nothing.pth")) == [str(tmp_path / "nothing.pth")]
    assert expanded("https://host/file.pth") == ["https://host/file.pth"]


def test_a_listing_of_a_store() -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for name in ("/lab/run/checkpoint20.pth", "/lab/run/checkpoint9.pth", "/lab/run/log.txt"):
        store.pipe_file(name, b"x")
    assert expanded("memory://lab/run/") == ["memory://lab/run/checkpoint9.pth", "memory://lab/run/checkpoint20.pth"]


def test_a_checkpoint_that_was_not_fetched_is_a_job_too(tmp_path: Path) -> None:
    """As git-annex leaves it: a link that leads nowhere, which was once left out in silence."""
    here = tiny.write(tmp_path / "step1.pth")
    (tmp_path / "eval" / "training_9").mkdir(parents=True)
    gone = [tmp_path / "step2.pth", tmp_path / "eval" / "training_9" / "teacher_checkpoint.pth"]
    for link in (*gone, tmp_path / "log.txt"):
        link.symlink_to(tmp_path / "annex" / link.name)
    assert expanded(str(tmp_path)) == [str(here), *sorted(map(str, gone))]


def test_a_listing_that_fails_is_one_job_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from dinoport.files.remote import filesystem

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert expanded("hf://owner/name") == ["hf://owner/name"]

    def fails(address: str) -> list[str]:
        raise CheckpointError("memory://lab/ cannot be listed")

    monkeypatch.setattr(filesystem, "listed_in", fails)
    assert expanded("memory://lab/") == ["memory://lab/"]


def written(tmp_path: Path, *lines: str | dict[str, Any]) -> Path:
    path = tmp_path / "jobs.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n\n")
    return path


def test_a_manifest(tmp_path: Path) -> None:
    tiny.write(tmp_path / "a.pth")
    (tmp_path / "head.pth").touch()
    path = written(
        tmp_path,
        {"source": "a.pth", "target": "first", "num_heads": 2, "verify": "exact", "head": "head.pth"},
        {"source": "hf://owner/name", "image_mean": [0.5, 0.5, 0.5], "head": "imagenet"},
        {"source": "dino_vits16", "dtype": "float16"},
    )
    jobs = jobs_of(read_manifest(path), Request(layer_norm_eps=1e-5), "full")
    head = str(tmp_path / "head.pth")
    assert jobs == [
        Job(str(tmp_path / "a.pth"), "first", Request(layer_norm_eps=1e-5, num_heads=2, head=head), "exact"),
        Job("hf://owner/name", "name", Request(layer_norm_eps=1e-5, image_mean=(0.5, 0.5, 0.5), head="imagenet")),
        Job("dino_vits16", "dino_vits16", Request(layer_norm_eps=1e-5, dtype="float16")),
    ]
    plain = jobs[1].to_plain(tmp_path)
    assert json.loads(json.dumps(plain)) == plain
    assert Request.from_dict(plain["request"]) == jobs[1].request


def test_a_manifest_of_windows(tmp_path: Path) -> None:
    """With a mark of its encoding, and with lines that end in two characters."""
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"source": "a.pth"}\r\n\r\n{"source": "b.pth"}\r\n')
    assert [entry and entry["source"] for entry in read_manifest(path)] == ["a.pth", None, "b.pth"]


@pytest.mark.parametrize("source", ["run/step.pth", "*/step.pth"])
def test_a_manifest_never_means_what_lies_where_the_fleet_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    for folder in ("lab", "elsewhere/run"):
        (tmp_path / folder).mkdir(parents=True)
    tiny.write(tmp_path / "elsewhere" / "run" / "step.pth")
    path = written(tmp_path / "lab", {"source": source})
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_manifest(path)[0] == {"source": str(tmp_path / "lab" / source)}


def test_a_pattern_means_the_folders_that_it_matches_as_if_they_were_named(tmp_path: Path) -> None:
    """In quotes it was once what a shell would have made of it, less each run's folder, and less damaged ones."""
    for name in ("a", "b", "cut", "linked"):
        (tmp_path / name).mkdir()
    steps = [str(tiny.write(tmp_path / run / f"step{number}.pth")) for run in "ab" for number in (1, 2)]
    steps.append(str(tiny.write(tmp_path / "last.pth")))
    (tmp_path / "cut" / "__0_0.distcp").touch()  # its .metadata was not written yet
    (tmp_path / "linked" / "step.pth").symlink_to(steps[0])
    others = {str(tmp_path / name) for name in ("cut", "linked")}
    assert set(expanded(str(tmp_path / "*"))) == {*steps, *others}
    assert set(expanded(str(tmp_path / "a" / "**"))) == set(steps[:2])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"source": "a"', "{}"], r"line 1 of .*jobs\.jsonl is not a JSON object"),
        (["[]"], r"line 1 of .*jobs\.jsonl is not a JSON object"),
        ([{"source": "a", "options": {}}], r"line 1 of .*jobs\.jsonl has a field that is not known: options"),
        (
            [{"source": "a"}, {"source": "b", "num_head": 2}],
            r"line 2 of .*jobs\.jsonl has a field that is not known: num_head",
        ),
        ([{"target": "a"}], r"line 1 of .*jobs\.jsonl has no source"),
        ([{"source": 1}], r"line 1 of .*jobs\.jsonl has no source"),
        (
            [{"source": "a"}, {"source": "b", "target": "../b"}],
            r"line 2 of .*jobs\.jsonl has a target that is not a name in OUT",
        ),
        ([{"source": "a", "target": ".b"}], r"line 1 of .*jobs\.jsonl has a target that is not a name in OUT"),
        ([{"source": "a", "target": 7}], r"line 1 of .*jobs\.jsonl has a target that is not a name in OUT"),
        (
            [{"source": "a", "target": "x"}, {"source": "b", "target": "X"}],
            r"lines 1 and 2 of .*jobs\.jsonl have one target: X",
        ),
        ([{"source": "a"}, {"source": "b", "target": "a"}], r"lines 1 and 2 of .*jobs\.jsonl have one target: a"),
        ([{"source": "a", "num_heads": -1}], r"line 1 of .*jobs\.jsonl: `num_heads` takes a whole number"),
        ([{"source": "a", "verify": "most"}], r"line 1 of .*jobs\.jsonl: `level` takes one of"),
        ([{"source": "a", "image_mean": 1}], r"line 1 of .*jobs\.jsonl: `image_mean` takes one number"),
        ([], "no checkpoint is named"),
    ],
)
def test_what_no_manifest_can_mean(tmp_path: Path, lines: list[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        jobs_of(read_manifest(written(tmp_path, *lines)), Request(), "full")


def test_the_field_that_is_meant_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        jobs_of([{"source": "a", "num_head": 2}], Request(), "full")
    assert "did you mean: num_heads\n" in str(error.value)


def test_a_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"`manifest` .*none cannot be read: No such file"):
        read_manifest(tmp_path / "none")


def test_shards_share_the_list() -> None:
    jobs = [Job(name, name) for name in "hgfedcba"]
    shards = [[job.target for job in shard_of(jobs, f"{number}/3")] for number in (1, 2, 3)]
    assert shards == [["a", "d", "g"], ["b", "e", "h"], ["c", "f"]]
    assert len(shard_of(jobs, None)) == 8
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0", "-1/2"):
        with pytest.raises(UsageError, match="`shard` takes I/N, with I from 1 to N"):
            shard_of(jobs, wrong)
