"""The commands: each is one call of the API plus printing. Data on stdout, progress on stderr."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from dinoport.cli.console import fleet_progress, progress_bars
from dinoport.cli.options import asked_of
from dinoport.cli.output import (
    announce_code,
    announce_left,
    check_report,
    is_page,
    keep_and_show,
    lines_on,
    print_json,
    show_result,
)
from dinoport.cli.session import Interrupted, interruptible
from dinoport.errors import NotProvenError, UsageError
from dinoport.files.address import local_folder, refuse_empty
from dinoport.request import Checks, Request
from dinoport.shown import calls
from dinoport.shown.address import is_at_hub
from dinoport.shown.packages import PROOF, installing, missing


def convert(given: Any) -> None:
    from dinoport import api

    refuse_empty("SOURCE", given.source)
    target = local_folder(given.folder)
    request, checks = asked_of(Request, given), asked_of(Checks, given, pictures=is_page(given.report))
    check_report(given.report, given.source, target)
    if given.dry_run:
        from dinoport.work.arguments import refuse_early

        refuse_early(given.source, target, request, checks, force=given.force, keep_unproven=given.keep_unproven)
        with progress_bars(given.quiet) as on_progress:
            planned = api.plan(given.source, request, on_progress=on_progress)
        if checks.level == "full" and (absent := missing(*PROOF)):
            lacks = f"without `level='exact'` {', '.join(absent)} is needed (not installed): {installing(absent)}"
            verdict = replace(planned.verdict, warnings=(*planned.verdict.warnings, lacks))
            planned = replace(planned, verdict=verdict)
        keep_and_show(planned, given.as_json, given.report, with_plan=True)
        return
    announce_code(checks, request.to)
    try:
        with interruptible(target):
            with progress_bars(given.quiet) as on_progress:
                done = api.convert(
                    given.source,
                    target,
                    request,
                    checks,
                    force=given.force,
                    keep_unproven=given.keep_unproven,
                    on_progress=on_progress,
                )
            keep_and_show(done, given.as_json, given.report, target)
    except NotProvenError as error:
        keep_and_show(error.report, given.as_json, given.report)
        raise


def inspect(given: Any) -> None:
    from dinoport import api

    with progress_bars(given.quiet) as on_progress:
        found = api.inspect(given.source, asked_of(Request, given), heads=bool(given.heads), on_progress=on_progress)
    show_result(found, given.as_json)


def verify(given: Any) -> int:
    from dinoport import api

    refuse_empty("SOURCE", given.source)
    request, checks = asked_of(Request, given), asked_of(Checks, given, pictures=is_page(given.report))
    if given.folder is None:
        return _verify_alone(given, request, checks)
    target = given.folder if is_at_hub(given.folder) else local_folder(given.folder)
    check_report(given.report, given.source, target if isinstance(target, Path) else None)
    announce_code(checks)
    with progress_bars(given.quiet) as on_progress:
        done = api.verify(given.source, target, request, checks, on_progress=on_progress)
    keep_and_show(done, given.as_json, given.report)
    return NotProvenError.exit_code if done.verdict.failed else 0


def _verify_alone(given: Any, request: Request, checks: Checks) -> int:
    from dinoport import api

    if given.report is not None:
        raise UsageError(
            "`report` keeps a proof, which needs SOURCE and FOLDER", next_step="`as_json` prints the result"
        )
    with progress_bars(given.quiet) as on_progress:
        found = api.verify(given.source, None, request, checks, on_progress=on_progress)
    show_result(found, given.as_json)
    return NotProvenError.exit_code if found.changes else 0


def publish(given: Any) -> None:
    from dinoport import api

    if given.private and given.no_private:
        raise UsageError("`private` and `no_private` exclude each other", next_step="give one of the two")
    given.private = True if given.private else False if given.no_private else None
    names = ("private", "revision", "create_pr", "commit_message", "token", "card", "source_name")
    asked = {name: vars(given)[name] for name in names}
    with progress_bars(given.quiet) as on_progress:
        done = api.publish(given.folder, given.repository, **asked, on_progress=on_progress)
    show_result(done, given.as_json)


def fleet(given: Any) -> int:
    from dinoport import api
    from dinoport.work.fleets.jobs import expanded, read_manifest

    if bool(given.manifest) == bool(given.source):
        raise UsageError(
            "the checkpoints are named twice" if given.source else "no checkpoint is named",
            expected="SOURCE, or `manifest=FILE`",
            next_step=calls.runnable("fleet", [calls.SOURCE, calls.AND_SO_ON], calls.OUT),
        )
    out, request, level = local_folder(given.out), asked_of(Request, given), asked_of(Checks, given).level
    aside: list[str] = []
    sources = list(dict.fromkeys(each for source in given.source for each in expanded(source, aside)))
    announce_left([each for each in aside if each not in sources])
    jobs = read_manifest(given.manifest) if given.manifest else sources
    names = ("at_once", "memory_bytes", "recheck", "shard", "fail_fast")
    asked = {name: vars(given)[name] for name in names}
    try:
        with lines_on(sys.stdout), fleet_progress(given.quiet) as on_result:
            done = api.fleet(jobs, out, request, level=level, **asked, on_result=on_result)
    except Interrupted:
        raise Interrupted(f": what was done stays in {out}; the same command goes on") from None
    show_result(done, given.as_json)
    return done.exit_code


def models(given: Any) -> None:
    from dinoport.report.models import models_lines, models_to_dict

    if given.as_json:
        print_json(models_to_dict())
        return
    import shutil

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print("\n".join(models_lines(width)))


def visualize(given: Any) -> None:
    from dinoport import api

    asked = {name: vars(given)[name] for name in ("size", "mass") if vars(given)[name] is not None}
    out = "visualization" if given.out is None else given.out
    with progress_bars(given.quiet) as on_progress:
        drawn = api.visualize(given.folder, given.image, out, **asked, on_progress=on_progress)
    show_result(drawn, given.as_json)


def demo(given: Any) -> None:
    from dinoport import api

    target = local_folder(given.folder)
    check_report(given.report, None, target)
    with interruptible(target):
        with progress_bars(given.quiet) as on_progress:
            done = api.demo(target, force=given.force, pictures=is_page(given.report), on_progress=on_progress)
        keep_and_show(done, given.as_json, given.report, target)
