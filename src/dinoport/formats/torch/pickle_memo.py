"""What a pickle has put aside to refer to again."""

from __future__ import annotations

MAX_GAP = 1
"""Numbers that may be left out at once: Python 2 counted from one."""

_NOTHING = object()


class PickleMemo:
    """Objects by their numbers. Picklers count up, so nearly all lie in a list: a tenth of what a dict takes."""

    def __init__(self) -> None:
        self._counted: list[object] = []
        self._others: dict[int, object] = {}
        self._gaps = 0

    def __len__(self) -> int:
        """How many there are, which is the number that the next one gets where the pickle names none."""
        return len(self._counted) - self._gaps + len(self._others)

    def put(self, index: int, value: object) -> None:
        if index in self._others:
            self._others[index] = value
        elif index < len(self._counted):
            self._gaps -= self._counted[index] is _NOTHING
            self._counted[index] = value
        elif index <= len(self._counted) + MAX_GAP:
            gap = index - len(self._counted)
            self._counted += [_NOTHING] * gap
            self._gaps += gap
            self._counted.append(value)
        else:
            self._others[index] = value

    def get(self, index: int) -> object:
        """Raises KeyError for a number that nothing was put under."""
        if not 0 <= index < len(self._counted):
            return self._others[index]
        value = self._counted[index]
        if value is _NOTHING:
            return self._others[index]
        return value
