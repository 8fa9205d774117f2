"""What the folders of a fleet are called."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dinoport.finding.sources import FILE_ENDINGS
from dinoport.shown.address import is_address, shown_source
from dinoport.work.fleets.results import LOG, PAGE


def target_names(sources: Sequence[str]) -> list[str]:
    """A name for each source: its file's stem, with names of folders above in front where two are alike.

    Where two differ by their ending alone, it stays: no folder tells `model.pt` from `model.pth`.
    """
    parts = [_parts(source) for source in sources]
    alike = Counter("/".join(each).lower() for each in parts)
    parts = [
        each if alike["/".join(each).lower()] == 1 else _parts(source, with_ending=True)
        for source, each in zip(sources, parts, strict=True)
    ]
    taken = [1] * len(sources)
    while True:
        names = ["-".join(each[-count:]) for each, count in zip(parts, taken, strict=True)]
        counts = Counter(name.lower() for name in names)
        longer = [
            count + ((counts[name.lower()] > 1 or name.lower() in (LOG, PAGE)) and count < len(each))
            for name, each, count in zip(names, parts, taken, strict=True)
        ]
        if longer == taken:
            return names
        taken = longer


def _parts(source: str, *, with_ending: bool = False) -> list[str]:
    """The folders above a source, and its stem, as they can be parts of a name."""
    text = shown_source(source).removesuffix("?…") if is_address(source) else str(Path(source).absolute())
    path = PurePosixPath(re.sub(r"^\w+://", "", text.replace("\\", "/")).rstrip("/"))
    stem = path.stem if path.suffix.lower() in FILE_ENDINGS and not with_ending else path.name
    cleaned = [re.sub(r"[^\w.+=-]", "_", part).strip("._") for part in (*path.parts[:-1], stem)]
    return [part for part in cleaned if part] or ["checkpoint"]
