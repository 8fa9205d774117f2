"""What is said of a file that is cut off, damaged, or made to mislead: the same of every format."""

from dinoport.errors import CheckpointError

MADE_TO_MISLEAD = "a damaged file, or one that was made to mislead"

BROKE_OFF = "a download or a copy that broke off"

COMPARE_SIZES = "fetch the file again and compare its size with the original's"

FETCH_AGAIN = "fetch the file again from where it came"


def damaged(
    what: str,
    found: str,
    expected: str | None = None,
    *,
    where: str | None = None,
    cause: str = MADE_TO_MISLEAD,
    next_step: str = FETCH_AGAIN,
) -> CheckpointError:
    """A file that contradicts itself, or its format."""
    return CheckpointError(what, where=where, expected=expected, found=found, cause=cause, next_step=next_step)


def too_short(
    source: str,
    expected: str,
    found: str,
    *,
    where: str | None = None,
    cause: str = BROKE_OFF,
    next_step: str = COMPARE_SIZES,
) -> CheckpointError:
    """A file, or a part of one, that ends before what is in it does."""
    return damaged(f"{source} ends too early", found, expected, where=where, cause=cause, next_step=next_step)
