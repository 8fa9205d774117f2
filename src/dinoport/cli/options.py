"""Every option of every command, once: the field that it fills, its words of help, and how its text becomes a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dinoport.errors import UsageError
from dinoport.request import CHOICES, Checks, Request, option_of
from dinoport.shown.calls import CALL
from dinoport.shown.text import as_path, shell_word

if TYPE_CHECKING:
    import ast

T = TypeVar("T", Request, Checks)


def number(text: str) -> object:
    """A number, where the text is one; what is not a number is refused by the field."""
    try:
        return float(text) if set(text) & set(".eEnN") else int(text)
    except ValueError:
        return text


def statistics(text: str) -> object:
    """`0.485,0.456,0.406`, one number a channel."""
    values = tuple(number(part) for part in text.split(","))
    return text if any(isinstance(value, str) for value in values) else values


def size_bytes(text: str, field: str = "max_shard_bytes") -> int:
    """`5GB`, `500MB`, `1000000`."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([KMGT]?)B?", text.strip().upper())
    size = int(float(found[1]) * 1000 ** " KMGT".index(found[2] or " ")) if found else 0
    if size <= 0:
        raise UsageError(f"`{field}` takes a size", expected="5GB, 500MB or a number of bytes", found=text)
    return size


class Option(NamedTuple):
    """`metavar` stands for the value in the help; a switch has none. `default` is told where no field has one."""

    field: str
    metavar: str
    help: str
    read: Callable[[str], object] = str
    default: str = ""


def choice(field: str, words: str, default: str = "") -> Option:
    """An option that takes one of a few names."""
    return Option(field, "|".join(CHOICES[field]), words, default=default)


GROUPS: dict[str, tuple[Option, ...]] = {
    "source": (
        Option("checkpoint_key", "KEY", "Which copy of the model: teacher, student …", default="teacher"),
        Option("prefix", "PREFIX", "Where in the file the model lies, as dinoport inspect prints it."),
        Option("head", "FILE", "A linear classifier to include: its file, or imagenet for the published one."),
        Option("head_name", "NAME", "Which layer of the head's file, where it holds several."),
        Option("source_name", "NAME", "A name for SOURCE in the report, in place of its path."),
        Option("num_heads", "N", "Attention heads, where the file does not say.", number),
        Option(
            "decoder_heads", "N", "Attention heads of an MAE's decoder: 16 in published ones, else asked for.", number
        ),
        Option("layer_norm_eps", "EPS", "LayerNorm epsilon, where it is not the original's default.", number),
        choice("interpolation", "How the original resamples its position table, where it does not use its default."),
        Option("codebase", "NAME", "Whose model this is, where names and shapes do not tell: dino, moco_v3, mae …"),
        Option("lora_alpha", "N", "How strong LoRA adapters in the file are, where it does not say.", number),
        Option("base", "SOURCE", "The model that a PEFT adapter was trained on, if it is not in the adapter's folder."),
        Option("image_mean", "R,G,B", "Pixel means, from 0 to 1.", statistics),
        Option("image_std", "R,G,B", "Pixel standard deviations, from 0 to 1.", statistics),
    ),
    "result": (
        choice(
            "to",
            "A folder of Transformers or of timm, the original's names in one torch file, or a start for its training.",
            "transformers",
        ),
        Option("class_name", "CLASS", "The class of Transformers, where several hold the model."),
        choice("dtype", "Round the weights.", "as stored"),
        Option("image_size", "PIXELS", "The input size that the folder is for.", number, "the source's"),
        choice("pooler", "identity: pooler_output is the CLS token; none: no pooler.", "identity"),
        Option("labels", "FILE", "Class names: a JSON file, or imagenet-1k."),
        Option("max_shard_bytes", "SIZE", "The most that one file of weights may hold: 500MB …", size_bytes, "5GB"),
        Option("config", "FILE", "For --to training: the config of the training to come.", Path),
        Option("ranks", "N", "For --to training: how many processes are to load it.", number, "1"),
        Option("allow_nonfinite", "", "Convert weights that hold NaN or infinity as they are."),
        Option("force", "", "Replace FOLDER if it is empty or holds only a model."),
        Option("keep_unproven", "", "Keep a folder that failed its proof as FOLDER.unproven."),
        Option("dry_run", "", "Print the plan and write nothing."),
    ),
    "proof": (
        choice(
            "level", "exact compares all tensors, without torch; full runs the model too; none proves nothing.", "full"
        ),
        Option("image", "FILE", "A picture to compare outputs and pixels on.", Path),
        Option("all_sizes", "", "Compare outputs at two more input sizes."),
        Option(
            "reference",
            "hub|FOLDER",
            "Also compare with the original's own code: torch.hub's, or a checkout's. Runs code from there.",
        ),
        Option("processor", "FOLDER", "For an ONNX file: the folder whose image processor goes before it.", Path),
    ),
    "pictures": (
        Option("out", "FOLDER", "Where the pictures go.", default="visualization"),
        Option("size", "PIXELS", "The shorter side of the picture.", number, "480"),
        Option("mass", "SHARE", "The share of attention that masks hold.", number, "0.6"),
    ),
    "publication": (
        Option("private", "", "Make a repository that only its owner sees."),
        Option("no_private", "", "Make a repository that everybody sees."),
        Option("revision", "BRANCH", "The branch, which is made where it does not exist.", default="main"),
        Option("create_pr", "", "Propose the files to somebody else's repository, in a pull request."),
        Option("commit_message", "TEXT", "The title of the commit, or of the pull request."),
        Option("card", "FILE", "A model card of your own, which comes before dinoport's.", Path),
        Option("token", "TOKEN", "A token that may write.", default="HF_TOKEN, or what hf auth login keeps"),
    ),
    "fleet": (
        Option(
            "manifest",
            "FILE",
            "The jobs: one JSON object a line, with source, target, and each option by its name (num_heads …).",
            Path,
        ),
        Option("at_once", "N", "Jobs at a time.", number, "by cores and memory"),
        Option(
            "memory_bytes",
            "SIZE",
            "Memory for all jobs together: 16GB …",
            lambda text: size_bytes(text, "memory_bytes"),
            "four fifths of the free memory",
        ),
        Option("recheck", "", "Prove the folders again that are there already."),
        Option("shard", "I/N", "Do one of N parts of the list, as a scheduler's array does."),
        Option("fail_fast", "", "Stop at the first job that fails."),
    ),
    "inspection": (Option("heads", "", "Read the number of heads from the weights."),),
    "output": (
        Option("report", "FILE", "Write the report here, proven or not: .html is a page, .json is data.", Path),
        Option("as_json", "", "Print one JSON object on stdout."),
        Option("quiet", "", "Show no progress."),
    ),
}

MORE = "…"
"""What stands for more words of the same kind."""

NAMES = tuple(option.field for options in GROUPS.values() for option in options)

_NAMED = re.compile(rf"`({'|'.join(NAMES)})(?:=([^`]*))?`")


def as_options(text: str) -> str:
    """A message of the library as the command line says it: with its commands for calls, and its options for fields."""
    text = CALL.sub(_command, text)
    return _NAMED.sub(lambda found: f"{option_of(found[1])} {(found[2] or '').strip(chr(39))}".rstrip(), text)


def _command(found: re.Match[str]) -> str:
    """The command that does what a call does: `dinoport convert checkpoint.pth FOLDER --to timm`."""
    import ast

    try:
        call = ast.parse(found[0].strip("`"), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            return found[0]
        name, places = call.func.attr, [as_path(word) for place in call.args for word in _words(place)]
        given = ((option_of(field.arg or ""), ",".join(_words(field.value))) for field in call.keywords)
        options = [word for option in given for word in option]
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a tensor may be called like one, of any depth
        return found[0]
    places = [*places[-1:], *places[:-1]] if name == "fleet" else places  # OUT comes first there
    words = ["dinoport", name, *places, *(word for word in options if word != "True")]
    return " ".join(word if word == MORE else shell_word(word) for word in words)


def _words(value: ast.expr) -> Iterator[str]:
    """The words of a command for a value, of which a list has several."""
    import ast

    if isinstance(value, ast.List):
        for each in value.elts:
            yield from _words(each)
    elif isinstance(value, ast.Constant):
        yield MORE if value.value is ... else str(value.value)
    else:
        yield ast.unparse(value)


def asked_of(kind: type[T], given: Any, **others: Any) -> T:
    """What the options of a command ask for. Raises UsageError for a value that its field does not take."""
    fields = {name: value for name, value in vars(given).items() if value is not None and hasattr(kind, name)}
    return kind(**{**fields, **others})
