"""`dinoport.load`: a model that is ready to run, converted once and kept; and reports as a notebook shows them."""

import copy
import dataclasses
import errno
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import dinoport
from dinoport.errors import FolderError, MissingPackageError, NotProvenError, UsageError
from dinoport.work import load as loading
from tests import tiny

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DINOPORT_CACHE", str(tmp_path / "cache"))
    return tiny.write(tmp_path / "checkpoint.pth")


def test_a_source_becomes_a_model_and_its_processor(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = dinoport.load(source, tiny.REQUEST)
    model, processor = loaded
    assert type(model).__name__ == loaded.report["model"]["class"] == "ViTModel"
    assert not model.training
    assert type(processor).__name__.startswith("BitImageProcessor")
    assert loaded.verdict.startswith("transported exactly")
    assert capsys.readouterr().err == f"dinoport: {loaded.verdict}\n"
    assert [*loaded.folder.parent.iterdir()] == [loaded.folder], "no lock is left beside it"
    assert repr(loaded) == f"<ViTModel: {loaded.verdict}>"


def test_the_second_time_nothing_is_converted(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = dinoport.load(source, tiny.REQUEST).folder
    capsys.readouterr()
    monkeypatch.setattr(loading, "convert_place", lambda *given, **more: pytest.fail("it was converted again"))
    again = dinoport.load(source, tiny.REQUEST)
    assert again.folder == first
    assert capsys.readouterr().err == ""
    assert type(again.model).__name__ == "ViTModel"


def test_a_cache_that_takes_no_file_gives_out_what_is_there_and_says_what_is_wrong(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is mounted to be read alone, where not even a lock can be written."""
    import filelock

    def refuse(self: object, timeout: float | None = None) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    first = dinoport.load(source, tiny.REQUEST).folder
    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert dinoport.load(source, tiny.REQUEST).folder == first
    other = shutil.copy(source, tmp_path / "other.pth")
    with pytest.raises(FolderError, match="read-only file system") as refused:
        dinoport.load(other, tiny.REQUEST)
    assert refused.value.next_step


def test_a_folder_that_another_run_compares_is_waited_for(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That run finds it unequal, and removes it."""
    folder = dinoport.load(source, tiny.REQUEST).folder

    @contextmanager
    def after_the_other(target: Path, on_waiting: object) -> Iterator[None]:
        shutil.rmtree(target)
        yield

    monkeypatch.setattr("dinoport.files.remote.download.alone", after_the_other)
    assert dinoport.load(source, tiny.REQUEST).folder == folder
    assert (folder / "dinoport.json").exists()


@pytest.mark.parametrize("change", ["bytes", "time", "request", "level", "version", "place"])
def test_whatever_is_another_is_another_folder(source: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    monkeypatch.setattr("dinoport.files.byte_sources.EDGE_BYTES", 64)  # as of a file of more than two MiB
    first = dinoport.load(source, tiny.REQUEST).folder
    status, request, level = source.stat(), tiny.REQUEST, "exact"
    if change == "bytes":
        content = bytearray(source.read_bytes())
        content[len(content) // 2] ^= 1
        source.write_bytes(content)
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
        monkeypatch.setattr("dinoport.api.convert", lambda given, folder, *rest, **more: shutil.copytree(first, folder))
    elif change == "time":
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    elif change == "request":
        request = dinoport.Request(**{**tiny.REQUEST.to_dict(), "dtype": "float16"})
    elif change == "level":
        level = "none"
    elif change == "version":
        monkeypatch.setattr(loading, "__version__", "another")
    else:
        source = Path(shutil.copy2(source, source.with_name("copy.pth")))
    assert dinoport.load(source, request, level=level).folder != first


def test_a_file_of_labels_that_changes_makes_another_folder(source: Path, tmp_path: Path) -> None:
    from dinoport.formats.torch.writer import write_torch_file
    from tests import formula
    from tests.writing.stub_tensors import tensor

    shapes = {"linear.weight": (2, tiny.ARCHITECTURE.width), "linear.bias": (2,)}
    write_torch_file(
        tmp_path / "head.pth", [tensor(name, formula.tensor(name, shape)) for name, shape in shapes.items()]
    )
    folders = []
    for words in (["cat", "dog"], ["cow", "pig"]):
        (tmp_path / "labels.json").write_text(json.dumps(words))
        asked = {"head": tmp_path / "head.pth", "labels": str(tmp_path / "labels.json")}
        loaded = dinoport.load(source, tiny.REQUEST, **asked)
        assert set(loaded.model.config.id2label.values()) == set(words)
        folders.append(loaded.folder)
    assert folders[0] != folders[1]


@pytest.mark.parametrize("damage", ["a bit", "a config that is cut off", "a file that is gone"])
def test_a_folder_that_was_changed_is_told_where_it_is_asked_for_and_given_to_nobody(source: Path, damage: str) -> None:
    folder = dinoport.load(source, tiny.REQUEST).folder
    weights = (folder / "model.safetensors").read_bytes()
    if damage == "a bit":
        (folder / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    elif damage == "a config that is cut off":
        (folder / "config.json").write_text("{")
    else:
        (folder / "model.safetensors").unlink()
    dinoport.load(source, tiny.REQUEST)
    with pytest.raises(NotProvenError, match="is not equal to it any more, and was removed") as told:
        dinoport.load(source, tiny.REQUEST, recheck=True)
    assert told.value.where == str(folder)
    assert told.value.found
    again = dinoport.load(source, tiny.REQUEST)
    assert (again.folder / "model.safetensors").read_bytes() == weights


def test_a_removal_that_is_stopped_leaves_nothing_that_is_given_out(source: Path, monkeypatch) -> None:
    folder = dinoport.load(source, tiny.REQUEST).folder
    (folder / "config.json").write_text("{")

    def stopped(path: Path, **options: bool) -> None:
        if path.exists():
            (path / "dinoport.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dinoport.work.load.shutil.rmtree", stopped)
        with pytest.raises(KeyboardInterrupt):
            dinoport.load(source, tiny.REQUEST, recheck=True)
    assert not folder.exists()
    assert dinoport.load(source, tiny.REQUEST).folder == folder
    (folder / "config.json").write_text("{")
    with pytest.raises(NotProvenError):
        dinoport.load(source, tiny.REQUEST, recheck=True)
    assert [path for path in folder.parent.iterdir() if path.is_dir()] == []


def test_only_models_of_transformers_are_loaded(source: Path) -> None:
    with pytest.raises(UsageError) as refused:
        dinoport.load(source, to="original")
    assert str(refused.value) == ("`load` loads models of Transformers\n  found: to='original'\n  try: leave `to` out")


@pytest.mark.parametrize("kind", [ImportError, ValueError])
def test_a_processor_that_needs_torchvision_says_so(
    source: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """Transformers 5 raises the one, Transformers 4 the other."""

    def refuse(*given: object, **more: object) -> None:
        raise kind("requires the Torchvision library")

    loaded = dinoport.load(source, tiny.REQUEST)
    monkeypatch.setattr("transformers.AutoImageProcessor.from_pretrained", refuse)
    monkeypatch.setattr("dinoport.shown.packages.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError) as refused:
        loaded.processor  # noqa: B018  # the property is what is tried
    assert str(refused.value) == (
        "the image processor of this model needs torchvision (not installed)\n"
        "  try: for the version that fits your torch: pip install torchvision\n"
        "       `loaded.model` needs none"
    )
    assert loaded.model is not None


def test_a_report_is_plain_data_and_prints_as_the_terminal_does(source: Path, tmp_path: Path) -> None:
    report = dinoport.convert(source, tmp_path / "out", tiny.REQUEST, level="exact")
    for again in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report)):  # noqa: S301  # our own bytes
        assert again == report
        assert again.to_dict() == report.to_dict()
    (file, *others), changed = report.files, {"hashed": "another hash"}
    assert dataclasses.replace(report, files=(dataclasses.replace(file, **changed), *others)) != report
    assert dinoport.load(source, tiny.REQUEST).report.keys() == report.to_dict().keys()
    assert str(report).startswith("verdict     transported exactly")
    html = report._repr_html_()
    assert html.startswith(f"<details><summary>{report.verdict}")
    assert "<pre>verdict     transported" in html


def test_every_public_name_is_seen() -> None:
    assert dir(dinoport) == sorted(dinoport.__all__)
    assert all(getattr(dinoport, name) is not None for name in dinoport.__all__)
