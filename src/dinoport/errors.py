"""The errors that a user can meet.

Each says what is wrong, where, what was expected and found, the likely cause and the next step, one line each;
a part that is not known is left out. The command line prints the text and exits with `exit_code`.
"""

from collections.abc import Sequence
from typing import Any

from dinoport.shown.text import shown

MAX_LINE_CHARACTERS = 1000
"""Of one line of a message. What a file says is quoted in it, and may be anything."""


PARTS = ("where", "expected", "found", "cause", "did_you_mean", "next_step")
"""What an error may say besides what is wrong."""


def printable(text: str) -> str:
    """A line of a message: shown as text, and cut where it is long."""
    return shown(text, MAX_LINE_CHARACTERS)


class DinoportError(Exception):
    """Something that a user can act on; never shown with a traceback. Each part is one line.

    Only `next_step` may be several: a tuple of them. `did_you_mean` is a name that nearly fits.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        cause: str | None = None,
        did_you_mean: str | None = None,
        next_step: str | tuple[str, ...] | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.found = found
        self.cause = cause
        self.did_you_mean = did_you_mean
        self.next_step = next_step
        super().__init__(what)

    def __str__(self) -> str:
        parts = (
            ("where", self.where),
            ("expected", self.expected),
            ("found", self.found),
            ("likely cause", self.cause),
            ("did you mean", self.did_you_mean),
        )
        lines = [printable(self.what), *(f"  {label}: {printable(text)}" for label, text in parts if text)]
        steps = self.next_step or ()
        for number, step in enumerate((steps,) if isinstance(steps, str) else steps):
            lines.append(f"{'       ' if number else '  try: '}{printable(step)}")
        return "\n".join(lines)

    @property
    def parts(self) -> dict[str, Any]:
        """All that is said besides `what` is wrong, by the names under which another error takes it over."""
        return {name: getattr(self, name) for name in PARTS}

    def to_dict(self) -> dict[str, object]:
        """What `--json` prints in the place of a result; docs/report.md names every field."""
        parts = {"what": self.what, **self.parts}
        if isinstance(self.next_step, tuple):
            parts["next_step"] = "\n".join(self.next_step)
        problems = list(getattr(self, "problems", ()))
        kind = next(cls.__name__ for cls in type(self).__mro__ if cls.__module__ == __name__)
        return {"error": {"kind": kind, **parts, "problems": problems}, "exit_code": self.exit_code}


class CheckpointError(DinoportError):
    """A source that cannot be read as a checkpoint: damaged, cut off, of another kind."""


class UnsafeCheckpointError(CheckpointError):
    """A source that may have been made to do harm: it names code that no checkpoint needs, or links to files outside
    its folder. None of this code was run, and none of these files was read.
    """


class UnknownModelError(DinoportError):
    """A readable checkpoint whose model is not known here, or is known and not supported."""


class PlanError(DinoportError):
    """Tensors that are missing, unexpected, misshapen or claimed twice: all of them, folded by block.

    The text has the first of them: a file of another model has hundreds.
    """

    MAX_LINES = 24

    def __init__(self, what: str, problems: Sequence[str], **parts: Any) -> None:
        super().__init__(what, **parts)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        head, *rest = super().__str__().split("\n")
        lines = [f"  - {printable(problem)}" for problem in self.problems[: self.MAX_LINES]]
        left = len(self.problems) - len(lines)
        return "\n".join([head, *lines, *([f"  - and {left} more"] if left else []), *rest])


class SettingError(DinoportError):
    """A value that neither the file nor the user gives, or that the user gives otherwise than the file.

    `missing` is the field of a request that has to be given, where it is one.
    """

    def __init__(self, what: str, *, missing: str | None = None, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.missing = missing


class FolderError(DinoportError):
    """A target that cannot be written: it exists, is in use, or the disk refuses."""


class InUseError(FolderError):
    """A target that another run is writing at this moment."""


class OutputError(DinoportError):
    """What a command prints cannot be written: stdout leads to a full disk."""


class HubError(DinoportError):
    """The Hub refuses, or cannot be reached. Nothing was published, or the next try finds what was."""


class MissingPackageError(DinoportError):
    """An extra that is needed and not installed."""


class UsageError(SettingError):
    """A wrong command, whatever its files hold: a value that its option does not take, options that exclude each other,
    or a wrong line of a manifest.
    """

    exit_code = 2


class NotProvenError(DinoportError):
    """A conversion whose proof failed, so no folder is written; or a folder too damaged to be verified.

    `report` says what was found. It is None for a damaged folder.
    """

    exit_code = 3

    def __init__(self, what: str, *, report: Any = None, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.report = report
