"""The tables that a pickle fills: what it put aside to refer to again, and which objects may be keys of a dict.

A key's hash calls nothing and takes a bounded time. Text and bytes are hashed with a secret, numbers and tuples without
one: a file can choose many that fall on one another in a hash table, and each then costs a walk over all before it.
"""

from dinoport.formats.torch.stand_ins import Global, Opaque

MAX_KEY_PARTS = 32
"""Of a tuple as a key: hashing one walks through all that it holds, each time."""

MAX_COMPOSITE_KEYS = 2_000
"""Tuples as keys in one pickle. Genuine checkpoints have none; ten thousand that collide take two seconds."""

MAX_KEY_INTEGER = 2**63
"""Numbers beyond can be made to collide without end; within, eight at most share a hash."""


class KeyCheck:
    """Judges the keys of one pickle."""

    def __init__(self) -> None:
        self._composite_keys = 0

    def problem(self, key: object) -> str | None:
        """What keeps an object from being a key; None if nothing does."""
        pending, parts = [key], 0
        while pending:
            part = pending.pop()
            parts += 1
            if isinstance(part, (tuple, frozenset)):
                if parts + len(pending) + len(part) > MAX_KEY_PARTS:
                    return f"a tuple of more than {MAX_KEY_PARTS} parts as a key"
                pending += part
            elif isinstance(part, int) and abs(part) > MAX_KEY_INTEGER:
                return "a number of more than 64 bits as a key"
            elif not (part is None or isinstance(part, (str, int, float, bytes, Opaque, Global))):
                return f"a {type(part).__name__} as a key"
        if isinstance(key, (tuple, frozenset)):
            self._composite_keys += 1
            if self._composite_keys > MAX_COMPOSITE_KEYS:
                return f"more than {MAX_COMPOSITE_KEYS} tuples as keys"
        return None


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
