"""The program: the table of its commands, and what runs the one that a command line names."""

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from dinoport.cli.commands import convert, demo, fleet, inspect, models, publish, verify, visualize
from dinoport.cli.options import GROUPS, Option
from dinoport.cli.parsing import HELP, Command, help_of, help_of_program, parse, unknown_command, with_paths
from dinoport.cli.session import run
from dinoport.request import PROVING

ABOUT = """\
Convert any checkpoint of the DINO family into a Hugging Face Transformers folder, proven equal.

  dinoport inspect checkpoint.pth             what is in it, how to convert it
  dinoport convert checkpoint.pth my-model    convert it, and prove the result

Exit codes: 0 done; 1 not done, because of SOURCE, another file or this machine; 2 a wrong command, whatever its files
hold; 3 not equal."""


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
