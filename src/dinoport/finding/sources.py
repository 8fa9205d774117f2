"""The one place that says what a SOURCE is: a path, a published name, an address, or an object in memory."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from dinoport.codebases.published import PublishedModel, file_name, sha256_prefix
from dinoport.errors import CheckpointError, SettingError
from dinoport.files.address import Address, refuse_empty
from dinoport.files.byte_sources import unreadable
from dinoport.files.remote.caches import torch_hub_checkpoints
from dinoport.finding.meant import open_meant
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.live import Live
from dinoport.formats.run_folder import SeveralError, iterations
from dinoport.progress import Progress, silent
from dinoport.shown.address import is_address, shown_source
from dinoport.shown.calls import FOLDER, Unnamed, runnable
from dinoport.shown.text import as_word
from dinoport.tensor import size_text

IMAGENET = "imagenet"
"""The value of --head that means: the linear classifier that was published for this model."""

BEGINNINGS = (
    *("dino", "mae_", "deit_", "msn_", "moco_v3_", "ijepa_", "franca_", "webssl_", "tips_v2_"),
    *("vits16_", "vitb16_", "vitl16_", "vitb4_", "vitl7_", "vit-s-", "vit-b-", "linear-vit-", "IN1K-", "IN22K-"),
)
"""How published models and their files are called, from their beginning."""

UNVOUCHED = "where nothing vouches for it"
"""Any file may lie in torch.hub's cache under a published name: these carry no hash, or the first 32 bits of one."""

SMALLEST_REST = 1_000_000
"""Bytes that names and records may take besides the tensors of a published file."""

FILE_ENDINGS = (".pth", ".pt", ".safetensors", ".bin", ".ckpt", ".tar", ".pkl")
"""What no model of the Hub is called like."""

DINOV3_ACCESS = "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/"


class PublishedName(str):
    """A published name that is meant as one, whatever on disk has the same name."""

    __slots__ = ()


@dataclass(frozen=True)
class Located:
    """What a source turned out to be: a path, an address, or `live`, an object in memory.

    `shown` is what to call it: an address may hold secrets.

    `published` is the model whose name, or whose file's name, was given. `fetched` says that this run has the file, all
    of it, from its published address over HTTPS. That a file is called so, or lies in a cache under that name, does not
    count, nor does the hash in its name: 32 bits can be matched. With `looked_at` nothing is downloaded whole.
    """

    shown: str
    path: Path | None = None
    url: str = ""
    published: PublishedModel | None = None
    remarks: tuple[str, ...] = ()
    fetched: bool = False
    looked_at: bool = False
    live: Live | None = None

    def genuine(self, family: str) -> PublishedModel | None:
        """The published model that this is beyond doubt: by where it came from. `family` is what its tensors say."""
        return self.published if self.fetched and self.published and self.published.family == family else None

    def open(self, on_progress: Progress = silent) -> Checkpoint:
        """Open it. The caller closes the checkpoint. Raises CheckpointError."""
        if self.live is not None:
            return self.live.open()
        if self.path is not None:
            return _told(open_meant(self.path))
        from dinoport.formats.remote.opening import open_remote

        with _gating(self.published if self.fetched else None):
            return _told(open_remote(self.url, on_progress, fresh=self.fetched))


def _told(checkpoint: Checkpoint) -> Checkpoint:
    """With the class that its tensors show, where it is a folder of Transformers."""
    if checkpoint.config is None:
        return checkpoint
    from dinoport.codebases.transformers.told_class import with_class

    return with_class(checkpoint)


def locate(
    source: str | Path, on_progress: Progress = silent, *, look: bool = False, head: str | Path | None = None
) -> Located:
    """Find a source, and download it first if it is the name of a published model that torch.hub has not cached.

    To `look` at it, it need not be downloaded: it is read where it is, as far as it is looked at. Nothing is downloaded
    either where the published `head` that is to go with it does not exist.
    What is on disk wins over a published name that is not given as a PublishedName. Raises DinoportError for a name
    that is not known or cannot be converted, and for a download that fails.
    """
    if isinstance(source, Live):
        return Located(Unnamed(source), live=source)
    refuse_empty("SOURCE", source)
    if is_address(source):
        name = shown_source(source)
        model = _published_file(file_name(name.removesuffix("?…")))
        fetched = model is not None and source == model.url
        remarks = () if fetched else _called_like(name, model)
        return Located(name, None, str(source), model, remarks, fetched=fetched, looked_at=look)
    path = _only_match(Path(source))
    if _is_there(path) and not isinstance(source, PublishedName):
        model = _published_file(path.name)
        remarks = (*_taken_from_disk(path), *_called_like(str(path), model))
        return Located(str(path), path, published=model, remarks=remarks, looked_at=look)
    from dinoport.codebases.published_names import published

    model = published(str(path))
    if model is None:
        _refuse_hub_name(str(source), path)
        return Located(str(path), path)
    if str(head) == IMAGENET:
        _head_url(model)
    return _published(model.name, model.url, model, on_progress, look=look)


def _only_match(path: Path) -> Path:
    """The file that a pattern stands for, as a shell would have put it; any other path stays as it is.

    Raises CheckpointError where several match: nothing says which one is meant.
    """
    if not has_magic(str(path)) or _is_there(path):
        return path
    found = sorted(map(Path, glob(str(path), recursive=True)), key=iterations, reverse=True)  # noqa: PTH207  # as typed
    if len(found) > 1:
        from dinoport.finding.choosing import with_heads_apart

        raise with_heads_apart(SeveralError(f"{len(found)} files match {path}", found, path))
    if not found:
        raise CheckpointError(f"no file matches {path}", next_step=f"ls -l {as_word(path.parent)}")
    return found[0]


def _refuse_hub_name(source: str, path: Path) -> None:
    """Raise CheckpointError for what is not a path here, and has the form of a name on the Hub: `owner/name`."""
    is_name = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source) and path.suffix.lower() not in FILE_ENDINGS
    if is_name and not path.parent.exists():
        raise CheckpointError(
            f"{source} cannot be read: no such file or folder",
            cause="a model of the Hub, which is not fetched by its name alone",
            next_step=runnable("convert", f"hf://{source}", FOLDER),
        )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise unreadable(path, error) from error


def locate_head(head: str | Path, source: Located, on_progress: Progress = silent) -> Located:
    """Find a linear head: a path, or `imagenet` for the one that was published for the source's model.

    Raises SettingError where none was published that a class of Transformers can hold.
    """
    if str(head) != IMAGENET:
        return Located(shown_source(head), url=str(head)) if is_address(head) else Located(str(head), Path(head))
    model = source.published
    if model is None:
        raise SettingError(
            "`head='imagenet'` needs a published model, and this source is not one",
            expected="a published name, or its file under the name that it was published with",
            found=source.shown,
            next_step="give the head's own file: `head=FILE`",
        )
    return _published("the classifier", _head_url(model), model, on_progress, look=source.looked_at)


def _head_url(model: PublishedModel) -> str:
    """Where a model's classifier is. Raises SettingError where there is none."""
    if model.head_url is None:
        raise SettingError(
            f"there is no ImageNet classifier for {model.name} that can be converted",
            cause=model.no_head,
            next_step="leave `head` out",
        )
    return model.head_url


def _published(name: str, url: str, model: PublishedModel, on_progress: Progress, *, look: bool) -> Located:
    if look and not (torch_hub_checkpoints() / file_name(url)).exists():
        remark = f"{name} is {url}, looked at where it is"
        return Located(name, None, url, model, (remark,), fetched=True, looked_at=True)
    file, fetched = _fetch(url, model, on_progress)
    kept = f"kept in {file.parent}" if fetched else f"taken from torch.hub's cache, {file.parent}, {UNVOUCHED}"
    remark = f"{name} is {url}, {kept}"
    return Located(name, file, published=model, remarks=(remark,), fetched=fetched, looked_at=look)


def _fetch(url: str, model: PublishedModel, on_progress: Progress) -> tuple[Path, bool]:
    """The cached file of a published address, and whether this run fetched it. It has to have the hash in its name."""
    from dinoport.files.checksums import hash_file
    from dinoport.files.remote.download import download, wrong_hash
    from dinoport.formats.remote.opening import check_beginning, check_downloaded

    target = torch_hub_checkpoints() / file_name(url)
    expected = sha256_prefix(url)
    if target.exists():
        if expected and not (found := hash_file(target, on_progress)[1]).startswith(expected):
            raise wrong_hash(str(target), expected, found)
        if url == model.url:
            _check_size(target, model)
        return target, False
    with _gating(model):
        fetched = download(
            Address.of(url),
            target,
            check_downloaded,
            check_beginning=check_beginning,
            sha256_prefix=expected,
            on_progress=on_progress,
        )
    return target, fetched


def _check_size(cached: Path, model: PublishedModel) -> None:
    """Raise CheckpointError for a file of the cache that cannot be the published one: it has another size.

    That of a training run holds more than the model.
    """
    size, least = cached.stat().st_size, model.size_bytes
    if least <= size and (model.holds_more or size <= least + max(least // 50, SMALLEST_REST)):
        return
    raise CheckpointError(
        f"{cached} is not the file that was published as {model.name}",
        expected=f"{size_text(least)}, or little more",
        found=size_text(size),
        cause="a download that broke off" if size < least else "another file of the same name",
        next_step=(
            f"delete it, and fetch it again: rm {as_word(cached)}",
            runnable("convert", model.name, FOLDER),
        ),
    )


@contextmanager
def _gating(model: PublishedModel | None) -> Iterator[None]:
    """Say of a gated model that is refused how to get it."""
    from dinoport.files.remote.http import RefusedError

    try:
        yield
    except RefusedError as error:
        if model is None or not model.gated or error.status not in (401, 403):
            raise
        raise CheckpointError(
            f"{model.name} is gated: {error.what}",
            found=error.found,
            cause="Meta gives DINOv3's weights out on request, under addresses that it sends by e-mail",
            next_step=(
                f"ask for access at {DINOV3_ACCESS}, download {model.file_name}, then",
                runnable("convert", model.file_name, FOLDER),
                f"or put the file into {torch_hub_checkpoints()} and use the name",
            ),
        ) from None


def _taken_from_disk(path: Path) -> tuple[str, ...]:
    """A word where a file hides a published model of the same name."""
    if not str(path).startswith(BEGINNINGS):
        return ()
    from dinoport.codebases.published_names import model_named

    hidden = model_named(str(path))
    return (f"{path} was taken from disk, though a published model has the same name",) if hidden else ()


def _published_file(name: str) -> PublishedModel | None:
    """The model whose file is called so. The table of them is read for a name that may be in it alone."""
    if not name.startswith(BEGINNINGS):
        return None
    from dinoport.codebases.published_names import published_file

    return published_file(name)


def _called_like(name: str, model: PublishedModel | None) -> tuple[str, ...]:
    """A word on a file that has a published one's name: what it is was not shown by that."""
    return (f"{name} is called like the file of {model.name}, and is not proven to be it",) if model else ()
