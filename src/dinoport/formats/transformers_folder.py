"""A folder of Hugging Face Transformers or of PEFT: a config, and weights in one file or in several with an index."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource, closed_on_error
from dinoport.files.folders import Folder, LocalFolder, unsound
from dinoport.files.json_text import parse_object
from dinoport.files.names import short_text
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.shards import left_out, lone_shard
from dinoport.formats.single_file import read_file
from dinoport.shown.text import listed
from dinoport.tensor import TensorRef

CONFIG, PROCESSOR, REPORT = "config.json", "preprocessor_config.json", "dinoport.json"

ORIGINAL_FILE = "checkpoint.pth"
"""What a folder with an original's names holds in their place."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""In the order in which Transformers looks for them: what is found first counts."""

INDEX = ".index.json"
"""How the name of an index ends; accelerate numbers them where a run has several models."""

MAX_JSON_BYTES = 16 * 1024 * 1024
"""Of a JSON file in a folder; the index of a 7B model takes a hundred kilobytes."""

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
"""What PEFT saves of an adapter, whose base lies elsewhere."""

MAX_ADAPTER_CONFIG_BYTES = 1024 * 1024

READ_BESIDE = (ADAPTER_CONFIG, "processor_config.json")
"""Files that Transformers reads of its own accord, in place of what stands in the folder's configs."""

OF_TIMM = "folder of timm"

Files: TypeAlias = dict[str, bytes | ByteSource]

MAX_SHARDS = 1000
"""Open files at once; a 7B model has a handful of shards."""


def is_transformers_folder(folder: Folder) -> bool:
    """Whether there are a config and weights, as Transformers lays them, and timm after it."""
    return folder.read(CONFIG, MAX_JSON_BYTES) is not None and _first(folder) is not None


def is_timm_folder(folder: Folder) -> bool:
    """Whether such a folder's config.json, if it can be read, is timm's."""
    with suppress(CheckpointError):
        return is_transformers_folder(folder) and _kind(_object(folder, CONFIG, {})) == OF_TIMM
    return False


def read_transformers_folder(folder: Folder) -> Checkpoint:
    """Open a folder of Transformers. Raises CheckpointError where its files contradict each other."""
    files: Files = {}
    config = _object(folder, CONFIG, files)
    report = _object(folder, REPORT, {})
    with closed_on_error(lambda: _close(files)):
        tree = _weights(folder, files)
    beside = tuple(name for name in READ_BESIDE if folder.read(name, MAX_JSON_BYTES) is not None)
    return Checkpoint(
        folder.where,
        _kind(config),
        tree,
        _sources(files),
        config,
        report,
        processor=_processor(folder),
        files=files,
        beside=beside,
    )


def _processor(folder: Folder) -> Mapping[str, object] | None:
    """What the folder's own image processor is; one that cannot be read says nothing of the model."""
    try:
        return _object(folder, PROCESSOR, {})
    except CheckpointError as error:
        if isinstance(error.__cause__, OSError):  # of the disk, and not of what the file says
            raise
        return None


def _kind(config: Mapping[str, object] | None) -> str:
    """Whose folder it is: timm's config.json names a builder, by its `architecture`."""
    named = isinstance((config or {}).get("architecture"), str)
    return OF_TIMM if named else "folder of Transformers"


def refuse_listed(path: Path) -> None:
    """Raise CheckpointError for a file that an index in its folder lists among others."""
    for index in INDEXES:
        found: dict[str, object] = {}
        with suppress(CheckpointError):  # an index that cannot be read says nothing of a file beside it
            found = _object(LocalFolder(path.parent), index, {}) or {}
        weight_map = found.get("weight_map")
        names = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else set()
        if len(names) > 1 and path.name in names:
            raise lone_shard(str(path), len(names), index)


def read_indexed(folder: Folder, index: str) -> Checkpoint:
    """Open the weights in several files that an index tells of, without a config.json. Raises CheckpointError."""
    files: Files = {}
    with closed_on_error(lambda: _close(files)):
        tree = _sharded(folder, index, files)
    return Checkpoint(folder.named(index), "weights in several files", tree, _sources(files))


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from a file of bounded size. Raises CheckpointError."""
    found = _object(LocalFolder(path.parent), path.name, {})
    if found is None:
        raise unsound(str(path), "no file")
    return found


def written_with(path: Path) -> Mapping[str, object] | None:
    """The dinoport.json of a file that a conversion wrote, or of a distributed checkpoint; None where it is of another.

    It lists the file with its size: a trainer that writes over a file leaves the report beside it.
    """
    folder, file = (path, path / ".metadata") if path.is_dir() else (path.parent, path)
    try:
        report = read_json(folder / REPORT)
    except CheckpointError:
        return None
    listed = report.get("files")
    entry = {"name": file.name, "size_bytes": file.stat().st_size}
    own = listed if isinstance(listed, list) else []
    return report if any(isinstance(each, dict) and entry.items() <= each.items() for each in own) else None


def _object(folder: Folder, name: str, files: Files, max_bytes: int = MAX_JSON_BYTES) -> dict[str, object] | None:
    """A JSON object, which joins the `files`; None where there is no such file."""
    text = folder.read(name, max_bytes)
    if text is None:
        return None
    files[name] = text
    try:
        return parse_object(text)
    except ValueError as error:
        raise unsound(folder.named(name), str(error)) from error


def _first(folder: Folder) -> str | None:
    """The file of weights, or index of several, that counts."""
    names = (name for pair in zip(WEIGHTS, INDEXES, strict=True) for name in pair)
    return next((name for name in names if _is_there(folder, name)), None)


def _is_there(folder: Folder, name: str) -> bool:
    return not folder.missing([name]) if name in WEIGHTS else folder.read(name, MAX_JSON_BYTES) is not None


def _weights(folder: Folder, files: Files) -> object:
    name = _first(folder)
    if name is None:
        raise unsound(folder.where, "no weights")
    if name not in WEIGHTS:
        return _sharded(folder, name, files)
    tree = _read(folder, name, files)
    if isinstance(tree, dict) and any(isinstance(each, TensorRef) for each in tree.values()):
        return _tensors(folder, name, tree)
    return tree


def _sharded(folder: Folder, index: str, files: Files) -> dict[str, TensorRef]:
    where = folder.named(index)
    weight_map = (_object(folder, index, files) or {}).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise unsound(where, "no weight_map from names to files")
    shards = list(dict.fromkeys(weight_map.values()))
    if lacking := left_out(shards):
        raise unsound(where, lacking)
    if len(shards) > MAX_SHARDS:
        raise unsound(where, f"{len(shards)} shards, where at most {MAX_SHARDS} are sound")
    tensors: dict[str, TensorRef] = {}
    for shard in shards:
        if shard in ("", ".", "..") or Path(shard).name != shard or "\\" in shard or not shard.isprintable():
            raise unsound(where, f"a shard outside the folder: {short_text(shard)}")
        held = _tensors(folder, shard, _read(folder, shard, files))
        for name in held:
            if weight_map.get(name) != shard:
                raise unsound(folder.named(shard), f"{short_text(name)}, which the index does not place there")
        tensors |= held
    missing = [name for name in weight_map if name not in tensors]
    if missing:
        raise unsound(where, f"names without a tensor in any shard ({len(missing)}): {listed(missing, 3)}")
    return tensors


def _tensors(folder: Folder, name: str, tree: object) -> dict[str, TensorRef]:
    """What a file of weights holds. Raises CheckpointError where that is not tensors alone, each under a name."""
    if not isinstance(tree, dict):
        raise unsound(folder.named(name), "something else than a state dict")
    others = [key for key, each in tree.items() if not (isinstance(key, str) and isinstance(each, TensorRef))]
    if others:
        raise unsound(folder.named(name), f"{short_text(others[0])}, which is not read as a tensor")
    return tree


def _read(folder: Folder, name: str, files: Files) -> object:
    files[name] = source = folder.open(name)
    return read_file(source)[1]


def _close(files: Files) -> None:
    for source in _sources(files):
        source.close()


def _sources(files: Files) -> tuple[ByteSource, ...]:
    return tuple(file for file in files.values() if not isinstance(file, bytes))


def is_adapter_folder(path: Path) -> bool:
    return (path / ADAPTER_CONFIG).is_file() and any((path / name).is_file() for name in ADAPTER_WEIGHTS)


def read_adapter_folder(path: Path) -> Checkpoint:
    """Open an adapter. Raises CheckpointError for a config that is not a JSON object."""
    folder = LocalFolder(path)
    config = _object(folder, ADAPTER_CONFIG, {}, MAX_ADAPTER_CONFIG_BYTES)
    name = next(name for name in ADAPTER_WEIGHTS if (path / name).is_file())
    source = folder.open(name)
    with closed_on_error(source.close):
        tree = read_file(source)[1]
    others = ", ".join(each.name for each in adapters_below(path))
    said = f"the adapter in {path} itself was taken; others there: {others}"
    return Checkpoint(str(path), "folder of PEFT", tree, (source,), adapter=config, remarks=(said,) if others else ())


def adapters_below(path: Path) -> list[Path]:
    """The adapters that PEFT saved in folders of their own names: each but the one that is called `default`."""
    return sorted(each for each in path.iterdir() if is_adapter_folder(each))


def base_beside(path: Path, config: object) -> Path | None:
    """The base that an adapter's config names, where it lies beside the adapter; no other place is followed."""
    name = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(name, str) or not name or "\0" in name:
        return None
    around, place = path.resolve().parent, (path / name).resolve()
    return place if place.exists() and place.is_relative_to(around) and place != path.resolve() else None
