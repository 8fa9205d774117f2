"""The `config.yaml` of a training run, asked for where the run would have put it."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from dinoport.errors import CheckpointError
from dinoport.files.remote.folder import RemoteFolder
from dinoport.files.remote.http import RefusedError
from dinoport.files.remote.hub import hub_file
from dinoport.files.remote.patience import Budget
from dinoport.formats.run_config import MAX_BYTES, NAME, RunConfig, parse_run_config, run_places


def find_run_config(source: str) -> RunConfig | None:
    """The config of the run that wrote the checkpoint at an address; None where there is none.

    It never stops a conversion: why one that may be there was not read is its `problem`. A query is taken for the
    signature of one file, which opens no other; that of a folder goes with each of its files.
    """
    problem: RunConfig | None = None
    for folder in _folders(source, Budget()):
        try:
            data = folder.read(NAME, MAX_BYTES)
        except CheckpointError as error:
            problem = problem or RunConfig(folder.named(NAME), {}, _why(error, folder.named(NAME)))
            if isinstance(error, RefusedError):
                continue
            break  # a server that fails is not asked for the next
        if data is not None and (found := parse_run_config(folder.named(NAME), data)):
            return found
    return problem


def _why(error: CheckpointError, where: str) -> str:
    """The reason that an error gives, without the name of the file."""
    reason = error.what.removeprefix(f"{where} could not be read: ")
    return reason if reason != error.what else error.found or error.what


def _folders(source: str, budget: Budget) -> Iterator[RemoteFolder]:
    address, _, query = source.partition("?")
    file = hub_file(source)
    if file is not None:
        for place in run_places(PurePosixPath(file.path), is_folder=file.is_folder):
            yield RemoteFolder(file.folder("" if place == PurePosixPath() else f"{place}/").shown, budget=budget)
    elif address.endswith("/") or not query:
        scheme, _, rest = address.partition("://")
        host, _, path = rest.partition("/")
        for place in run_places(PurePosixPath(path), is_folder=address.endswith("/")):
            before = f"{scheme}://{host}/" if place == PurePosixPath() else f"{scheme}://{host}/{place}/"
            yield RemoteFolder(f"{before}?{query}" if query else before, budget=budget)
