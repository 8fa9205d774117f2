"""Which objects may be keys of a dict: hashing them calls nothing, and takes a bounded time.

Text and bytes are hashed with a secret, numbers and tuples without one: a file can choose many that fall on one
another in a hash table, and each of them then costs a walk over all before it.
"""

from __future__ import annotations

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
