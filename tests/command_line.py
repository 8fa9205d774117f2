"""What tests of the command line share: the fixture `run` gives one `Done` for each command."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dinoport import api, work

DEMO = Path(work.__file__).with_name(api.DEMO_FILE)
HEADS = ("--num-heads", "2")
EXACT = ("--verify", "exact")

FILES = {"model.safetensors", "config.json", "preprocessor_config.json", "README.md", "dinoport.json"}
"""What a conversion without a licence or shards writes."""


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
