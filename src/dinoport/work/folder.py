"""The files of a target besides its weights, and what such a folder says that it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dinoport.codebases.transformers.labels import IMAGENET as IMAGENET_LABELS
from dinoport.errors import SettingError
from dinoport.files.output_file import WrittenFile
from dinoport.finding.sources import IMAGENET
from dinoport.formats.checkpoint import Checkpoint
from dinoport.proofs.verdict import Verdict
from dinoport.request import Request
from dinoport.work.conversion import Conversion
from dinoport.writing.card import CardFacts, card
from dinoport.writing.licence import LICENCES
from dinoport.writing.start_page import start_page

REPORT = "dinoport.json"


def write_card(conversion: Conversion, folder: Path, name: str, verdict: Verdict) -> list[WrittenFile]:
    """The model card, and the licence's text where the source is a published model beyond doubt."""
    from dinoport.files.json_file import write_text

    if not conversion.writing.HAS_CARD and conversion.target.start is None:
        return []
    family = conversion.model.family
    genuine = conversion.located.genuine(family.name)
    licence = LICENCES[genuine.licence] if genuine else None
    facts = CardFacts(
        folder=name,
        family=family.title,
        upstream=family.upstream,
        verdict=str(verdict),
        settings=tuple(map(str, conversion.settings)),
        remarks=conversion.remarks,
        licence=licence,
        base_model=genuine.hub if genuine else None,
    )
    start, target = conversion.target.start, conversion.target
    page = start_page(start, conversion.plan.steps, facts) if start else card(conversion.writing, target, facts)
    written = [write_text(folder / "README.md", page)]
    return [*written, licence.write(folder)] if licence and licence.text else written


def request_of(folder: Checkpoint) -> Request:
    """What was asked for when a folder was made, from its dinoport.json; nothing where it has none.

    Without the files and addresses that it names.
    """
    asked = (folder.report or {}).get("request")
    if not isinstance(asked, Mapping):
        return Request()
    request = Request.from_dict(asked)
    return replace(
        request,
        head=_keyword(request.head, IMAGENET),
        labels=_keyword(request.labels, IMAGENET_LABELS),
        config=None,
        base=None,
    )


def refuse_to_guess(folder: Checkpoint, given: Request | None) -> None:
    """Raise SettingError where a folder was made with files that `given` does not name: its own word opens none."""
    asked = (folder.report or {}).get("request")
    told = asked if isinstance(asked, Mapping) else {}
    for name, keyword in (("head", IMAGENET), ("labels", IMAGENET_LABELS), ("base", None)):
        if told.get(name) in (None, keyword) or (given and getattr(given, name) is not None):
            continue
        raise SettingError(
            f"{folder.where} was made with a file of its own for `{name}`, which has to be given again",
            where=f"{REPORT}: request.{name}",
            cause="a folder may come from a stranger, so no file or address that its report names is opened",
            next_step=f"add `{name}=FILE`, with the file that the folder was made with",
        )


def _keyword(value: str | Path | None, keyword: str) -> str | None:
    """A word that every installation understands alike, and nothing that would have to be opened."""
    return keyword if value == keyword else None
