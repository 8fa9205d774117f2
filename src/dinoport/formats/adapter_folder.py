"""A folder of PEFT: adapter_config.json and the adapter's weights, whose base lies elsewhere."""

from pathlib import Path

from dinoport.files.byte_sources import closed_on_error
from dinoport.files.folders import LocalFolder, unsound
from dinoport.files.json_text import parse_object
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.single_file import read_file

CONFIG = "adapter_config.json"

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

MAX_CONFIG_BYTES = 1024 * 1024


def is_adapter_folder(path: Path) -> bool:
    return (path / CONFIG).is_file() and any((path / name).is_file() for name in WEIGHTS)


def read_adapter_folder(path: Path) -> Checkpoint:
    """Open an adapter. Raises CheckpointError for a config that is not a JSON object."""
    folder = LocalFolder(path)
    try:
        config = parse_object(folder.read(CONFIG, MAX_CONFIG_BYTES) or b"")
    except ValueError as error:
        raise unsound(folder.named(CONFIG), str(error)) from error
    name = next(name for name in WEIGHTS if (path / name).is_file())
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
