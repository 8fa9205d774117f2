"""A SOURCE by name: taken from torch.hub's cache, downloaded into it, or refused in words."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from dinoport import api
from dinoport.codebases.published_names import PUBLISHED, published
from dinoport.errors import CheckpointError, DinoportError, SettingError, UnknownModelError
from dinoport.files.remote.caches import own_cache, torch_hub_checkpoints
from dinoport.finding.sources import locate, locate_head
from dinoport.request import Request
from tests.error_text import error_text
from tests.goldens import FOLDER
from tests.http_server import Site, status
from tests.published_site import published_at_home

BACKBONE = (FOLDER / "dino1" / "tiny32" / "checkpoint.pth").read_bytes()
HEAD = (FOLDER / "dino1" / "tiny32" / "linear_n1avg.pth.tar").read_bytes()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    with published_at_home(monkeypatch, tmp_path / "torch", BACKBONE, HEAD) as running:
        yield running


@pytest.fixture
def cache(site: Site) -> Path:
    folder = torch_hub_checkpoints()
    folder.mkdir(parents=True)
    return folder


def test_a_name_is_downloaded_into_the_cache_of_torch_hub(site: Site, tmp_path: Path) -> None:
    located = locate("dino_vits16")
    assert located.path == tmp_path / "torch" / "hub" / "checkpoints" / "dino_deitsmall16_pretrain.pth"
    assert located.path.read_bytes() == BACKBONE
    assert located.published is not None
    assert located.published.licence == "apache-2.0"
    folder = located.path.parent
    address = site.url("dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth")
    assert located.remarks == (f"dino_vits16 is {address}, kept in {folder}",)


def test_what_torch_hub_has_cached_is_used(site: Site, cache: Path) -> None:
    (cache / "dinov2_vitb14_reg4_pretrain.pth").write_bytes(BACKBONE)
    assert locate("dinov2_vitb14_reg").path.read_bytes() == BACKBONE
    assert site.requests == []


def test_nothing_vouches_for_a_cached_file_without_a_hash(site: Site, cache: Path) -> None:
    (cache / "dino_deitsmall16_pretrain.pth").write_bytes(BACKBONE)
    located = locate("dino_vits16")
    assert located.genuine("dino") is None
    address = site.url("dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth")
    assert located.remarks == (
        f"dino_vits16 is {address}, taken from torch.hub's cache, {cache}, where nothing vouches for it",
    )


@pytest.mark.parametrize(
    ("size", "cause"), [(80, "a download that broke off"), (10**8, "another file of the same name")]
)
def test_a_cached_file_of_another_size_is_refused(site: Site, cache: Path, size: int, cause: str) -> None:
    file = cache / "dino_deitsmall16_pretrain.pth"
    with file.open("wb") as cached:
        cached.truncate(size)
    assert re.sub(r"\d+\.\d ", "N ", error_text(CheckpointError, lambda: locate("dino_vits16"))) == (
        f"{file} is not the file that was published as dino_vits16\n  expected: N MB, or little more\n"
        f"  found: {'80 bytes' if size == 80 else 'N MB'}\n  likely cause: {cause}\n"
        f"  try: delete it, and fetch it again: rm {file}\n       `dinoport.convert('dino_vits16', FOLDER)`"
    )
    assert site.requests == []


def test_a_cached_file_of_a_training_run_is_larger_than_its_model(site: Site, cache: Path) -> None:
    """Its published size is the model's: a second use was refused once, and the file fetched again without end."""
    model = published("msn_vits16")
    assert model is not None
    file = cache / model.file_name
    for size, fits in ((model.size_bytes * 7, True), (model.size_bytes - 1, False)):
        with file.open("wb") as cached:
            cached.truncate(size)
        with nullcontext() if fits else pytest.raises(CheckpointError, match="a download that broke off"):
            assert locate(model.name).path == file
    assert site.requests == []


def test_what_this_run_downloaded_is_genuine(site: Site) -> None:
    located = locate("dino_vits16")
    assert located.genuine("dino") is located.published is not None


def test_a_cached_file_with_another_hash_is_refused(site: Site, cache: Path) -> None:
    file = cache / "dinov3_vits16_pretrain_lvd1689m-08c60483.pth"
    file.write_bytes(b"something else")
    assert error_text(CheckpointError, lambda: locate("dinov3_vits16")) == (
        f"{file} is not the file that was published under this name\n"
        "  expected: a SHA-256 that begins with 08c60483\n"
        f"  found: {hashlib.sha256(b'something else').hexdigest()[:8]}\n"
        "  likely cause: a damaged download, or a file that someone put in its place\n"
        "  try: delete it, and fetch it again"
    )


def test_a_file_on_disk_wins_and_says_so(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dino_vits16").write_bytes(b"mine")
    located = locate("dino_vits16")
    assert located.path == Path("dino_vits16")
    assert located.remarks == ("dino_vits16 was taken from disk, though a published model has the same name",)
    assert site.requests == []


def test_an_error_page_is_not_kept(site: Site) -> None:
    site.script = [status(200, b"<!DOCTYPE html><html>Please log in to the guest network</html>")]
    assert error_text(CheckpointError, lambda: locate("dino_vits8")) == (
        f"{site.url('dino/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth')} "
        "did not give a checkpoint, and what came was not kept\n"
        "  expected: a torch file, or a safetensors file\n"
        "  found: a web page: '<!DOCTYPE html><html>Please log in to the guest network</html>'\n"
        "  likely cause: an error page of the server, or of a proxy on the way to it\n"
        "  try: open the address in a browser"
    )
    assert list(torch_hub_checkpoints().iterdir()) == []


@pytest.mark.parametrize("code", [401, 403])
def test_a_gated_model_says_how_to_get_it(site: Site, code: int) -> None:
    site.script = [status(code, b"<Error>AccessDenied</Error>")]
    with pytest.raises(CheckpointError) as caught:
        locate("dinov3_vitl16_sat493m")
    name = "dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth"
    assert str(caught.value) == (
        f"dinov3_vitl16_sat493m is gated: {site.url('dinov3/dinov3_vitl16/' + name)} is refused\n"
        f"  found: HTTP status {code}\n"
        "  likely cause: Meta gives DINOv3's weights out on request, under addresses that it sends by e-mail\n"
        "  try: ask for access at https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/, "
        f"download {name}, then\n"
        f"       `dinoport.convert({name!r}, FOLDER)`\n"
        f"       or put the file into {torch_hub_checkpoints()} and use the name"
    )


@pytest.mark.parametrize("name", ["dino_xcit_small_12_p16", "dino_xcit_medium_24_p8"])
def test_xcit_is_refused_before_any_download(site: Site, name: str) -> None:
    assert error_text(UnknownModelError, lambda: locate(name)) == (
        f"{name} cannot be converted, and was not downloaded\n"
        "  likely cause: Transformers has no class for XCiT; "
        "timm has one (xcit_small_12_p16_224.fb_dino and others)\n"
        "  try: look into the list of what can be converted: dinoport models"
    )
    assert site.requests == []


@pytest.mark.parametrize(
    ("name", "backbone", "reason"),
    [
        ("dinov2_vitb14_reg_lc", "dinov2_vitb14_reg", "the classifier over four blocks"),
        ("dinov2_vits14_ld", "dinov2_vits14", "a linear depth estimator"),
        ("dinov3_vit7b16_lc", "dinov3_vit7b16", "no DINOv3 class that classifies images"),
        ("dinov2_vitl14_reg4_dinotxt_tet1280d20h24l", "dinov2_vitl14", "vision and text towers"),
    ],
)
def test_other_entries_of_torch_hub_name_their_backbone(name: str, backbone: str, reason: str) -> None:
    with pytest.raises(UnknownModelError, match=reason) as caught:
        published(name)
    assert caught.value.next_step == f"convert its backbone, {backbone}"


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("dino_vits61", "dino_vits16"),
        ("dinov2-vitb14", "dinov2_vitb14"),
        ("dinov2-base", "dinov2_vitb14"),
        ("DINOv3_ViTS16", "dinov3_vits16"),
    ],
)
def test_a_name_that_is_nearly_right(name: str, close: str) -> None:
    message = error_text(UnknownModelError, lambda: locate(name))
    assert message.startswith(f"{name} is neither a file nor a published name\n  did you mean: {close}")
    assert message.endswith("\n  try: look into the list of published names: dinoport models")


def test_a_path_that_does_not_exist_is_no_name() -> None:
    assert published("runs/dino.pth") is None
    assert published("checkpoint.pth") is None
    with pytest.raises(CheckpointError, match="No such file"):
        locate("runs/dino.pth").open()


def test_the_published_classifier_is_fetched_too(site: Site) -> None:
    head = locate_head("imagenet", locate("dino_vitb16"))
    assert head.path.name == "dino_vitbase16_linearweights.pth"
    assert head.path.read_bytes() == HEAD
    assert [path for path, _ in site.requests] == [
        "/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        "/dino/dino_vitbase16_pretrain/dino_vitbase16_linearweights.pth",
    ]


def test_the_published_file_is_known_by_its_name(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "dinov2_vits14_pretrain.pth"
    file.write_bytes(BACKBONE)
    head = locate_head("imagenet", locate(file))
    assert head.path.name == "dinov2_vits14_linear_head.pth"


def test_a_vit_s_has_no_classifier_to_convert(site: Site) -> None:
    assert error_text(SettingError, lambda: locate_head("imagenet", locate("dino_vits16"))) == (
        "there is no ImageNet classifier for dino_vits16 that can be converted\n"
        "  likely cause: the published classifier of a ViT-S takes the CLS tokens of the last four blocks, "
        "which no class of Transformers or timm computes\n"
        "  try: leave `head` out"
    )


def test_imagenet_goes_with_a_published_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(BACKBONE)
    assert error_text(SettingError, lambda: locate_head("imagenet", locate(file))) == (
        "`head='imagenet'` needs a published model, and this source is not one\n"
        "  expected: a published name, or its file under the name that it was published with\n"
        f"  found: {file}\n"
        "  try: give the head's own file: `head=FILE`"
    )


def test_a_look_downloads_nothing(site: Site) -> None:
    found = api.inspect("dino_vitb16", Request(num_heads=2, head="imagenet"))
    assert found.plan is not None
    base = site.url("dino/dino_vitbase16_pretrain/dino_vitbase16")
    assert f"dino_vitb16 is {base}_pretrain.pth, looked at where it is" in found.plan.remarks
    assert f"the classifier is {base}_linearweights.pth, looked at where it is" in found.plan.remarks
    assert site.sent_bytes < len(BACKBONE) / 4
    assert not torch_hub_checkpoints().exists()
    planned = api.plan("dino_vitb16", Request(num_heads=2))
    assert planned.remarks[0].endswith("looked at where it is")


def test_a_published_address_is_not_read_from_a_cache(site: Site) -> None:
    """It carries a licence, so what lies in a cache will not do, even where the server gives no ranges."""
    site.ranges = False
    address = site.url("dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth")
    located = locate(address)
    assert located.genuine("dino") is not None
    for _ in range(2):
        located.open().close()
        (cached,) = own_cache().glob("downloads/*/*.pth")
        assert cached.read_bytes() == BACKBONE
        cached.write_bytes(HEAD)


def test_a_look_at_a_gated_model_says_how_to_get_it(site: Site) -> None:
    site.script = [status(403)]
    with pytest.raises(CheckpointError, match="dinov3_vits16 is gated"):
        api.inspect("dinov3_vits16")


def test_names_are_unique_and_files_too() -> None:
    assert len({model.name for model in PUBLISHED}) == len(PUBLISHED)
    assert len({model.file_name for model in PUBLISHED}) == len(PUBLISHED)
    assert len({model.head_url for model in PUBLISHED if model.head_url}) == 11


@pytest.mark.parametrize(
    ("variables", "hub", "own"),
    [
        ({"TORCH_HOME": "/a"}, "/a/hub/checkpoints", None),
        ({"XDG_CACHE_HOME": "/b"}, "/b/torch/hub/checkpoints", "/b/dinoport"),
        ({"HOME": "/c"}, "/c/.cache/torch/hub/checkpoints", "/c/.cache/dinoport"),
        ({"DINOPORT_CACHE": "/d"}, None, "/d"),
    ],
)
def test_caches_are_where_torch_hub_looks(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], hub: str | None, own: str | None
) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME", "DINOPORT_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hub is None or torch_hub_checkpoints() == Path(hub)
    assert own is None or own_cache() == Path(own)


def test_the_rule_of_torch_hub_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("torch.hub")
    for home in ("/x", None):
        monkeypatch.delenv("TORCH_HOME", raising=False)
        if home:
            monkeypatch.setenv("TORCH_HOME", home)
        assert torch_hub_checkpoints() == Path(hub.get_dir()) / "checkpoints"


def test_every_refusal_is_an_error_that_users_see() -> None:
    for model in PUBLISHED:
        if model.refusal:
            with pytest.raises(DinoportError):
                published(model.name)
