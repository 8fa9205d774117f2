"""How long servers are waited for: after one failure, after many in a row, and over all that is read of a file."""

import time
from threading import Lock

from dinoport.errors import CheckpointError
from dinoport.files.remote.client import BrokenConnectionError

WAITS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each further try. It starts anew once enough bytes have come."""

ENOUGH_BYTES = 4 * 1024
"""What has to come for a failure not to be counted with those before: many answers of a byte are not progress."""

WAITS_FOR_ANSWER, WAITS_WHEN_SLOW = 2, 1
"""How many of these waits are spent on a server that cannot be reached at all, and on one that is too slow."""

MAX_WAIT_SECONDS = 60.0
"""A server that asks for more patience than this is not waited for."""

MAX_WAITED_SECONDS, BYTES_PER_SECOND_WAITED = 120.0, 100_000
"""What all waits and answers of one file, or folder, may take together: so long, and longer with what has come."""

NOT_REACHED = "check the network and the address, or fetch the file elsewhere and give its path"

sleep = time.sleep


class Budget:
    """What the waits and answers of one file, or of the files of a folder, take together. Safe with several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._spent = 0.0

    def came(self, count: int) -> None:
        with self._lock:
            self._spent -= count / BYTES_PER_SECOND_WAITED

    def spend(self, seconds: float) -> bool:
        """Whether there was as much left."""
        with self._lock:
            self._spent += seconds
            return self._spent <= MAX_WAITED_SECONDS


class Patience:
    """Counts failures in a row, waits after each, and gives up with the reason of the last."""

    def __init__(self, where: str, budget: Budget | None = None) -> None:
        self.next_step = "try again later"
        self._where, self._budget = where, budget or Budget()
        self._failures = self._came = 0

    def progressed(self, count: int) -> None:
        self._budget.came(count)
        self._came += count
        if self._came >= ENOUGH_BYTES:
            self._failures = self._came = 0

    def answered(self, seconds: float) -> None:
        """Raises CheckpointError for answers that take too long all together."""
        if not self._budget.spend(seconds):
            raise self.over(f"its answers and waits took more than {MAX_WAITED_SECONDS:.0f} seconds all together")

    def broke(self, error: BrokenConnectionError) -> None:
        """As `failed`, with what an error says."""
        if error.useless:
            raise self.over(str(error), NOT_REACHED) from None
        tries = WAITS_WHEN_SLOW if error.slow else WAITS_FOR_ANSWER if error.before_answer else len(WAITS_SECONDS)
        self.failed(str(error), tries, next_step=NOT_REACHED if error.before_answer else None)

    def failed(
        self,
        reason: str,
        tries: int = len(WAITS_SECONDS),
        *,
        wait_seconds: float | None = None,
        next_step: str | None = None,
    ) -> None:
        """Wait before the next try. Raises CheckpointError when there have been enough."""
        seconds = max(WAITS_SECONDS[min(self._failures, tries - 1)], wait_seconds or 0.0)
        self._failures, self._came = self._failures + 1, 0
        if seconds > MAX_WAIT_SECONDS:
            raise self.over(f"{reason}, and asks to wait {seconds:.0f} seconds", next_step)
        if self._failures > tries:
            raise self.over(reason, next_step)
        self.answered(seconds)
        sleep(seconds)

    def over(self, reason: str, next_step: str | None = None) -> CheckpointError:
        """What to raise where no further try is made."""
        return CheckpointError(
            f"{self._where} could not be read: {reason}",
            found=f"{self._failures} tries in a row failed" if self._failures > 1 else None,
            next_step=next_step or self.next_step,
        )
