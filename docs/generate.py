"""Write the pages and tables that follow from the code: `python docs/generate.py`, or `make docs`.

A page is written by hand around regions that begin with `<!-- generated: NAME -->` and end with `<!-- end -->`; what is
between is replaced. `tests/test_docs.py` fails while a page is not what this would write.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tests import formula, models
from tests.codebases import relatives
from tests.models import classifying
from tests.report import page_picture

from dinoport import errors, work
from dinoport.cli.options import as_options
from dinoport.cli.parsing import help_of, help_of_program
from dinoport.cli.program import ABOUT, COMMANDS
from dinoport.cli.session import INTERRUPTED, UNHEARD
from dinoport.codebases import catalogue
from dinoport.codebases.catalogue import NAMINGS, naming_of
from dinoport.codebases.codebase import Evidence, Naming
from dinoport.codebases.frameworks import CONVENTIONS
from dinoport.codebases.published_names import PUBLISHED
from dinoport.codebases.relative import Relative
from dinoport.codebases.target import Target
from dinoport.codebases.timm.architectures import SERIES
from dinoport.codebases.transformers.forms import target_of
from dinoport.mapping.decoding import Decoding
from dinoport.mapping.operations import AddAxis, BakeTable, Deinterleave, DropClsRow, Kind, Operation, PadColumns, Rows
from dinoport.mapping.rule import Pattern, Rule
from dinoport.model import Family, Model
from dinoport.networks.interpolation import TO_SIZE_ANTIALIASED
from dinoport.networks.network import Features
from dinoport.networks.preprocessing import Preprocessing
from dinoport.report.models import models_page
from dinoport.request import Request
from dinoport.shown.lines import lines_for
from dinoport.tensor import ArrayValues, TensorRef, size_text

DOCS = Path(__file__).parent
HELP_WIDTH = 80

DEMO, PICTURE = DOCS / "demo.md", DOCS / "pictures" / "demo.svg"

PAGES = "https://github.com/dinoport/dinoport/blob/main/docs"
"""Links of README.md are whole, for PyPI shows it too."""


class Example(NamedTuple):
    """A small model that shows a table, which no size changes. `classifier` is what the original calls its own."""

    title: str
    architecture: Any
    classifier: str | None = None
    class_name: str | None = None

    def model(self, family: Family) -> Model:
        return Model(
            where="example.pth",
            title=family.title,
            family=family,
            architecture=self.architecture,
            decoding=Decoding({}),
            settings=(),
            preprocessing=family.preprocessing,
            classifier=self.classifier,
        )


RELATIVES = tuple(
    naming
    for name in dict.fromkeys((*chain(*catalogue.RELATIVES.values()), "ijepa", *catalogue.UNTOLD.values()))
    if (naming := naming_of(name))
)
"""Relatives of these families: a page of theirs is made as a whole."""

OWN: tuple[Family, ...] = tuple(n.code.FAMILY for n in NAMINGS if n.family and n.family != "ijepa")
FAMILIES: tuple[Family, ...] = (*OWN, *(naming.code.FAMILY for naming in RELATIVES))

VIT = replace(models.VIT, mlp_hidden=256, image_size=224)
V2 = replace(models.V2, mlp_hidden=256, image_size=518)
V3 = replace(models.V3, heads=1, mlp_hidden=256)
REGISTERS = replace(V2, registers=4, interpolation=TO_SIZE_ANTIALIASED)

EXAMPLES: dict[str, Sequence[Example]] = {
    "dino": (
        Example("A backbone", VIT),
        Example("With a classifier of its own", classifying(VIT, 10), "head"),
        Example("With a linear head over the CLS token (`--head`)", classifying(VIT, 10), "linear"),
        Example(
            "With a linear head over CLS token and patch mean (`--head`)",
            classifying(VIT, 10, Features.CLS_MEAN_INTERLEAVED),
            "linear",
        ),
    ),
    "dino_resnet": (
        Example("A backbone", models.RESNET),
        Example("With torchvision's classifier", classifying(models.RESNET, 10, Features.POOLED), "fc"),
        Example("With a linear head (`--head`)", classifying(models.RESNET, 10, Features.POOLED), "linear"),
    ),
    "dinov2": (
        Example("A backbone", V2),
        Example("With SwiGLU, as ViT-g", replace(V2, feed_forward="swiglu", mlp_hidden=176)),
        Example("With registers", REGISTERS),
        Example("With a linear head (`--head`)", classifying(V2, 10, Features.CLS_MEAN), "linear_head"),
        Example(
            "With registers and a linear head (`--head`)",
            classifying(REGISTERS, 10, Features.CLS_MEAN),
            "linear_head",
        ),
        Example(
            "Trained without layer scale and without biases",
            replace(V2, layer_scale=False, qkv_bias=False, proj_bias=False, ffn_bias=False),
        ),
    ),
    "dinov3": (
        Example("A released ViT", V3),
        Example("A released ViT with SwiGLU", replace(V3, feed_forward="swiglu", mlp_hidden=176)),
        Example(
            "Trained without registers, mask and layer scale",
            replace(V3, registers=0, key_bias_mask=False, layer_scale=False),
        ),
    ),
    "dinov3_convnext": (Example("A backbone", models.CONVNEXT),),
    **{
        naming.family: tuple(
            {
                case.class_name: Example(
                    case.title, case.architecture, case.classifier or None, case.request.class_name
                )
                for case in relatives.CASES
                if case.family == naming.family
            }.values()
        )
        for naming in RELATIVES
    },
}


def pages() -> dict[Path, str]:
    """Every page with its up-to-date content."""
    found = {DOCS / "models.md": models_page()}
    found |= {DOCS / "families" / f"{n.family}.md": "\n".join([*relative_page(n), ""]) for n in RELATIVES}
    for path, regions in REGIONS.items():
        found[path] = filled(path.read_text(encoding="utf-8"), regions)
    return found


def filled(page: str, regions: dict[str, Callable[[], Iterable[str]]]) -> str:
    """A page with each of its generated regions replaced. Raises ValueError for a region that is not there."""
    for name, lines in regions.items():
        content = "\n".join(["<!-- generated: " + name + " -->", "", *lines(), "<!-- end -->"])
        pattern = rf"<!-- generated: {re.escape(name)} -->.*?<!-- end -->"
        page, count = re.subn(pattern, lambda _, content=content: content, page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{count} regions are called {name!r}")
    return page


def demo() -> tuple[list[str], str]:
    """The demo's real output and its page; it needs torch and some seconds, so the tests compare without figures."""
    from dinoport import api
    from dinoport.report.page.render import page
    from dinoport.report.text import report_lines

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        report = api.demo("dinoport-demo")
    source = str(Path(work.__file__).with_name(api.DEMO_FILE))
    with lines_for(HELP_WIDTH, as_options):
        lines = list(report_lines(report))
    return [line.replace(source, "demo_checkpoint.pth") for line in lines], page(report, as_options)


def with_demo(page: str, lines: Sequence[str]) -> str:
    shown = "\n".join(["<!-- demo -->", "```text", *lines, "```", "<!-- end of demo -->"])
    return re.sub(r"<!-- demo -->.*?<!-- end of demo -->", lambda _: shown, page, flags=re.DOTALL)


def terminal(lines: Sequence[str]) -> str:
    """A terminal with some lines in it, as SVG that asks no server for a font."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=HELP_WIDTH + 2, file=io.StringIO(), color_system=None)
    console.print(Text("$ dinoport demo", style="bold"))
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    drawing = console.export_svg(title="dinoport demo", unique_id="demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '¦') for cell in row)} |"
    yield ""


def commands() -> Iterator[str]:
    """The help of the program and of each command, as the terminal shows it."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(HELP_WIDTH)
    try:
        yield from ["## `dinoport`", "", "```text", help_of_program(COMMANDS, ABOUT).rstrip(), "```", ""]
        for command in COMMANDS:
            yield from [f"## `dinoport {command.name}`", "", "```text", help_of(command).rstrip(), "```", ""]
    finally:
        os.environ.pop("COLUMNS")
        os.environ.update({"COLUMNS": before} if before else {})


def exit_codes() -> Iterator[str]:
    found: dict[int, list[str]] = {}
    for error in _errors(errors.DinoportError):
        found.setdefault(error.exit_code, []).append(f"`{error.__name__}`: {_first_line(error)}")
    rows = [("0", "done, and proven as far as was asked")]
    rows += [(str(code), "<br>".join(lines)) for code, lines in sorted(found.items())]
    rows.append(
        (
            str(INTERRUPTED),
            "interrupted by Ctrl-C or a request to stop; the message says whether FOLDER was written before, and is "
            "whole: then only the report was cut short",
        )
    )
    rows.append((str(UNHEARD), "whoever read stdout went away, as `head` does; what was to be written is written"))
    yield from table(("code", "meaning, and what the Python API raises"), rows)


def _errors(base: type[errors.DinoportError]) -> Iterator[type[errors.DinoportError]]:
    yield base
    for error in base.__subclasses__():
        if error.__module__ == errors.__name__:
            yield from _errors(error)


def _first_line(documented: Any) -> str:
    return " ".join((documented.__doc__ or "").strip().split("\n\n")[0].split())


def conversions() -> Iterator[str]:
    """What becomes what, one line for each class of each original; relatives have a link each."""
    rows = []
    for family in OWN:
        classes: dict[str, list[str]] = {}
        for example in EXAMPLES[family.name]:
            title = example.title[0].lower() + example.title[1:]
            classes.setdefault(f"`{target(family, example).form}`", []).append(title)
        for name, titles in classes.items():
            rows.append((linked(family), "; ".join(titles), name))
    yield from table(("from", "what", "to"), rows)
    yield f"Relatives are told apart and proven alike: {', '.join(map(linked, FAMILIES[len(OWN) :]))}."
    yield ""


def linked(family: Family) -> str:
    return f"[{family.title}]({PAGES}/families/{family.name}.md)"


def target(family: Family, example: Example) -> Target:
    return target_of(example.model(family), Request(class_name=example.class_name), None)


def of_family(family: Family) -> Iterator[str]:
    """Published names, classes, rules, settings and preprocessing of one family."""
    naming = naming_of(family.name)
    code = naming.code if naming else None
    listed = [model for model in PUBLISHED if model.family == family.name and not model.refusal]
    names = [] if isinstance(code, Relative) else [f"`{model.name}`" for model in listed]
    original = f"Original: `{family.upstream}`." if family.upstream else "Original: not known."
    yield from [f"{original} Published models: {', '.join(names)}." if names else original, ""]
    others = ", ".join(n.codebase for n in NAMINGS if not n.family and n.code.FAMILY is family)
    if others:
        yield from [f"The names of {others} are read too, and translated to the original's first.", ""]
    yield from _builder_rows(family)
    shown: dict[str, set[tuple[str, ...]]] = {}
    dropped: set[tuple[str, ...]] = set()
    for example in EXAMPLES[family.name]:
        found = target(family, example)
        whole = getattr(code, "wholes", {}).get(found.form)
        kept = whole.names if whole else ()
        drops = [drop for drop in family.drops if not (kept and drop.source and drop.source.template.startswith(kept))]
        rows = [tuple(row) for row in rule_rows((*found.rules, *drops), example.classifier)]
        known = shown.setdefault(found.form, set())
        new = [row for row in rows if row not in known and row not in dropped]
        yield from [f"### {example.title}: `{found.form}`", ""]
        if known:
            yield from ["As above, but for:", ""]
        known.update(rows)
        dropped.update(row for row in rows if row[1] == "—")
        yield from table(("original", "Transformers, on disk", "operation"), new)
    yield from ["### Settings of a bare file", "", *settings(family)]
    yield from ["### Preprocessing", "", preprocessing(family.preprocessing), ""]


def relative_page(naming: Naming) -> Iterator[str]:
    """A page about one relative, from its data alone."""
    relative: Relative = naming.code
    family, facts, signs = relative.FAMILY, relative.facts, relative.signs
    says = [f"`--codebase {family.name}` says that a file is one.", ""] if family.upstream else []
    yield from [f"# {family.title}", "", relative.about, "", *says]
    if relative.copies:
        yield from [f"Of several copies, `{relative.copies[0]}` is taken: {relative.why}.", ""]
    if relative.remark:
        yield from [f"{relative.remark}.", ""]
    told = [
        ("names of tensors", signs.names),
        ("a prefix", signs.places),
        ("keys of the file", tuple(" and ".join(sorted(keys)) for keys in signs.keys)),
        ("names in `args`", signs.arguments),
        ("what `args` or timm's config.json call the model", signs.builders),
        ("a file's name, which is not a proof", signs.files),
    ]
    yield from ["## Signs", ""]
    rows = [(where, ", ".join(f"`{part}`" for part in parts)) for where, parts in told if parts]
    rows += [("a closer look", words) for look in (signs.tells, signs.guesses) if (words := _first_line(look))]
    yield from table(("where", "what"), rows) if rows else ["None: nothing in a file tells it.", ""]
    if facts.heads:
        yield from ["## Heads, where they are not width / 64", ""]
        yield from table(
            ("width", "depth", "heads"), [(str(w), str(d), str(n)) for (w, d), n in sorted(facts.heads.items())]
        )
    yield from _published_rows(family)
    yield from _size_rows(family)
    yield from _sizes_by_name(relative)
    yield from _builders_of_timm(family)
    yield from _measured(family, relative)
    yield from ["## Tables", "", "`{i}` is a number, `{p}` a word such as `weight`, `{r}` all the rest of a name.", ""]
    yield from of_family(family)


FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures" / "relatives"

SIZES_OF = {
    "deit3": ("DeiT III",),
    "franca": ("Franca",),
    "ijepa": ("I-JEPA",),
    "mae": ("MAE", "Web-MAE"),
    "moco_v3": ("MoCo v3",),
    "msn": ("MSN",),
    "tips": ("TIPS",),
    "webssl_dino": ("Web-DINO",),
}
"""What the recorded sizes call the models of a family."""


def _published_rows(family: Family) -> Iterator[str]:
    models = [model for model in PUBLISHED if model.family == family.name]
    if models:
        yield from ["## Published models", "", "A SOURCE may be one of these names (`dinoport models`).", ""]
        rows = [(f"`{each.name}`", size_text(each.size_bytes), each.licence, each.hub or "—") for each in models]
        yield from table(("name", "size of the model", "licence", "on the Hub"), rows)


def _builder_rows(family: Family) -> Iterator[str]:
    """Width and heads of the builders that a training may name, its own or those of the codebase that it changed."""
    naming = naming_of(family.name)
    code = naming.code if naming else None
    asks = isinstance(code, Relative) and (code.facts.says_builder or code.like in ("dinov2", "dinov3"))
    first = naming_of(code.like) if isinstance(code, Relative) and asks else None
    builders = getattr(first.code if first else code, "BUILDERS", None)
    if builders and family.name not in SIZES_OF:
        of = f"{first.code.FAMILY.title}'s builders" if first else "Builders"
        yield from [f"{of} give the heads where a training names one and the width fits:", ""]
        yield from table(
            ("builder", "width", "heads"), [(f"`{n}`", str(w), str(h)) for n, (w, h, *_) in builders.items()]
        )


def _size_rows(family: Family) -> Iterator[str]:
    """Sizes and true heads that the genuine builders give."""
    recorded = json.loads((FIXTURES / "sizes.json").read_text(encoding="utf-8"))
    rows = []
    for each in recorded:
        if each["family"] in SIZES_OF.get(family.name, ()):
            width, _, patch, _ = each["outside"]["patch_embed.proj.weight"]
            cells = (width, each["depth"], each["heads"], patch, each["outside"]["pos_embed"][1])
            rows.append((f"`{each['id'].partition('-')[2]}`", *map(str, cells)))
    if rows:
        yield from ["## Sizes", "", "Read off the genuine builders (`tests/fixtures/relatives/sizes.json`).", ""]
        yield from table(("builder", "width", "depth", "heads", "patch", "rows of the table"), rows)


def _sizes_by_name(relative: Relative) -> Iterator[str]:
    """Sizes that the authors publish, where none are recorded from their builders."""
    if relative.sizes:
        yield from ["## Sizes", "", f"By the READMEs and the code of {relative.FAMILY.upstream}.", ""]
        rows = [(f"`{name}`", *map(str, size)) for name, size in relative.sizes.items()]
        yield from table(("name", "width", "depth", "heads", "patch"), rows)


def _builders_of_timm(family: Family) -> Iterator[str]:
    """What timm's builders set in Python alone."""
    if family.name == "timm_vit":
        yield from ["## Builders", "", "Heads and eps of timm's builders, by the name in its config.json.", ""]
        rows = [
            (f"`{each.pattern.replace('SIZE', size)}`".replace("|", "\\|"), str(heads), f"{each.eps:g}")
            for each in SERIES
            for size, heads in each.heads.items()
        ]
        yield from table(("builder", "heads", "eps"), rows)


def _measured(family: Family, relative: Relative) -> Iterator[str]:
    """The genuine code whose outputs the model is held against."""
    recorded = json.loads((FIXTURES / "goldens.json").read_text(encoding="utf-8"))
    own = {name: each["upstream"] for name, each in recorded.items() if each["family"] == family.name}
    if own:
        words = "Heads, eps and positions are compared with outputs of the genuine code (`tests/fixtures/relatives`)."
        yield from ["## Source", "", words, ""]
        yield from (f"- {upstream}: `{name}`" for name, upstream in own.items())
        yield ""
    elif family.upstream:
        like = naming_of(relative.like)
        network = like.code.FAMILY.title if like else ""
        words = f"Names, heads and the transform are read in the code and READMEs of {family.upstream}."
        yield from ["## Source", "", f"{words} Its network is that of {network}, whose outputs are compared.", ""]


def rule_rows(rules: Iterable[Rule], classifier: str | None) -> Iterator[Sequence[str]]:
    """A row for each rule, made and dropped tensors last; rules that differ by a number alone are one row."""
    done: set[Sequence[str]] = set()
    for rule in sorted(rules, key=lambda rule: (rule.kind is Kind.DROPPED, rule.kind is Kind.SYNTHESISED)):
        row = _row(rule, classifier)
        if row not in done:
            done.add(row)
            yield row


def _row(rule: Rule, classifier: str | None) -> Sequence[str]:
    source = _name(rule.source).replace("classifier.", f"{classifier}.") if rule.source else "—"
    if rule.kind is Kind.DROPPED:
        returns = f"; returns as {rule.constant}" if rule.constant else ""
        return source, "—", f"dropped: {rule.reason}{_numbered(returns)}"
    targets = "<br>".join(_name(target) if target else "(left out)" for target in rule.targets)
    if rule.kind is Kind.SYNTHESISED:
        return source, targets, f"made, {rule.constant}: {rule.reason}"
    words = operation(rule.operation)
    return source, targets, f"{words}: {rule.reason}" if rule.reason else words


def _name(pattern: Pattern) -> str:
    return f"`{_numbered(pattern.template)}`"


def _numbered(name: str) -> str:
    """`layer.0.` and `layer.1.` alike."""
    return re.sub(r"\b(blocks|layers?|stages)\.\d+\.(\d+\.)?", lambda found: f"{found[1]}.{{i}}.", name)


def operation(found: Operation) -> str:
    match found:
        case BakeTable():
            return "resampled once"
        case AddAxis():
            return "copy, with a leading axis more"
        case Deinterleave():
            return "columns sorted: a0 b0 a1 b1 … becomes a0 a1 … b0 b1 …"
        case PadColumns():
            return "columns, and as many zeros behind them"
        case DropClsRow():
            return "copy, without the row of the CLS token"
        case Rows():
            return "copy" if found.parts == 1 else f"{found.parts} equal row ranges"
    raise TypeError(f"no words for {found}")


def settings(family: Family) -> Iterator[str]:
    state = formula.state_dict(EXAMPLES[family.name][0].architecture.tensors())
    tensors = {name: TensorRef(name, values.dtype, values.shape, ArrayValues(values)) for name, values in state.items()}
    naming = naming_of(family.name)
    assert naming is not None
    reading = naming.code.read(Evidence("example.pth", tensors))
    yield from table(
        ("setting", "here", "origin", "from"),
        [(each.name, str(each.value), each.origin.value, each.reason) for each in reading.settings],
    )


def preprocessing(found: Preprocessing) -> str:
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (found.mean, found.std))
    how = f"The shortest side becomes {found.resize} pixels" if found.crop else f"A square of {found.resize} pixels"
    crop = f"; the centre of {found.crop}×{found.crop} is cropped" if found.crop else ""
    return f"{how} ({found.resample}){crop}; mean {mean}; standard deviation {std}."


def whose_names() -> Iterator[str]:
    """Every codebase whose names are read, with the models that it names so."""
    named: dict[str, dict[str, None]] = {}
    for naming in NAMINGS:
        named.setdefault(naming.codebase, {})[naming.code.FAMILY.title] = None
    yield from table(["names of", "models"], ([codebase, ", ".join(models)] for codebase, models in named.items()))


def conventions() -> Iterator[str]:
    """Which of two copies each framework means."""
    rows = ([each.framework, f"`{each.taken}`", f"`{each.other}`", each.reason] for each in CONVENTIONS)
    yield from table(["framework", "taken", "beside", "why"], rows)


REGIONS: dict[Path, dict[str, Callable[[], Iterable[str]]]] = {
    DOCS.parent / "README.md": {"conversions": conversions},
    DOCS / "sources.md": {"whose-names": whose_names, "conventions": conventions},
    DOCS / "cli.md": {"commands": commands, "exit codes": exit_codes},
    **{DOCS / "families" / f"{f.name}.md": {"tables": lambda f=f: of_family(f)} for f in OWN},
}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8")
    lines, page = demo()
    DEMO.write_text(with_demo(DEMO.read_text(encoding="utf-8"), lines), encoding="utf-8")
    page_picture.draw(page)
    PICTURE.write_text(terminal(lines[: lines.index("")]), encoding="utf-8")
