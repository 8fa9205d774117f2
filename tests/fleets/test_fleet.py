"""Fleets of tiny checkpoints: what is done, what fails alone, and what is found again."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save

from dinoport import api
from dinoport.errors import DinoportError, UsageError
from dinoport.files import memory
from dinoport.formats.torch.writer import write_torch_file
from dinoport.report.fleet import causes_of, fleet_page
from dinoport.request import Request
from dinoport.work import fleet as verb
from dinoport.work.fleets import one_job, workers
from dinoport.work.fleets.jobs import Job
from dinoport.work.fleets.one_job import run_job
from dinoport.work.fleets.results import append, last_of_each
from dinoport.writing.commit import _locked
from dinoport.writing.place import Place
from tests import formula, tiny
from tests.command_line import Run
from tests.error_text import error_text
from tests.fleets import work
from tests.http_server import Site, serving
from tests.writing.stub_tensors import tensor

HEADS = {"num_heads": 2, "level": "exact"}


def checkpoints(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [tiny.write(folder / f"step{number:02}.pth") for number in range(count)]


def statuses(fleet: Any) -> dict[str, str]:
    return {result["target"]: result["status"] for result in fleet.results}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def test_a_file_in_the_place_of_the_folder_is_kept(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (path.name for path in checkpoints(tmp_path, 2))
    monkeypatch.chdir(tmp_path)
    before = Path(first).read_bytes()
    done = run("fleet", first, second, "--num-heads", "2", "--verify", "exact")
    assert (done.code, done.err) == (
        1,
        f"error: {first} is a file, and the first argument of fleet is OUT, the folder that it writes\n"
        f"  expected: OUT, then every SOURCE\n  try: dinoport fleet OUT {first} …\n",
    )
    assert Path(first).read_bytes() == before


def test_each_becomes_what_it_becomes_alone_and_is_found_again(tmp_path: Path, run: Run) -> None:
    sources, out = checkpoints(tmp_path / "run", 3), tmp_path / "out"
    (tmp_path / "run" / "hostile.pth").write_bytes(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00idq\x00\x85R.")
    command = ("fleet", out, tmp_path / "run" / "*.pth", "--num-heads", "2", "--verify", "exact")
    done = run(*command)
    assert done.code == 1
    assert done.out.startswith("done        3 of 4: step00, step01, step02\nrefused     1 of 4\n")
    assert "\nrefused     hostile\n" in done.out
    assert str(tmp_path / "run" / "hostile.pth") in done.out.replace("\n            ", "")
    assert "4/4 " in done.err
    api.convert(sources[0], tmp_path / "alone", tiny.REQUEST, level="exact")
    for name in ("model.safetensors", "config.json"):
        assert (out / "step00" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    again = json.loads(run(*command, "--json").out)
    assert again["counts"] == {"there": 3, "refused": 1}
    assert [result["target"] for result in again["results"]] == ["hostile", "step00", "step01", "step02"]
    assert len((out / "fleet.jsonl").read_text().splitlines()) == 8
    page = (out / "fleet.html").read_text()
    assert '<a href="step00/dinoport.json">step00</a>' in page
    assert "1 refused" in page
    assert {path.name for path in out.iterdir()} == {"fleet.jsonl", "fleet.html", "step00", "step01", "step02"}


def test_what_is_printed_as_data_proposes_commands_too(tmp_path: Path, run: Run) -> None:
    [source] = checkpoints(tmp_path / "run", 1)
    api.convert(source, tmp_path / "there", tiny.REQUEST, level="exact")
    command = f"dinoport convert {tmp_path / 'there'} FOLDER --to timm"
    printed = json.loads(run("fleet", tmp_path / "out", tmp_path / "there", "--verify", "exact", "--json").out)
    [result] = printed["results"]
    assert command in result["error"]["text"]
    assert command in json.loads(run("inspect", tmp_path / "there", "--json").out)["commands"][2]
    listed = api.fleet([tmp_path / "there"], tmp_path / "again", level="exact")
    assert f"`dinoport.convert('{tmp_path / 'there'}', FOLDER, to='timm'" in listed.results[0]["error"]["text"]


def test_what_is_there_needs_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = checkpoints(tmp_path, 2)
    api.fleet(sources, tmp_path / "out", **HEADS)
    monkeypatch.setattr(workers, "Worker", None)
    assert api.fleet(sources, tmp_path / "out", **HEADS).counts == {"there": 2}


@pytest.mark.parametrize("field", ["versions", "verdict", "files", "source"])
def test_a_report_that_somebody_else_wrote_is_no_reason_to_fall(tmp_path: Path, field: str) -> None:
    sources = checkpoints(tmp_path, 1)
    api.fleet(sources, tmp_path / "out", **HEADS)
    path = tmp_path / "out" / "step00" / "dinoport.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: {"word": []} if field == "verdict" else []}))
    assert api.fleet(sources, tmp_path / "out", **HEADS).exit_code in (1, 3)


def test_what_was_done_is_proven_again(tmp_path: Path, run: Run) -> None:
    checkpoints(tmp_path / "run", 2)
    out = tmp_path / "out"
    command = ("fleet", out, tmp_path / "run", "--num-heads", "2", "--verify", "exact")
    assert run(*command).code == 0
    weights = out / "step01" / "model.safetensors"
    sound, times = weights.read_bytes(), weights.stat()
    flip(weights)
    before = weights.read_bytes()
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    for asked in ((), ("--recheck",), ()):  # what was found is remembered
        done = run(*command, *asked)
        assert done.code == 3
        assert "\nnot equal   step01\n" in done.out
        assert weights.read_bytes() == before
    source = tmp_path / "run" / "step01.pth"
    source.rename(tmp_path / "away.pth")
    broken = tmp_path / "run" / "step01.pth"
    broken.write_bytes(b"what is no checkpoint")
    assert run(*command).code == 1  # refused, which says nothing of the folder
    (tmp_path / "away.pth").rename(source)
    assert run(*command).code == 3
    weights.write_bytes(sound)
    assert run(*command).code == 0
    assert run(*command).code == 0


def test_a_folder_that_was_touched_since_is_proven_again_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = checkpoints(tmp_path, 1)
    api.fleet(sources, tmp_path / "out", **HEADS)
    weights = tmp_path / "out" / "step00" / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert api.fleet(sources, tmp_path / "out", **HEADS).counts == {"there": 1}
    monkeypatch.setattr(workers, "Worker", None)  # nothing is left to be proven
    assert api.fleet(sources, tmp_path / "out", **HEADS).counts == {"there": 1}
    monkeypatch.undo()
    flip(weights)
    assert api.fleet(sources, tmp_path / "out", **HEADS).counts == {"not equal": 1}


def test_entries_of_a_fleet_may_be_blank_lines_and_not_empty(tmp_path: Path) -> None:
    source = str(checkpoints(tmp_path, 1)[0])
    assert api.fleet([None, {"source": source}], tmp_path / "out", **HEADS).counts == {"done": 1}
    with pytest.raises(UsageError, match="line 2 has no source"):
        api.fleet([{"source": source}, {}], tmp_path / "out", **HEADS)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_remote_source_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """By the ends of its files: another checkpoint of the same size is told from the one that was converted."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # for the workers

    def written(word: str) -> bytes:
        shapes = tiny.ARCHITECTURE.tensors()
        values = {name: formula.tensor(f"{word} {name}", shape) for name, shape in shapes.items()}
        if ending == ".safetensors":
            return save(values)
        path = tmp_path / f"{word}.pth"
        write_torch_file(path, [tensor(name, each, block=1 << 20) for name, each in values.items()])
        return path.read_bytes()

    with serving(Site(files={f"model{ending}": written("first")})) as site:
        address = site.url(f"model{ending}")
        for status in ("done", "there", "there"):
            fleet = api.fleet([address], tmp_path / "out", **HEADS)
            assert fleet.counts == {status: 1}, fleet.results
        site.files[f"model{ending}"] = written("later")
        assert api.fleet([address], tmp_path / "out", **HEADS).counts == {"not equal": 1}


def test_the_secret_of_an_address_is_kept_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    with serving(Site(files={"a.pth": checkpoints(tmp_path, 1)[0].read_bytes()})) as site, ThreadPoolExecutor(1) as one:
        signed = [f"{site.url(name)}?sig=SECRET".replace("//", "//me:SECRET@", 1) for name in ("a.pth", "gone.pth")]
        fleets = [api.fleet(signed, out, **HEADS, executor=one)]
        site.files["a.pth"] = tiny.write(tmp_path / "b.pth", replace(tiny.ARCHITECTURE, depth=2)).read_bytes()
        fleets.append(api.fleet(signed, out, **HEADS, executor=one))
        with pytest.raises(UsageError) as twice:
            api.fleet([{"source": each, "target": "t"} for each in signed], out)
        with pytest.raises(UsageError) as alone:
            api.verify(signed[0])
    assert [fleet.counts for fleet in fleets] == [{"done": 1, "refused": 1}, {"not equal": 1, "refused": 1}]
    told = [path.read_text() for path in out.rglob("*.*") if path.suffix in (".json", ".jsonl", ".html", ".md")]
    told += [*map(str, fleets), str([fleet.to_dict() for fleet in fleets]), str(twice.value), str(alone.value)]
    assert site.url("a.pth?…") in "".join(told)
    assert "SECRET" not in "".join([*told, *capsys.readouterr()])


@pytest.mark.parametrize("name", ["a", "t", "file", "model"])
def test_a_cause_names_its_own_places_alone(tmp_path: Path, name: str) -> None:
    """A short name of a target was once replaced in every word of the message."""
    sources = [tmp_path / "run" / f"{name}.pth", tmp_path / "run" / "other.pth"]
    sources[0].parent.mkdir()
    for source in sources:
        source.write_bytes(b"what is no checkpoint")
    both = str(api.fleet(sources, tmp_path / "out", **HEADS))
    assert f"refused     {', '.join(sorted([name, 'other']))}\n" in both
    assert "\n            SOURCE is not a checkpoint\n" in both
    alone = " ".join(str(api.fleet(sources[:1], tmp_path / "alone", **HEADS)).split())
    assert "SOURCE" not in alone
    assert "TARGET" not in alone + both
    for line in api.fleet(sources[:1], tmp_path / "alone", **HEADS).results[0]["error"]["text"].split("\n"):
        assert " ".join(line.split()) in alone


def test_causes_whose_texts_differ_are_told_each_by_itself() -> None:
    results = [
        {"target": f"w{place}", "source": f"w{place}.pth", "status": "refused",
         "error": {"text": f"w{place}.pth: no heads\n  expected: {heads} heads"}}
        for place, heads in enumerate((4, 1, 4))
    ]  # fmt: skip
    assert [(cause.targets, cause.text) for cause in causes_of(results, "out")] == [
        (("w0", "w2"), "SOURCE: no heads\n  expected: 4 heads"),
        (("w1",), "w1.pth: no heads\n  expected: 1 heads"),
    ]


def test_a_source_that_changed_since_is_proven_again(tmp_path: Path) -> None:
    (source,) = checkpoints(tmp_path, 1)
    out = tmp_path / "out"
    assert statuses(api.fleet([source], out, **HEADS)) == {"step00": "done"}
    stubs = tiny.tensors()
    name = stubs[0].target.name
    values = formula.tensor(f"{name} of a later step", stubs[0].target.shape)
    size_bytes = source.stat().st_size
    source.unlink()
    write_torch_file(source, [tensor(name, values, block=1 << 20), *stubs[1:]])
    assert source.stat().st_size == size_bytes
    found = api.fleet([source], out, **HEADS)
    assert statuses(found) == {"step00": "not equal"}
    assert "is not equal to" in found.results[0]["error"]["text"]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"dtype": "float16", "level": "exact"}, "a folder that was made with --num-heads 2"),
        ({"level": "full"}, "a folder whose verdict is transported exactly"),
    ],
)
def test_a_folder_of_another_job_is_left_alone(tmp_path: Path, more: dict[str, Any], found: str) -> None:
    sources = checkpoints(tmp_path, 1)
    api.fleet(sources, tmp_path / "out", **HEADS)
    job = Job(str(sources[0]), "step00", Request(num_heads=2, dtype=more.get("dtype")), more["level"])
    result = one_job.run_job(job.to_plain(tmp_path / "out"))
    assert result["status"] == "refused"
    assert "step00 exists, and is not what this job makes" in result["error"]["text"]
    assert found in result["error"]["text"]
    asked = "made with --dtype float16 --num-heads 2" if "dtype" in more else "made with --num-heads 2"
    assert f"expected: {asked}; the verdict " in " ".join(result["error"]["text"].split())


def test_a_folder_made_with_no_options_says_so() -> None:
    report = {"request": {}, "verdict": {"word": "equal"}}
    asked = Request(allow_nonfinite=True, image_mean=(0.5, 0.25, 0.125))
    with pytest.raises(DinoportError) as refused:
        one_job._refuse_other({"level": "exact"}, asked, Path("there"), report)
    assert refused.value.found == "a folder that was made with no options"
    words = "made with --image-mean 0.5,0.25,0.125 --allow-nonfinite; the verdict "
    assert str(refused.value.expected).startswith(words)


def test_a_job_gives_plain_data_and_never_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = checkpoints(tmp_path, 1)
    job = Job(str(source), "x", tiny.REQUEST, "exact").to_plain(tmp_path)
    result = one_job.run_job(job)
    assert json.loads(json.dumps(result)) == result
    assert (result["status"], result["tries"], result["host"] != "") == ("done", 1, True)
    for raised, status in ((MemoryError(), "crashed"), (ZeroDivisionError("no\x1b one"), "crashed")):

        def fails(*given: Any, raised: Exception = raised) -> None:
            raise raised

        monkeypatch.setattr("dinoport.work.convert.convert_place", fails)
        found = one_job.run_job({**job, "folder": str(tmp_path / "y")})
        assert found["status"] == status
        assert "\x1b" not in found["error"]["text"]
    other = one_job.run_job({**job, "version": "0.0.1"})
    assert other["status"] == "refused"
    assert "this worker runs dinoport" in other["error"]["text"]


def test_a_worker_in_another_folder_takes_no_file_of_that_name_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine's workers may start anywhere."""
    for name in ("fleet", "worker"):
        checkpoints(tmp_path / name, 1)
    monkeypatch.chdir(tmp_path / "fleet")
    jobs = [
        Job(str(path), "x", tiny.REQUEST, "exact").to_plain(tmp_path)
        for path in (Path("step00.pth"), Path("step00.pth").absolute())
    ]
    monkeypatch.chdir(tmp_path / "worker")
    results = [one_job.run_job(job) for job in jobs]
    assert [result["status"] for result in results] == ["refused", "done"]
    assert results[0]["error"]["text"] == (
        f"this worker runs in {tmp_path / 'worker'}, and the fleet in {tmp_path / 'fleet'}\n  try: give absolute paths"
    )


def test_a_target_that_another_run_writes_is_no_failure(tmp_path: Path) -> None:
    from dinoport.writing.commit import publishing

    (source,) = checkpoints(tmp_path, 1)
    job = Job(str(source), "x", tiny.REQUEST, "exact").to_plain(tmp_path)
    with publishing(tmp_path / "x"):
        result = one_job.run_job(job)
        (tmp_path / ".x.dinoport-new" / "file").touch()
    assert result["status"] == "elsewhere"
    assert verb.Fleet("out", (result,), 0.1).exit_code == 0


@pytest.mark.parametrize("ends", [True, False])
def test_what_another_fleet_was_writing_is_looked_at_once_more(tmp_path: Path, ends: bool) -> None:
    """It may have been killed: then it was once nobody's, and no failure."""
    (tmp_path / "out").mkdir()

    class Engine:
        """Ends the other fleet where this one asks for the second time."""

        def submit(self, call: Any, job: dict[str, Any]) -> Any:
            if job["target"] in asked and ends:
                other.close()
            asked.append(job["target"])
            future: Future[Any] = Future()
            future.set_result(call(job))
            return future

    asked, other = list[str](), ExitStack()
    other.enter_context(_locked(Place.of(tmp_path / "out" / "step00")))
    with other:
        fleet = api.fleet(checkpoints(tmp_path, 2), tmp_path / "out", executor=Engine(), **HEADS)
    assert asked == ["step00", "step01", "step00"]
    assert statuses(fleet) == {"step00": "done" if ends else "elsewhere", "step01": "done"}
    assert fleet.exit_code == 0


def crew(tmp_path: Path, targets: list[str], run: Any, count: int = 2) -> dict[str, dict[str, Any]]:
    source = tiny.write(tmp_path / "checkpoint.pth")
    jobs = [Job(str(source), target, tiny.REQUEST, "exact").to_plain(tmp_path) for target in targets]
    results = list(workers.Crew(count, 10**9, 1, run).run(jobs))
    assert len(results) == len(jobs)
    return {result["target"]: result for result in results}


def test_a_worker_that_dies_takes_its_own_job_with_it_and_no_other(tmp_path: Path) -> None:
    targets = [*(f"plain{number}" for number in range(6)), "deadly", "deadly-once", "exits"]
    found = crew(tmp_path, targets, work.dying)
    assert {found[f"plain{number}"]["status"] for number in range(6)} == {"done"}
    assert (found["deadly"]["status"], found["deadly"]["tries"]) == ("killed", 2)
    assert found["deadly"]["error"]["text"] == (
        "its worker died 2 times, of signal 9\n"
        "  likely cause: the memory of this machine is used up, or somebody ended it\n"
        "  try: run the fleet again with fewer jobs at once: `at_once=1`"
    )
    assert (found["deadly-once"]["status"], found["deadly-once"]["tries"]) == ("done", 2)
    assert found["exits"]["status"] == "crashed"
    assert "of exit code 7" in found["exits"]["error"]["text"]


def dying_at_the_start(connection: Any, run: Any) -> None:
    """In place of `serve`: what a process is that something ends while it imports."""
    os._exit(9)


@pytest.mark.parametrize("starts", [0, 1, workers.STARTS - 1, workers.STARTS])
def test_workers_that_die_while_they_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: int) -> None:
    """A few are replaced; where one after the other dies, the fleet says so, without a word of scripts."""
    serve, begun = workers.serve, list[int]()

    class Dying(workers.Worker):
        def __init__(self, threads: int, run: Any) -> None:
            begun.append(1)
            monkeypatch.setattr(workers, "serve", dying_at_the_start if len(begun) <= starts else serve)
            super().__init__(threads, run)

    monkeypatch.setattr(workers, "Worker", Dying)
    if starts < workers.STARTS:
        assert crew(tmp_path, ["one"], run_job, count=1)["one"]["status"] == "done"
        return
    assert error_text(DinoportError, lambda: crew(tmp_path, ["one"], run_job, count=1)) == (
        "the fleet's workers do not start: 3 ended one after the other\n"
        "  found: exit code 9\n"
        "  try: look at this machine's free memory, and at what else ends processes"
    )


def test_a_worker_does_not_hear_ctrl_c_before_it_ignores_it(tmp_path: Path) -> None:
    """The mask of a process that starts is that of the fleet at that moment, and then given back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    found = crew(tmp_path, ["one"], work.masked, count=1)["one"]
    assert found["blocked"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before


def test_jobs_wait_for_memory(tmp_path: Path) -> None:
    jobs = [
        {"source": str(need), "target": str(number), "folder": str(tmp_path / str(number))}
        for number, need in enumerate((60, 60, 500, 30, 30))
    ]
    found = list(workers.Crew(3, 100, 2, work.taking).run(jobs))
    assert {result["threads"] for result in found} == {"2"}
    needs = {job["target"]: int(job["source"]) for job in jobs}
    for one in found:
        beside = [other for other in found if other is not one and other["began"] <= one["began"] < other["ended"]]
        assert not beside or needs[one["target"]] + sum(needs[each["target"]] for each in beside) <= 100
    assert len(found) == 5


def test_workers_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "JOBS_EACH", 2)
    found = crew(tmp_path, [f"t{number}" for number in range(5)], work.dying, count=1)
    assert {result["status"] for result in found.values()} == {"done"}


def test_a_job_may_ask_for_memory_twice(tmp_path: Path) -> None:
    """It once waited for ever."""
    found = crew(tmp_path, ["one", "two"], work.asking_twice, count=1)
    assert {result["status"] for result in found.values()} == {"there"}


def test_how_many_jobs_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   10000000 kB\n")
    assert memory.free_bytes(tmp_path / "meminfo", tmp_path) == int(0.8 * 10_240_000_000)
    (tmp_path / "memory.max").write_text("3000000000\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    assert memory.free_bytes(tmp_path / "meminfo", tmp_path) == int(0.8 * 2_000_000_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes(tmp_path / "none", tmp_path) == int(0.8 * 4_000_000_000)
    monkeypatch.setattr(verb, "cores", lambda: 16)
    assert (verb.jobs_at_once("full", 10**9), verb.jobs_at_once("exact", 10**9)) == (2, 12)
    assert verb.jobs_at_once("full", 1) == 1


def test_an_executor_of_the_standard_library(tmp_path: Path) -> None:
    sources = checkpoints(tmp_path / "run", 3)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        fleet = api.fleet(sources, tmp_path / "out", executor=executor, **HEADS)
    assert fleet.counts == {"done": 3}


def test_an_executor_that_breaks_loses_jobs_and_not_the_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "run_job", work.killing_its_worker)
    sources = [tiny.write(tmp_path / "deadly.pth"), tiny.write(tmp_path / "other.pth")]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        fleet = api.fleet(sources, tmp_path / "out", executor=executor, **HEADS)
    assert statuses(fleet)["deadly"] == "killed"
    assert {result["error"]["kind"] for result in fleet.results} == {"BrokenProcessPool"}
    monkeypatch.undo()
    assert api.fleet(sources, tmp_path / "out", **HEADS).counts == {"done": 2}


def test_a_dask_cluster_one_of_whose_workers_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    monkeypatch.setattr(verb, "run_job", work.killing_its_worker)
    sources = [*checkpoints(tmp_path / "run", 5), tiny.write(tmp_path / "deadly.pth")]
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        fleet = api.fleet(sources, tmp_path / "out", executor=client.get_executor(retries=2, pure=False), **HEADS)
    assert fleet.counts == {"done": 6}
    assert (tmp_path / "out" / "deadly.tried").exists()


def test_submitit(tmp_path: Path) -> None:
    import submitit

    executor = submitit.AutoExecutor(folder=tmp_path / "logs", cluster="debug")
    fleet = api.fleet(checkpoints(tmp_path / "run", 2), tmp_path / "out", executor=executor, **HEADS)
    assert fleet.counts == {"done": 2}


def test_the_first_that_fails_stops_the_others_where_that_is_asked(tmp_path: Path) -> None:
    sources = [tmp_path / "none.pth", *checkpoints(tmp_path, 2)]
    fleet = api.fleet(sources, tmp_path / "out", at_once=1, fail_fast=True, **HEADS)
    assert (fleet.counts["refused"], fleet.exit_code) == (1, 1)
    assert set(fleet.counts) <= {"refused", "skipped", "done"}
    assert len(fleet.results) == 3


@pytest.mark.parametrize(
    ("jobs", "options", "message"),
    [
        ("many/c01.pth", {}, "`jobs` takes several checkpoints\n  expected: a list of sources, or of entries with a "
         "`source`\n  found: one str\n  try: `dinoport.fleet(['many/c01.pth'], OUT)`"),
        ({"source": "a.pth"}, {}, "`jobs` takes several checkpoints\n  expected: a list of sources, or of entries with "
         "a `source`\n  found: one dict\n  try: put it in a list"),
        (["a.pth"], {"executor": object()}, "`executor` takes an engine that has `submit`\n  found: a object\n"
         "  try: concurrent.futures.ProcessPoolExecutor(), Client.get_executor() of Dask, or submitit's"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_said_before_anything_runs(tmp_path, jobs, options, message) -> None:
    assert error_text(UsageError, lambda: api.fleet(jobs, tmp_path / "out", **options, **HEADS)) == message
    assert not (tmp_path / "out").exists()


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path, run: Run) -> None:
    sources = checkpoints(tmp_path / "run", 1)
    done = run("fleet", tmp_path / "out", sources[0], tmp_path / "nothing" / "*.pth", "--verify", "exact")
    assert done.code == 1
    assert done.err == (
        f"error: no checkpoint matches the pattern {tmp_path / 'nothing' / '*.pth'}\n"
        "  found: nothing of such a name\n"
        f"  try: ls -l {tmp_path}\n"
        "       in a pattern in quotes, ** stands for any folders\n"
    )


def test_the_listing_names_what_is_done_and_its_page_says_options(tmp_path: Path, run: Run) -> None:
    sources = checkpoints(tmp_path, 2)
    done = run("fleet", tmp_path / "out", *sources, "--num-heads", "2", "--verify", "exact")
    assert "done        2 of 2: step00, step01\n" in done.out
    told = run("fleet", tmp_path / "wide", *sources, "--verify", "exact")
    page = (tmp_path / "wide" / "fleet.html").read_text(encoding="utf-8")
    for text in (told.out, page):
        assert "add --num-heads N" in text
        assert "`num_heads" not in text


def test_one_file_in_two_spellings_is_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    assert api.fleet(["step00.pth", "./step00.pth"], "out", **HEADS).counts == {"done": 1}


def test_usage(tmp_path: Path, run: Run) -> None:
    assert run("fleet", tmp_path / "out").code == 2
    assert run("fleet", tmp_path / "out", "a.pth", "--manifest", "b").code == 2
    assert "--jobs takes a whole number of jobs" in run("fleet", tmp_path / "out", "a.pth", "--jobs", "0").err
    assert "--memory takes a size" in run("fleet", tmp_path / "out", "a.pth", "--memory", "much").err
    assert "--shard takes I/N" in run("fleet", tmp_path / "out", "a.pth", "--shard", "3/2").err
    assert not (tmp_path / "out").exists()


def test_a_log_that_was_cut_off_and_names_that_are_hostile(tmp_path: Path) -> None:
    job = {"source": "<b>", "target": "<script>"}
    append(tmp_path, {**job, "status": "done", "verdict": "equal & <i>"})
    append(tmp_path, {**job, "status": "elsewhere"})
    with (tmp_path / "fleet.jsonl").open("a") as log:
        log.write('{"source": "a", "tar')
    (found,) = last_of_each(tmp_path)
    assert found["status"] == "done"
    page = fleet_page([found], str(tmp_path))
    assert "<script" not in page
    assert "equal &amp; &lt;i&gt;" in page
    assert 'href="%3Cscript%3E/dinoport.json"' in page


def test_a_line_that_follows_one_that_was_cut_off_is_read(tmp_path: Path) -> None:
    (tmp_path / "fleet.jsonl").write_text('{"source": "a", "tar')
    for target in ("a", "b"):
        append(tmp_path, {"source": "x.pth", "target": target, "status": "not equal"})
    assert [result["target"] for result in last_of_each(tmp_path)] == ["a", "b"]


def test_an_index_leads_to_folders_that_are_there_and_waits_for_another_fleets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dinoport.writing.commit import publishing

    for target in ("there", "gone"):
        append(tmp_path, {"source": "x.pth", "target": target, "status": "done"})
    append(tmp_path, {"source": "y.pth", "target": "never", "status": "refused"})
    (tmp_path / "there").mkdir()
    with publishing(tmp_path / "fleet.html", single_file=True) as other:
        monkeypatch.setattr(verb.time, "sleep", lambda seconds: other.path.write_text("older") and other.publish())
        monkeypatch.setattr(verb, "INDEX_TRIES", 1)
        verb._write_index(tmp_path)
        assert (tmp_path / "fleet.html").read_text() == "older"
    verb._write_index(tmp_path)
    page = (tmp_path / "fleet.html").read_text()
    assert ("there/dinoport.json" in page, "gone" in page, "never" in page) == (True, False, True)


def test_an_index_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    sources = checkpoints(tmp_path, 1)
    (tmp_path / "out" / "fleet.html").mkdir(parents=True)
    with pytest.raises(DinoportError, match=r"fleet\.html is a folder; a file is to be written there"):
        api.fleet(sources, tmp_path / "out", **HEADS)
    assert (tmp_path / "out" / "step00" / "dinoport.json").exists()


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def started(out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dinoport", "fleet", str(out), *more, "--num-heads", "2", "--verify", "exact"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(found: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def folders(out: Path) -> list[Path]:
    return [path.parent for path in out.glob("[!.]*/dinoport.json")]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_fleet_of_sixty_whatever_befalls_it(tmp_path: Path) -> None:
    checkpoints(tmp_path / "run", 59)
    (tmp_path / "run" / "hostile.pth").write_bytes(b"\x80\x02cposix\nsystem\n.")
    out, pattern = tmp_path / "out", str(tmp_path / "run" / "*.pth")
    first = started(out, pattern, "--jobs", "2")
    for count in (5, 10):
        until(lambda count=count: len(folders(out)) >= count)
        for child in children(first.pid):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
                break
    until(lambda: len(folders(out)) >= 15)
    assert first.poll() is None
    first.kill()
    first.communicate()
    then = {path: (path / "dinoport.json").stat().st_mtime_ns for path in folders(out)}
    two = [started(out, pattern, "--jobs", "2") for _ in range(2)]
    for each in two:
        each.communicate(timeout=120)
    # The hostile one is refused; by one alone, where the other finds it at that.
    assert 1 in {each.returncode for each in two} <= {0, 1}
    assert len(folders(out)) == 59
    assert {path.name for path in out.iterdir() if path.name.startswith(".")} == set()
    assert all((path / "dinoport.json").stat().st_mtime_ns == made for path, made in then.items())
    made = [
        line["target"]
        for line in map(json.loads, (out / "fleet.jsonl").read_text().splitlines())
        if line["status"] == "done"
    ]
    assert len(made) == len(set(made))
    flip(out / "step07" / "model.safetensors")
    last = started(out, pattern, "--recheck")
    text, _ = last.communicate(timeout=120)
    assert last.returncode == 3
    assert "not equal   1 of 60" in text
    assert "there       58 of 60" in text


def test_ctrl_c_takes_back_what_runs_and_keeps_what_is_done(tmp_path: Path) -> None:
    checkpoints(tmp_path / "run", 40)
    out = tmp_path / "out"
    fleet = started(out, str(tmp_path / "run" / "*.pth"), "--jobs", "2")
    until(lambda: len(folders(out)) >= 3)
    fleet.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, said = fleet.communicate(timeout=20)
    assert time.monotonic() - begun < 10
    assert fleet.returncode == 130
    assert f"interrupted: what was done stays in {out}; the same command goes on" in said
    assert "Traceback" not in said
    assert {path.name for path in out.iterdir() if path.name.startswith(".")} == set()
    assert len(folders(out)) >= 3
    assert (out / "fleet.html").exists()


UNGUARDED = """
import dinoport
dinoport.fleet(["a.pth"], "out", level="exact")
"""


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the fleet's workers do not start" in done.stderr
    assert '__name__ == "__main__"' in done.stderr
