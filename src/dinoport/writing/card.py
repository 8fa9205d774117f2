"""The model card: README.md with the metadata that the Hub reads, and usage code that works as it stands."""

from collections.abc import Sequence
from dataclasses import dataclass

from dinoport.codebases.target import Target
from dinoport.codebases.targets import Writing
from dinoport.shown.text import shown_markdown, with_article
from dinoport.writing.licence import Licence

UNKNOWN_LICENCE = "The licence is that of the original weights; this conversion does not know it and adds no terms."

UNPROVEN = "- When this folder was made, its outputs were not compared with the original's."


@dataclass(frozen=True)
class CardFacts:
    """What a card says beside what the target knows. Its texts hold names that strangers chose, and are shown as text.

    `licence` and `base_model`, a repository on the Hub, only where they are known. `proven` says that the folder was
    loaded and its outputs compared, `rounded` that its weights are in a smaller dtype than the original's.
    """

    folder: str
    family: str
    upstream: str
    verdict: str
    proven: bool
    rounded: bool
    settings: tuple[str, ...]
    remarks: tuple[str, ...]
    licence: Licence | None = None
    base_model: str | None = None


def card(writing: Writing, target: Target, facts: CardFacts) -> str:
    """The whole README.md as text."""
    return "\n".join([*_metadata(writing, target, facts), "", *_body(writing, target, facts), ""])


def _metadata(writing: Writing, target: Target, facts: CardFacts) -> list[str]:
    task = "image-classification" if target.classifies else "image-feature-extraction"
    return front(facts, (f"library_name: {writing.LIBRARY}", f"pipeline_tag: {task}"), (writing.tag(target),))


def front(facts: CardFacts, fields: Sequence[str] = (), tags: Sequence[str] = ()) -> list[str]:
    """What the Hub reads of a card: fields of its own, what is known of the weights, and tags."""
    licence = facts.licence.metadata if facts.licence else ()
    base = [f"base_model: {facts.base_model}"] if facts.base_model else []
    return ["---", *fields, *licence, *base, *tag_lines(facts.family, tags), "---"]


def tag_lines(family: str, tags: Sequence[str] = ()) -> list[str]:
    """What a model is found by on the Hub. Nobody else's is found as a DINO."""
    own = ("dino",) if "dino" in family.lower() else ()
    return ["tags:", *(f"- {tag}" for tag in (*own, "vision", *tags, "dinoport"))]


def _body(writing: Writing, target: Target, facts: CardFacts) -> list[str]:
    cautions = writing.cautions(target, proven=facts.proven and not facts.rounded)
    if not facts.proven:
        cautions = [UNPROVEN, *cautions]
    whose = f"{facts.family} ({facts.upstream})" if facts.upstream else facts.family
    lines = [
        f"# {shown_markdown(facts.folder)}",
        "",
        f"A{with_article(whose)[1:]} as `{target.form}` of {writing.OWNER}, converted by dinoport.",
        "",
        f"**Verdict: {shown_markdown(facts.verdict)}.** Figures and hashes are in `dinoport.json`.",
        "",
        "## Use",
        "",
        "```python",
        *writing.example(target, facts.folder),
        "```",
        "",
        *(["## Good to know", "", *cautions, ""] if cautions else ()),
        "## What this model is",
        "",
        *(f"- {shown_markdown(setting)}" for setting in facts.settings),
        *(f"- {shown_markdown(remark)}" for remark in facts.remarks),
    ]
    return [*lines, "", licence_line(facts)]


def licence_line(facts: CardFacts) -> str:
    if facts.licence is None:
        return UNKNOWN_LICENCE
    return f"The weights are under {facts.licence.title}: see {facts.licence.place}."
