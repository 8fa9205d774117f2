"""README.md of a start for training: the command, what was made, what starts fresh, and how a failure looks."""

from collections.abc import Iterator, Sequence

from dinoport.codebases.run import shown
from dinoport.codebases.start import Start
from dinoport.mapping.folding import fold_names
from dinoport.mapping.operations import Kind
from dinoport.mapping.plan import Step
from dinoport.shown.text import as_word, shown_markdown, with_article
from dinoport.writing.card import CardFacts, front, licence_line


def start_page(start: Start, steps: Sequence[Step], facts: CardFacts) -> str:
    """The whole README.md as text."""
    return "\n".join([*_lines(start, steps, facts), ""])


def _lines(start: Start, steps: Sequence[Step], facts: CardFacts) -> Iterator[str]:
    yield from front(facts)
    yield from ("", f"# {shown_markdown(facts.folder)}")
    model = f"A{with_article(facts.family)[1:]} ({facts.upstream})"
    yield from ("", f"{model} from which {start.trainer} trains on, converted by dinoport.")
    yield from ("", f"**Verdict: {shown_markdown(facts.verdict)}.** Figures and hashes are in `dinoport.json`.")
    yield from ("", "## Train", "", "```sh")
    yield from start.use
    yield from ("```", "", "FOLDER is this folder. Words in capitals are yours to give.")
    if start.config:
        yield from ("", "`start.yaml` holds the options that have to agree with the weights; yours go beside them.")
        yield "To hold a config of your own against the weights:"
        yield from ("", "```sh", "dinoport convert SOURCE NEW --to training --config YOURS.yaml", "```")
    else:
        yield from ("", "These options have to agree with the weights:", "")
        yield from (f"- `{name} {shown(value)}`" for name, value in start.options.items())
    yield from _warnings(start)
    yield from ("", "## What was made", "")
    yield from _made(steps)
    yield from ("", "## What starts fresh", "")
    yield from (f"- {line}" for line in start.fresh)
    yield from ("", "## What a failure looks like", "")
    yield from (f"- {line}" for line in start.silent)
    yield from ("", "Before you train, prove that this folder still holds the source:", "")
    yield from ("```sh", f"dinoport verify SOURCE {as_word(facts.folder)}", "```")
    yield from ("", "## What else it is good for", "")
    yield from (f"- {line}" for line in start.beside)
    yield from ("", "## What this model is", "")
    yield from (f"- {shown_markdown(line)}" for line in (*facts.settings, *facts.remarks))
    yield from ("", licence_line(facts))


def _warnings(start: Start) -> Iterator[str]:
    if start.warnings:
        yield from ("", "## Mend before you train", "")
        yield from (f"- {shown_markdown(line)}" for line in start.warnings)


def _made(steps: Sequence[Step]) -> Iterator[str]:
    """The tensors that the source does not hold, by why."""
    made: dict[str, list[str]] = {}
    for step in steps:
        if step.kind is Kind.SYNTHESISED:
            made.setdefault(step.reason, []).append(step.target.name)
    yield from (f"- `{', '.join(fold_names(names))}`: {shown_markdown(why)}" for why, names in made.items())
    if not made:
        yield "Nothing: every tensor is the source's."
