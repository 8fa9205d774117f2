"""The config.yaml of a training run whose checkpoint is at an address."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from dinoport import api
from dinoport.files.remote import patience
from dinoport.formats.remote.opening import find_run_config, open_remote
from dinoport.formats.run_config import MAX_BYTES
from dinoport.request import Request
from tests.goldens import FOLDER
from tests.http_server import Handler, Site, status
from tests.hub import Hub, hub_at_home

V2 = FOLDER / "dinov2" / "trained_a"
HEADS = Request(num_heads=2)
MINIMAL = b"student: {arch: vit_small, patch_size: 14}\nteacher: {}\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINOPORT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_at_home(monkeypatch, tmp_path / "hub") as running:
        yield running


def asked(site: Site) -> list[str]:
    return [path for path, _ in site.requests]


@pytest.mark.parametrize("place", ["out/config.yaml", "out/eval/training_9/config.yaml"])
def test_it_is_used_as_that_of_a_file(site: Site, tmp_path: Path, place: str) -> None:
    site.files["out/eval/training_9/teacher_checkpoint.pth"] = (V2 / "teacher_checkpoint.pth").read_bytes()
    site.files[place] = (V2 / "config.yaml").read_bytes()
    remote = api.convert(
        site.url("out/eval/training_9/teacher_checkpoint.pth"), tmp_path / "remote", HEADS, level="exact"
    )
    local = api.convert(V2 / "teacher_checkpoint.pth", tmp_path / "local", HEADS, level="exact")
    assert remote.settings == local.settings
    assert any("config.yaml" in setting.reason for setting in remote.settings)
    for name in ("config.json", "preprocessor_config.json"):
        assert (tmp_path / "remote" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


@pytest.mark.parametrize(
    ("source", "places"),
    [
        ("out/model_final.rank_0.pth", ["/out/config.yaml"]),
        ("checkpoint.pth", ["/config.yaml"]),
        ("out/eval/training_9/teacher_checkpoint.pth", ["/out/eval/training_9/config.yaml", "/out/config.yaml"]),
        ("out/ckpt/9/", ["/out/ckpt/9/config.yaml", "/out/ckpt/config.yaml", "/out/config.yaml"]),
        ("out/ckpt/9/?sig=a", [f"/out/{place}config.yaml?sig=a" for place in ("ckpt/9/", "ckpt/", "")]),
        ("out/checkpoint.pth?sig=a", []),
    ],
)
def test_where_it_is_looked_for(site: Site, source: str, places: list[str]) -> None:
    assert find_run_config(site.url(source)) is None
    assert asked(site) == places


def test_one_of_another_code_is_none(site: Site) -> None:
    site.files |= {"out/config.yaml": MINIMAL, "out/ckpt/9/config.yaml": b"model: vit\n"}
    found = find_run_config(site.url("out/ckpt/9/"))
    assert found is not None
    assert (found.where, found.text("student.arch")) == (site.url("out/config.yaml"), "vit_small")


def test_a_refusal_is_noted_and_stops_nothing(site: Site, tmp_path: Path) -> None:
    site.files["run/checkpoint.pth"] = (V2 / "teacher_checkpoint.pth").read_bytes()

    def refuse(handler: Handler) -> bool:
        return handler.path == "/run/config.yaml" and status(403)(handler)

    site.always = refuse
    report = api.convert(site.url("run/checkpoint.pth"), tmp_path / "folder", HEADS, level="exact")
    assert f"{site.url('run/config.yaml')} was not read: HTTP status 403" in report.remarks


def test_a_server_that_fails_for_good(site: Site, waits: list[float]) -> None:
    site.script = [status(500)] * 10
    found = find_run_config(site.url("run/checkpoint.pth"))
    assert found is not None
    assert found.problem == "the server answers 500"
    assert len(waits) == len(patience.WAITS_SECONDS)


def test_one_that_is_too_large_is_not_read_to_its_end(site: Site) -> None:
    site.files["run/config.yaml"] = b"#" * 50_000_000
    found = find_run_config(site.url("run/checkpoint.pth"))
    assert found is not None
    assert (found.problem, found.values) == (f"more than the {MAX_BYTES} bytes that are sound", {})


def test_a_web_page_in_its_place(site: Site) -> None:
    site.files["run/config.yaml"] = b"<html><body>Page not found</body></html>"
    found = find_run_config(site.url("run/checkpoint.pth"))
    assert found is not None
    assert found.problem == "it holds no settings"


def test_a_repository_of_the_hub(hub: Hub) -> None:
    hub.commit("a", {"config.yaml": MINIMAL, "eval/9/teacher_checkpoint.pth": b""}, "v1")
    found = find_run_config("hf://owner/repo@v1/eval/9/teacher_checkpoint.pth")
    assert found is not None
    assert found.text("student.arch") == "vit_small"
    assert hub.asked()[:2] == ["v1/eval/9/config.yaml", "v1/config.yaml"]


def test_a_store() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/out/config.yaml", MINIMAL)
    store.pipe("/bucket/out/teacher_checkpoint.pth", (V2 / "teacher_checkpoint.pth").read_bytes())
    try:
        with open_remote("memory://bucket/out/teacher_checkpoint.pth") as checkpoint:
            assert checkpoint.run is not None
            assert checkpoint.run.text("student.arch") == "vit_small"
        assert find_run_config("memory://bucket/other/teacher_checkpoint.pth") is None
    finally:
        store.rm("/bucket", recursive=True)


def test_a_published_model_has_no_run(site: Site) -> None:
    site.files["dino/a.pth"] = (V2 / "teacher_checkpoint.pth").read_bytes()
    open_remote(site.url("dino/a.pth"), fresh=True).close()
    assert set(asked(site)) == {"/dino/a.pth"}
