"""What a folder's own report says of its conversion, against what is found now."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from os.path import isfile
from pathlib import Path
from typing import Any

from dinoport.codebases.fields import same_json
from dinoport.errors import SettingError
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.transformers_folder import REPORT
from dinoport.model import FIELDS, Origin
from dinoport.proofs.verdict import Blamed, Proofs
from dinoport.report.as_json import FORMAT, is_sealed
from dinoport.report.report import Report
from dinoport.request import Request
from dinoport.shown.text import shown, value_text
from dinoport.work.conversion import Conversion
from dinoport.work.folder import RESEALED, broken_hashes

BRANCH = ("source", "branch")

OF_THE_FILE = (("source", "format"), ("source", "size_bytes"), BRANCH)
"""Fields of dinoport.json that another file with the same tensors has otherwise."""


FORMATS = (1, FORMAT)
"""Layouts that a folder's report can have: 1 is that of 0.1, whose request does not say what `direction` says."""


TRANSFORM = ("model", "transform")
"""The transform, which only the report of a way back keeps."""

COUNTS = ("accounting", "tensors")
"""How many tensors were copied, made and dropped on the way."""

COMPUTED_AGAIN = (
    ("direction",),
    *OF_THE_FILE,
    ("model", "family"),
    ("model", "class"),
    TRANSFORM,
    ("request",),
    COUNTS,
    ("accounting", "size_bytes"),
)
"""Fields of dinoport.json that follow from the source and the request alone. Words, which a later version may put
better, are left to the file's own hash."""


def contradictions(
    path: Path,
    recorded: Mapping[str, object],
    fresh: Report,
    given: Collection[str] = (),
    *,
    another: bool,
    otherwise: bool = False,
) -> Iterator[str]:
    """What in a folder's dinoport.json is damaged, or is not what the source gives now.

    Of `another` file with the same tensors no more is asked than that it gives the same model. `given` are the fields
    of the request that the verifier says: what they make of the folder is in its config. `otherwise` says that some of
    them ask for something else than the conversion did: of another branch other bytes are compared.
    """
    yield from broken_seal(path, recorded)
    expected = fresh.to_dict()
    if (found := recorded.get("format")) not in FORMATS or type(found) is not int:
        yield f"{REPORT}: format is {value_text(found)}, expected {' or '.join(map(str, FORMATS))}"
    left_out = ("to", "head", "labels", "config", "base", *given)
    for keys in COMPUTED_AGAIN:
        of_the_way = keys == ("model", "class") and fresh.request.get("to") == "original"
        if another and (keys in OF_THE_FILE or keys == COUNTS or of_the_way):
            continue  # the class of a way back is what the source was; what one source holds another leaves to be made
        if keys == TRANSFORM and (another or at(recorded, keys) is None):
            continue  # 0.1 wrote none, and another file may lie beside another config
        found, computed = (without(left_out, at(report, keys)) for report in (recorded, expected))
        yield from (f"{REPORT}: {differing}" for differing in _differing(".".join(keys), found, computed))
    settings, now = (_settings(report) for report in (recorded, expected))
    for name in sorted(settings.keys() | now.keys()):
        old, new = settings.get(name), now.get(name)
        weighed = old and new and Origin.READ.value in (old[1], new[1])  # by the weights, at some levels
        confirmed = old and new and old[0] == new[0] and (another or weighed or FIELDS.get(name) in given)
        unnamed = old is None and recorded.get("format") == 1  # dinoport 0.1 named fewer settings
        if name == "pixel statistics" and new is None:
            continue  # earlier reports named them beside pixel mean and pixel std, which are compared
        if name == "codebase" and another and None in (old, new):
            continue  # of a folder of Transformers none is told: the family is in its config, and is compared as such
        if name == "interpolation" and another and at(expected, ("request", "image_size")) is None:
            continue  # no table was resampled: outputs at other sizes show what this does
        if old != new and not (confirmed or unnamed):
            yield f"{REPORT}: {name} is {_setting_text(old)}, the source gives {_setting_text(new) if new else 'none'}"
    if not another and not (otherwise and at(recorded, BRANCH) != at(expected, BRANCH)):
        yield from _changed_source(recorded, fresh, otherwise=otherwise)


def is_another_file(conversion: Conversion, folder: Checkpoint) -> bool:
    """Whether the source is evidently another file than the one that was converted: it has another size.

    One of the same size passes for that file, so what differs in it is damage.
    """
    if folder.report is None:
        return False
    then = [file.get("size_bytes") for file in source_files(folder.report)]
    if not then:  # converted with --verify none
        return bool(at(folder.report, ("source", "size_bytes")) != conversion.checkpoint.size_bytes)
    return then != [source.size_bytes for source in conversion.sources]


def made_otherwise(recorded: Request, given: Request | None) -> tuple[str, ...]:
    """Which options ask for something else than the folder was made with, by its own report."""
    then, now = recorded.to_dict(), (given or Request()).to_dict()
    differing = [name for name in now if name != "to" and now[name] != then.get(name)]
    return tuple(
        f"the folder was made otherwise: `{name}={now[name]}` was given, the conversion had "
        + (f"`{name}={then[name]}`" if name in then else "no such option")
        for name in differing
    )


def which_changed(path: Path, recorded: Mapping[str, object] | None, proofs: Proofs) -> tuple[str, ...]:
    """Which of the two is not what it was when the folder was written, where their tensors differ."""
    if recorded is None or proofs.exact is None or proofs.exact.passed:
        return ()
    if any(broken_seal(path, recorded)):
        return (f"which of the two changed cannot be told: {REPORT} was changed itself",)
    if not is_as_written(path, recorded):
        return (f"of the two, the folder changed: it does not have the hashes with which it was written ({REPORT})",)
    return (
        f"the folder has the hashes with which it was written ({REPORT}): the source changed since, or is another file",
    )


def blamed(
    path: Path, recorded: Mapping[str, object] | None, fresh: Report, proofs: Proofs, *, another: bool
) -> Blamed | None:
    """What of the source is at fault where a proof of the tensors fails, or the file differs besides them."""
    differs = proofs.exact is not None and not proofs.exact.passed
    if another:
        return Blamed.ANOTHER_SOURCE if differs else None
    changed = recorded is not None and (differs or any(_changed_source(recorded, fresh)))
    return Blamed.SOURCE_CHANGED if changed and is_as_written(path, recorded) else None


@contextmanager
def another_file_said(source: str | Path, recorded: Mapping[str, object] | None) -> Iterator[None]:
    """Of a file that asks for more than the one that was converted did, say first that it is another."""
    try:
        yield
    except SettingError as error:
        then = [file.get("size_bytes") for file in source_files(recorded or {})]
        there = isfile(source)  # noqa: PTH113  # Path.is_file raises OSError for a name that is too long
        alone = there and Path(source).suffix != ".json"  # an index of several files has no weights itself
        if len(then) == 1 and alone and (size_bytes := Path(source).stat().st_size) != then[0]:
            steps = (error.next_step,) if isinstance(error.next_step, str) else error.next_step or ()
            given = (
                f"this is another file ({size_bytes} bytes) than the one that was converted ({plain(then[0])} bytes)"
            )
            error.next_step = (f"{given}: give that one", *steps)
        raise


def is_as_written(path: Path, recorded: Mapping[str, object] | None) -> bool:
    """Whether the files of a folder, and its report, are what they were when they were written."""
    if recorded is None:
        return False
    return not any(broken_seal(path, recorded)) and not any(broken_hashes(path, recorded, documents=False))


def broken_seal(path: Path, recorded: Mapping[str, object]) -> Iterator[str]:
    """Whether dinoport.json is not what it was when it was written."""
    if not is_sealed((path / REPORT).read_bytes(), recorded):
        yield RESEALED


def without(names: Collection[str], value: object) -> object:
    """A request without fields that need not be the same: files lie elsewhere by now, what is in them is pinned."""
    if isinstance(value, Mapping):
        return {name: each for name, each in value.items() if name not in names}
    return value


def source_files(recorded: Mapping[str, object]) -> list[dict[str, Any]]:
    files = at(recorded, ("source", "files"))
    return [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []


def _changed_source(recorded: Mapping[str, object], fresh: Report, *, otherwise: bool = False) -> Iterator[str]:
    """Bytes besides the tensors that were converted, which no proof compares. With `otherwise` they may be others."""
    for old, new in zip(source_files(recorded), fresh.source.files, strict=False):
        if otherwise and (then := old.get("other_bytes")) != new.other_bytes:
            left = f"these options leave {new.other_bytes} bytes besides the tensors, the conversion's {plain(then)}"
            yield f"{new.name}: {left}"
        elif old.get("other_bytes") != new.other_bytes or _differ(old.get("other_sha256"), new.other_sha256):
            yield f"{new.name} is not the file that was converted: what else it holds, besides the tensors, differs"


def _differ(then: object, now: str | None) -> bool:
    """Whether two hashes contradict each other: one that was not made, for its size or the distance, does not."""
    return then is not None and now is not None and then != now


def _settings(report: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """Value and origin of each setting; what was given to the conversion is a claim where it is not given again."""
    settings = at(report, ("model", "settings"))
    found = [setting for setting in settings if isinstance(setting, dict)] if isinstance(settings, list) else []
    given = {Origin.CLAIMED.value: Origin.GIVEN.value}
    return {
        str(setting.get("name")): (setting.get("value"), given.get(str(setting.get("origin")), setting.get("origin")))
        for setting in found
    }


def _differing(name: str, found: object, computed: object) -> Iterator[str]:
    """What a field is and should be, in words; of an object each of its fields that differs."""
    if isinstance(found, Mapping) and isinstance(computed, Mapping):
        for key in sorted(found.keys() | computed.keys()):
            yield from _differing(f"{name}.{key}", found.get(key, ABSENT), computed.get(key, ABSENT))
    elif found is ABSENT or computed is ABSENT or not same_json(found, computed):
        yield f"{name} is {_field_text(found, 'absent')}, the source gives {_field_text(computed, 'none')}"


ABSENT = object()
"""Stands for a field that one of two objects lacks, which null does not."""


def _field_text(value: object, nothing: str) -> str:
    if value is ABSENT or (value is None and nothing == "none"):
        return nothing
    return value_text(value)


def _setting_text(setting: tuple[object, object] | None) -> str:
    """`2 (given)`: a setting's value, and where it came from."""
    if setting is None:
        return "not set"
    value, origin = setting
    return f"{plain(value)} ({plain(origin)})"


def plain(value: object) -> str:
    """A text of a report as it is, anything else as JSON has it."""
    return shown(value, 200) if isinstance(value, str) else value_text(value)


def at(data: object, keys: tuple[str, ...]) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data
