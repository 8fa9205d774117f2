"""Every option of every command, given its extremes: what is not a value is a message, and nothing is unexpected."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinoport import api
from dinoport.cli.options import GROUPS
from dinoport.cli.program import COMMANDS
from dinoport.errors import SettingError, UsageError
from dinoport.files.json_file import write_json
from dinoport.request import _FITTING, Checks, Request, check_fits, option_of
from dinoport.work.fleets.one_job import run_job
from tests import tiny
from tests.command_line import Run

NUMBERS = (
    *("0", "-0", "-0.0", "1", "-1", "0.5", "1.5", "2", "1e-12", "1e-300", "1e-400", "1e30", "1e300", "1e400", "nan"),
    *("-nan", "inf", "-inf", "Infinity", "0x10", "1_0", "٣", "9" * 30, "9" * 400, "9" * 5000, "0." + "0" * 400 + "1"),
)
LISTS = ("0,0,0", "1,1,1", "1e-300,1,1", "nan,0,0", "0.1,0.2", "0.5,0.5,inf", "-0.0,0,0", ",,", ",".join(["1"] * 3000))
SIZES = ("1B", "1", "999B", "1kB", "1e3", "0.0001GB", "-5GB", f"{'9' * 400}TB", "999999999999999T", "1.5.5GB", "5 GB")
TEXTS = ("", " ", "x" * 5000, "../..", "/", "\udcff", "\x1b[2J\n", "--", "-", "*", "~", "\u202e", "hf://", "https://[")
EXTREMES = (*NUMBERS, *LISTS, *SIZES, *TEXTS)


def options() -> Iterator[tuple[str, str]]:
    """Each command with each of its options that takes a value."""
    for command in COMMANDS:
        for option in (option for options in GROUPS.values() for option in options):
            if option.field in command.fields and option.metavar:
                yield command.name, option_of(option.field)


BOTH = ("SOURCE", "FOLDER")
ARGUMENTS = {"convert": BOTH, "inspect": BOTH[:1], "verify": BOTH, "demo": BOTH[1:]}
PROVEN = ("convert", "verify", "fleet")
EXPECTED = "dinoport met what it did not expect"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("extremes")
    api.convert(tiny.write(root / "checkpoint.pth"), root / "folder", tiny.REQUEST, level="exact")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(root / "picture.png")
    return root


def arguments(command: str, made: Path, out: Path) -> dict[str, object]:
    return {
        "convert": {"SOURCE": made / "checkpoint.pth", "FOLDER": out},
        "inspect": {"SOURCE": made / "checkpoint.pth"},
        "verify": {"SOURCE": made / "checkpoint.pth", "FOLDER": made / "folder"},
        "visualize": {"FOLDER": made / "folder", "IMAGE": made / "picture.png"},
        "demo": {"FOLDER": out},
        "models": {},
        "publish": {"FOLDER": made / "folder", "NAME": "owner/name"},
        "fleet": {"OUT": out, "SOURCE": made / "checkpoint.pth"},
    }[command]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed with torch has tests of its own; here it takes no time."""

    def refuse(*given: object) -> None:
        raise SettingError("no model is loaded here")

    def demo(folder: Path, **options: object) -> object:
        return api.convert(Path(api.__file__).with_name(api.DEMO_FILE), folder, Request(num_heads=2), level="exact")

    class Here:
        """The workers of a fleet, in this process."""

        running = ()

        def __init__(self, *given: object) -> None: ...

        def run(self, jobs: Iterable[Any]) -> Iterator[dict[str, Any]]:
            yield from map(run_job, jobs)

    monkeypatch.setattr("dinoport.work.fleet.Crew", Here)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("dinoport.pictures.seeing._load", refuse)
    monkeypatch.setattr(api, "demo", demo)


def check(run: Run, case: object, *words: object) -> None:
    done = run(*words)
    assert done.code in (0, 1, 2, 3), case
    assert EXPECTED not in done.err, (case, done.err)
    assert "Traceback" not in done.err, (case, done.err)
    assert done.code == 0 or done.err or done.out, case
    assert all(line.isprintable() for line in (done.err + done.out).split("\n")), (case, done.err)


@pytest.mark.parametrize(("command", "option"), [*options()])
def test_an_option_s_extremes(
    run: Run, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    level = ("--verify", "exact") if command in PROVEN and option != "--verify" else ()
    heads = ("--num-heads", "2") if command in (*PROVEN, "inspect") and option != "--num-heads" else ()
    for number, value in enumerate(EXTREMES):
        places = arguments(command, made, tmp_path / f"out{number}")
        check(run, (command, option, value[:40]), command, *places.values(), *level, *heads, f"{option}={value}")


@pytest.mark.parametrize("command", ARGUMENTS)
def test_an_argument_s_extremes(
    run: Run, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name in ARGUMENTS[command]:
        for number, value in enumerate(EXTREMES):
            (tmp_path / str(number)).mkdir(exist_ok=True)
            monkeypatch.chdir(tmp_path / str(number))
            places = arguments(command, made, tmp_path / str(number) / "out") | {name: value}
            level = ("--verify", "exact") if command in ("convert", "verify") else ()
            check(run, (command, name, value[:40]), command, *level, "--", *places.values())


VALUES = (
    *(None, True, False, 0, -1, 10**30, 10**5000, 0.0, -0.0, 1e-300, float("nan"), float("inf"), 1 + 2j, "", "\0"),
    *((), (0.5,), (float("nan"),) * 3, (1e-300,) * 3, (True,) * 3, ("0.5",) * 3, (10**5000,) * 3, [], {}, b"x", object),
)


def fits(name: str, value: object) -> bool:
    with suppress(UsageError):
        check_fits(name, value)
        return True
    return False


@pytest.mark.parametrize("name", _FITTING)
def test_a_value_in_python_fits_or_is_a_message(name: str) -> None:
    """Also what a dinoport.json says was asked for, which is written by whoever made the folder."""
    kind = next((kind for kind in (Request, Checks) if name in kind.__dataclass_fields__), None)
    values = [value for value in VALUES if value is not None]
    refused = [value for value in values if not fits(name, value)]
    assert len(refused) > len(values) // 2
    for value in refused if kind else ():
        with pytest.raises(UsageError, match=f"^`{name}` takes "):
            kind(**{name: value})


def test_what_fits_can_be_written_down(tmp_path: Path) -> None:
    for name in Request.__dataclass_fields__:
        for value in VALUES:
            if name in _FITTING and value is not None and fits(name, value):
                write_json(tmp_path / "request.json", Request(**{name: value}).to_dict())
