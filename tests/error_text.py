"""What an error says, as the text that a user reads."""

from collections.abc import Callable

import pytest


def error_text(kind: type[BaseException] | tuple[type[BaseException], ...], call: Callable[[], object]) -> str:
    """The words of the error of this kind that a call has to raise."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)
