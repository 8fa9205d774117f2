"""What a command prints, and the report that it keeps. Nothing heavy is imported before there is something to print."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dinoport.cli.options import as_options
from dinoport.cli.stdout import tell
from dinoport.errors import DinoportError, FolderError, UsageError
from dinoport.shown.lines import WIDTH, lines_for
from dinoport.shown.text import listed, shown

if TYPE_CHECKING:
    from dinoport.pictures.drawing import Visualization
    from dinoport.report.fleet import Fleet
    from dinoport.report.inspection import Inspection
    from dinoport.report.published import Published
    from dinoport.report.report import Report
    from dinoport.report.standing import Standing
    from dinoport.request import Checks

PUBLISHED = "was written before, and is whole"
"""Of a folder, where what comes after is cut short: the report's own file, or what is printed."""


REPORT_ENDINGS = (".json", ".html", ".htm")

NARROWEST = 40
"""Columns of a terminal with lines that can still be read."""


def lines_on(stream: TextIO) -> AbstractContextManager[None]:
    """Make lines as the command line prints them on a stream: a terminal may have fewer columns than a file has."""
    columns = WIDTH
    if stream.isatty():
        with suppress(OSError, ValueError):
            columns = int(os.environ.get("COLUMNS") or os.get_terminal_size(stream.fileno()).columns) or WIDTH
    return lines_for(max(min(columns, WIDTH), NARROWEST), as_options)


def keep_and_show(
    report: Report, as_json: bool, path: Path | None, published: Path | None = None, *, with_plan: bool = False
) -> None:
    """Write a report to its file and print it. Where that fails, `published` is a folder that was written before."""
    from dinoport.cli.console import print_report
    from dinoport.report.text import plan_lines, report_lines
    from dinoport.shown.lines import entry

    try:
        write_report(report, path)
        if as_json:
            print_json(report.to_dict())
        else:
            with lines_on(sys.stdout):
                lines = [*report_lines(report), *(["", *entry("report", str(path))] if path else [])]
                plan = ["", *plan_lines(report)] if with_plan else []
            print_report([*lines, *plan], report.verdict.word.value)
        sys.stdout.flush()
    except DinoportError as error:
        error.what += f"; {published} {PUBLISHED}" if published else ""
        raise


def show_result(found: Inspection | Standing | Published | Fleet | Visualization, as_json: bool) -> None:
    """Print what a command found or did."""
    if as_json:
        print_json(_with_words(found.to_dict()))
    else:
        with lines_on(sys.stdout):
            text = str(found)
        print(text)


def print_json(data: object) -> None:
    """Print data on stdout."""
    import json

    from dinoport.files.json_file import json_text

    shows_all = (getattr(sys.stdout, "encoding", None) or "").lower() == "utf-8"
    print(json_text(data) if shows_all else json.dumps(data, indent=2))


MESSAGES = ("error", "refusal", "command", "commands")
"""Fields of a result whose texts are in the words of the library."""


def _with_words(data: object) -> object:
    """A result with its messages in the words of the command line. A plan is a report, which stays as it is kept."""
    if isinstance(data, dict):
        worded = ((name, as_worded(each) if name in MESSAGES else _with_words(each)) for name, each in data.items())
        return {**dict(worded), **({"plan": data["plan"]} if "plan" in data else {})}
    return [*map(_with_words, data)] if isinstance(data, list | tuple) else data


def as_worded(data: object) -> object:
    """Data with every text of it in the words of the command line."""
    if isinstance(data, dict):
        return {name: as_worded(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [*map(as_worded, data)]
    return as_options(data) if isinstance(data, str) else data


def announce_code(checks: Checks, to: str = "transformers") -> None:
    """Say that code will be run, unless it is refused. Raises as `check_reference` does."""
    if checks.reference is not None:
        from dinoport.proofs.genuine import check_reference

        check_reference(checks.reference, checks.level, to)
        hub = checks.reference == "hub"
        where = "the original's repository, through torch.hub" if hub else checks.reference
        tell(shown(f"code from {where} will be run, as --reference asks"))


def announce_left(paths: Sequence[str]) -> None:
    """Name what lies in a run's folder beside the checkpoints that are taken of it."""
    if paths:
        tell(shown(f"note: not among the checkpoints of this fleet: {listed(paths)}; name them to convert them too"))


def check_report(path: Path | None, source: str | None, folder: Path | None) -> None:
    """Before any work: a report that could not be written, or that would replace the source or what is proven.

    A pipe, such as /dev/stdout, gets JSON whatever its name.
    """
    if path is None:
        return
    from dinoport.writing.place import refuse_inside, refuse_overlap

    if folder is not None:
        refuse_inside(path, folder)
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
        raise FolderError(f"--report {path} {what}", expected="a file name", next_step="--report report.json")
    if source is not None:
        refuse_overlap(Path(source), path)
    is_stream = path.exists() and not path.is_file()
    if not is_stream and path.suffix.lower() not in REPORT_ENDINGS:
        raise UsageError(
            f"--report {path} does not end like a report",
            expected="a name that ends in .json or in .html",
            next_step="--json prints the report on stdout" if str(path) == "-" else "--report report.json",
        )
    if is_page(path):
        from dinoport.report.page.render import require_page_packages

        require_page_packages(f"a report as a page ({path})")


def is_page(path: Path | None) -> bool:
    return path is not None and path.suffix.lower() in (".html", ".htm")


def write_report(report: Report | None, path: Path | None) -> None:
    if report is None or path is None:
        return
    if is_page(path):
        from dinoport.report.page.render import write_page

        write_page(path, report, as_options)
    else:
        from dinoport.files.json_file import json_bytes
        from dinoport.writing.commit import write_whole

        write_whole({path: json_bytes(report.to_dict())})
