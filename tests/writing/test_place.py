import os
from pathlib import Path

import pytest

from dinoport.errors import FolderError
from dinoport.writing.place import Place, refuse_overlap


def check(target: Path, **options: bool) -> None:
    place = Place.of(target)
    place.check_precious()
    place.check(**{"force": True, **options})


def refusal(target: str | Path, **options: bool) -> str:
    with pytest.raises(FolderError) as caught:
        check(Path(target), **options)
    return str(caught.value)


def test_a_new_name_is_free(tmp_path):
    check(tmp_path / "out", force=False)


def test_an_existing_folder_needs_force(tmp_path):
    (tmp_path / "out").mkdir()
    assert refusal(tmp_path / "out", force=False) == (
        f"{tmp_path / 'out'} exists\n"
        f"  where: {tmp_path / 'out'}\n"
        "  found: a folder\n"
        "  try: choose another name, or replace it with `force`"
    )
    Place.of(tmp_path / "out").check(force=True)


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "out").write_bytes(b"mine")
    assert refusal(tmp_path / "out") == (
        f"{tmp_path / 'out'} is a file; a folder is to be written there\n"
        f"  where: {tmp_path / 'out'}\n"
        "  try: choose another name"
    )
    Place.of(tmp_path / "out").check(force=True, single_file=True)


def test_a_folder_or_a_device_in_the_place_of_a_file(tmp_path):
    assert refusal(tmp_path, single_file=True).startswith(f"{tmp_path} is a folder; a file is to be written there\n")
    assert refusal(os.devnull, single_file=True).startswith(f"{os.devnull} is neither file nor folder; a file is to be")


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert Place.of(tmp_path / "link").path == tmp_path / "real"
    assert refusal(tmp_path / "link", force=False).startswith(f"{tmp_path / 'link'} exists\n")


def test_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "link").symlink_to("gone")
    assert refusal(tmp_path / "link") == (
        f"{tmp_path / 'link'} is a symbolic link that leads nowhere\n"
        f"  where: {tmp_path / 'link'}\n"
        "  found: a link to gone\n"
        "  try: remove the link, or choose another name"
    )


def test_a_git_repository_is_not_replaced(tmp_path):
    (tmp_path / "out" / ".git").mkdir(parents=True)
    assert refusal(tmp_path / "out") == (
        f"{tmp_path / 'out'} is a git repository; `force` would delete its history\n"
        f"  where: {tmp_path / 'out'}\n"
        "  try: convert into another folder, then copy the files"
    )


@pytest.mark.parametrize("force", [False, True])
def test_where_the_user_is_cannot_be_replaced(tmp_path, monkeypatch, force):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert refusal(".", force=force) == (
        f". is the current folder\n  where: {tmp_path / 'a' / 'b'}\n  try: name a new folder inside it"
    )
    assert refusal(tmp_path / "a", force=force).startswith(f"{tmp_path / 'a'} is a folder above the current one\n")
    assert refusal("..", force=force).startswith(".. is a folder above the current one\n")


def test_home_and_root_cannot_be_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home" / "me"))
    (tmp_path / "home" / "me").mkdir(parents=True)
    assert refusal(tmp_path / "home" / "me").startswith(
        f"{tmp_path / 'home' / 'me'} is your home folder, or above it\n"
    )
    assert refusal(tmp_path / "home").startswith(f"{tmp_path / 'home'} is your home folder, or above it\n")
    assert refusal(Path(tmp_path.anchor)).startswith(f"{tmp_path.anchor} is the root of a disk\n")


def test_a_mounted_disk_cannot_be_replaced(mounted):
    disk = mounted()
    assert refusal(disk).startswith(f"{disk} is a mounted disk, which cannot be replaced as a whole\n")


def test_the_names_beside_a_target(tmp_path):
    place = Place.of(tmp_path / "out.v1")
    names = [path.name for path in (place.lock, place.new, place.old, place.discarded, place.unproven.path)]
    assert names == [
        ".out.v1.dinoport-lock",
        ".out.v1.dinoport-new",
        ".out.v1.dinoport-old",
        ".out.v1.dinoport-discarded",
        "out.v1.unproven",
    ]


class TestOverlap:
    def refusal(self, source, target) -> str:
        with pytest.raises(FolderError) as caught:
            refuse_overlap(Path(source), Path(target))
        return str(caught.value)

    def test_a_target_that_holds_the_source(self, tmp_path):
        source = tmp_path / "out" / "deep" / "a.pth"
        source.parent.mkdir(parents=True)
        source.touch()
        assert self.refusal(source, tmp_path / "out") == (
            f"{tmp_path / 'out'} holds the source\n  where: {source}\n  try: choose a target elsewhere"
        )

    def test_one_file_or_folder_for_both(self, tmp_path):
        (tmp_path / "a.pth").touch()
        (tmp_path / "hard.pth").hardlink_to(tmp_path / "a.pth")
        (tmp_path / "link").symlink_to(tmp_path)
        for target in (tmp_path / "a.pth", tmp_path / "hard.pth", tmp_path / "link" / "a.pth"):
            assert "is the source itself\n" in self.refusal(tmp_path / "a.pth", target)
        assert "is the source itself\n" in self.refusal(tmp_path, tmp_path / "link")

    def test_a_target_inside_a_source_folder(self, tmp_path):
        assert self.refusal(tmp_path, tmp_path / "new" / "out").startswith(
            f"{tmp_path / 'new' / 'out'} lies inside the source, which is only read\n"
        )

    def test_neighbours_do_not_overlap(self, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "a.pth").touch()
        (tmp_path / "run-2").mkdir()
        refuse_overlap(tmp_path / "run" / "a.pth", tmp_path / "run" / "out")
        refuse_overlap(tmp_path / "run", tmp_path / "run-2")
        refuse_overlap(tmp_path / "run", tmp_path / "ru")
        refuse_overlap(Path("dino_vits16"), tmp_path)
        refuse_overlap(Path("https://example.org/a.pth"), tmp_path)
