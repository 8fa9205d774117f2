"""The program: `dinoport`, or `python -m dinoport`."""

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from types import FrameType

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")

GARBAGE_AFTER = 200_000
"""Objects made before Python looks for unreachable circles, for 700: modules that are imported leave none."""


def main() -> None:
    """Run the command line. Whoever stops it while it is being imported finds nothing to clean up."""
    for name in STOPPING:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _leave)
    gc.set_threshold(GARBAGE_AFTER)
    from dinoport.cli.program import main as command_line

    try:
        command_line()
    except SystemExit as end:
        _end(end.code if isinstance(end.code, int) else 1)


def _end(code: int) -> None:
    """End at once: taking torch apart, module by module, takes Python two seconds."""
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):  # which has been told, where somebody listens
            stream.flush()
    os._exit(code)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
