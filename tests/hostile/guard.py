"""Runs the command line under an audit hook, each time in a fresh fork of a process that has imported everything.

    python guard.py SOUND_CHECKPOINT PICTURE

Reads one JSON object a line on stdin, `{"argv": [...], "readable": [...], "writable": [...]}`, and answers one on
stdout. The hook lets through what a conversion does (it opens, makes, renames and removes files below the given
paths, starts threads) and nothing else: no process, no socket, no import, no compiled code, no other file.
"""

import gc
import json
import os
import pkgutil
import resource
import sys
import tarfile  # noqa: F401  # `formats/archives.py` imports it where a file may be an archive
import tempfile
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import dinoport
from dinoport.cli import program as cli

MAX_MEMORY_BYTES = 2 * 1024**3
"""Of address space, so that a file that does exhaust memory ends the child and not the machine."""

MAX_CPU_SECONDS = 30

HARMLESS = frozenset({
    "builtins.id", "code.__new__", "fcntl.flock", "fcntl.lockf", "gc.get_objects", "object.__getattr__",
    "object.__setattr__", "os.putenv", "os.unsetenv", "sys._getframe", "sys.excepthook", "sys.unraisablehook",
    "time.sleep",
    "_thread.start_new_thread", "_thread.start_joinable_thread", "signal.pthread_kill",
})  # fmt: skip
"""Events that reach nothing outside the process. `code.__new__` is how dataclasses.replace and namedtuple look."""

READING = frozenset({"open", "os.listdir", "os.scandir", "os.walk"})
WRITING = frozenset({
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.utime", "shutil.rmtree",
    "tempfile.mkdtemp", "tempfile.mkstemp",
})  # fmt: skip

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main(sound: str, picture: str) -> None:
    import_everything(sound, picture)
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


def import_everything(sound: str, picture: str) -> None:
    """Import every module but torch's, and go once through what each command and a refusal import on the way."""
    absent = {"torch": None, "transformers": None}
    sys.modules.update(absent)  # type: ignore[arg-type]  # as if not installed
    for module in pkgutil.walk_packages(dinoport.__path__, "dinoport."):
        if module.name.rpartition(".")[2] != "__main__":
            with suppress(ImportError):  # those that need torch
                __import__(module.name)
    for name in absent:
        del sys.modules[name]
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder, "out"))
        for argv in (
            ["convert", sound, out, "--verify", "exact", "--num-heads", "2"],
            ["convert", sound, out, "--dry-run", "--num-heads", "2"],
            ["convert", out, str(Path(folder, "back")), "--to", "original", "--verify", "exact"],
            ["verify", sound, out, "--verify", "exact"],
            ["inspect", sound],
            ["visualize", str(Path(folder, "none")), picture],
            ["visualize", out, sound],
            ["-x"],
        ):
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()), suppress(SystemExit):
                command_line(argv)


def command_line(argv: list[str]) -> None:
    sys.argv = ["dinoport", *argv]
    cli.main()


def run(wish: dict[str, list[str]]) -> dict[str, object]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as seen:
        child = os.fork()
        if not child:
            os._exit(guarded(wish, out.fileno(), err.fileno(), seen.fileno()))
        _, status, usage = os.wait4(child, 0)
        seconds = usage.ru_utime + usage.ru_stime  # of this child's own, which no busy machine lengthens
        texts = []
        for file in (out, err, seen):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return {
        "exit_code": os.waitstatus_to_exitcode(status),
        "stdout": texts[0],
        "stderr": texts[1],
        "violations": texts[2].splitlines(),
        "seconds": seconds,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


def guarded(wish: dict[str, list[str]], out: int, err: int, seen: int) -> int:
    """In the child: run the command line with the hook armed, and return its exit code."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115  # open until the process ends
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    readable = [Path(path) for path in wish["readable"]]
    writable = [Path(path) for path in wish["writable"]]

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event in HARMLESS or is_allowed(event, args, readable, writable):
            return
        os.write(seen, f"{event} {args!r}\n".encode("utf-8", "replace"))
        raise PermissionError(f"not in a conversion: {event}")

    sys.addaudithook(hook)
    code = 70
    try:
        command_line(wish["argv"])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 71
    except BaseException as error:
        print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def is_allowed(event: str, args: tuple[object, ...], readable: list[Path], writable: list[Path]) -> bool:
    if event == "open" and isinstance(args[0], int):
        return True  # a descriptor that is open already
    if event == "compile" and args[1] == "<unknown>":
        return True  # ast.parse, which takes a call in a message apart: what runs code is the event "exec"
    if event not in READING | WRITING:
        return False
    writes = event in WRITING or (event == "open" and bool(int(str(args[2])) & WRITE_FLAGS))
    below = writable if writes else [*readable, *writable]
    return all(any(path == top or top in path.parents for top in below) for path in paths_of(event, args))


def paths_of(event: str, args: tuple[object, ...]) -> list[Path]:
    """The paths that an event is about. A relative one may be in the folder whose descriptor is the last argument."""
    paths = [Path(os.fsdecode(arg)) for arg in args if isinstance(arg, (str, bytes, os.PathLike))]
    if event in ("open", "os.walk"):  # with arguments that are not paths
        return paths[:1]
    descriptor = args[-1]
    if not isinstance(descriptor, int) or descriptor < 0:
        return paths
    folder = Path(f"/proc/self/fd/{descriptor}").readlink()
    return [folder / path for path in paths]


if __name__ == "__main__":
    main(*sys.argv[1:])
