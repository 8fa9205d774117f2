"""The commands: each is one call of the API plus printing. Data on stdout, progress on stderr."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from dinoport.cli.console import fleet_progress, progress_bars
from dinoport.cli.options import GROUPS, Option, asked_of
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
from dinoport.cli.parsing import HELP, Command, help_of, help_of_program, parse, unknown_command, with_paths
from dinoport.cli.session import Interrupted, interruptible, run
from dinoport.errors import NotProvenError, UsageError
from dinoport.files.address import local_folder, refuse_empty
from dinoport.request import PROVING, Checks, Request
from dinoport.shown import calls
from dinoport.shown.address import is_at_hub
from dinoport.shown.packages import PROOF, installing, missing

ABOUT = """\
Convert any checkpoint of the DINO family into a Hugging Face Transformers folder, proven equal.

  dinoport inspect checkpoint.pth             what is in it, how to convert it
  dinoport convert checkpoint.pth my-model    convert it, and prove the result

Exit codes: 0 done; 1 not done, because of SOURCE, another file or this machine; 2 a wrong command, whatever its files
hold; 3 not equal."""


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


def completion(given: Any) -> None:
    from dinoport.cli.completion import script

    print(script(given.shell, COMMANDS))


SOURCE = (
    "A checkpoint file, the folder of a run or of a distributed checkpoint, a folder of Transformers or timm, "
    "a published name, or an address (https://, hf://, s3:// …)."
)
OF_SOURCE, WRITTEN, OF_PROOF, DRAWN, SENT, CREWED, LOOKED, SAID = (
    [option.field for option in options] for options in GROUPS.values()
)
PROVEN = [name for name in OF_PROOF if name != "processor"]

OF_ONE = ("source_name", "force", "keep_unproven", "dry_run")
"""Options for one conversion at a time."""

COMMANDS = (
    Command(
        convert,
        "Convert SOURCE into FOLDER, and prove that they are equal.",
        {"source": SOURCE, "folder": "The folder to write."},
        [*OF_SOURCE, *WRITTEN, *PROVEN, *SAID],
        "FOLDER is written only if the proof holds. The first line of the output is the verdict: equal (exceptions and "
        "assumptions are listed below it), transported exactly (every tensor was found again, and the model was not "
        "run), computed again (the same, where most tensors were rounded or merged), or not equal (exit code 3; the "
        "report says why).",
    ),
    Command(
        inspect,
        "Say what SOURCE is, what is in it, and what it would become.",
        {"source": SOURCE},
        [*OF_SOURCE[:-2], *LOOKED, "as_json", "quiet"],
        "Exit code 0 says that SOURCE was read. Whether it can be converted stands in the output: with --json, refusal "
        "is null where it can.",
    ),
    Command(
        verify,
        "Prove that FOLDER is equal to SOURCE.",
        {
            "source": SOURCE,
            "folder": "What was made from SOURCE: a folder, a file, an ONNX graph, or hf://owner/name[@revision]. "
            "Without it, SOURCE is a converted folder: the answer is whether its files changed since.",
        },
        [*OF_SOURCE, "dtype", "image_size", "pooler", "labels", *OF_PROOF, *SAID],
        "FOLDER's dinoport.json says how it was made. Values that no file says are listed as assumptions: give those "
        "that you know, such as --num-heads. Files of a head or of labels have to be given again. Exit code 3: not "
        "equal, or changed.",
        optional={"folder": None},
        own=(
            Option(
                "level",
                "|".join(PROVING),
                "exact compares all tensors, without torch; full runs the model too.",
                default="full",
            ),
        ),
    ),
    Command(
        publish,
        "Send a proven FOLDER to the Hugging Face Hub, and read it back.",
        {"folder": "A converted folder.", "repository": "owner/name"},
        [*SENT, "source_name", "as_json", "quiet"],
        "Only what FOLDER's dinoport.json lists is sent, in one commit, without paths of this machine. A second run "
        "sends nothing twice.",
    ),
    Command(
        fleet,
        "Convert many checkpoints, each into a folder in OUT, and prove each.",
        {
            "out": "The folder of the fleet.",
            "source": "Checkpoints, patterns, runs' folders with all their checkpoints, or addresses of folders.",
        },
        [*(name for name in (*OF_SOURCE, *WRITTEN) if name not in OF_ONE), "level", *CREWED, "as_json", "quiet"],
        "To go on with a fleet that was stopped, run the same command again: what is done stays done. Exit code 3: "
        "something is not equal; 1: something could not be converted.",
        optional={"source": []},
    ),
    Command(models, "List the published models that SOURCE can name.", {}, ["as_json"]),
    Command(
        visualize,
        "Draw what FOLDER sees in IMAGE: attention, masks, components.",
        {"folder": "A converted folder.", "image": "A picture, such as JPEG or PNG."},
        [*DRAWN, "as_json", "quiet"],
    ),
    Command(
        demo,
        "Convert the training checkpoint that ships with dinoport.",
        {"folder": "The folder to write.  [default: dinoport-demo]"},
        ["force", *SAID],
        optional={"folder": "dinoport-demo"},
    ),
    Command(
        completion,
        "Print a script that completes commands and options in a shell.",
        {"shell": "bash, zsh or fish."},
        [],
        'For bash: eval "$(dinoport completion bash)" in ~/.bashrc.',
    ),
)


def dispatch(words: Sequence[str]) -> object:
    """Run the command that the words of a command line ask for."""
    if not with_paths(words):
        print(help_of_program(COMMANDS, ABOUT), end="", file=sys.stderr)
        return 2
    name, *others = with_paths(words)
    if name in HELP:
        print(help_of_program(COMMANDS, ABOUT), end="")
        return 0
    if name == "--version":
        from dinoport import __version__

        print(f"dinoport {__version__}")
        return 0
    command = next((command for command in COMMANDS if command.name == name), None)
    if command is None:
        raise unknown_command(name, others, [command.name for command in COMMANDS])
    if any(word in HELP for word in others):
        print(help_of(command), end="")
        return 0
    return command.run(parse(command, others))


def main() -> NoReturn:
    """The entry point of the program."""
    run(lambda: dispatch(sys.argv[1:]), as_json="--json" in sys.argv)
