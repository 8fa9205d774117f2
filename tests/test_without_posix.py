"""The main job, a kill and a publication, where `os` and `signal` have what they have on Windows, and fcntl is missing.

The package alone meets that system: what it imports is replaced, and the libraries that it uses keep theirs.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import DEMO, EXACT, FILES, HEADS, names
from tests.publishing.conftest import contents
from tests.publishing.server import serving
from tests.publishing.store import Hub

WINDOWS = '''
import builtins, json, os, signal, sys, types

MISSING = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}
OS = """
chown chroot confstr copy_file_range ctermid fchdir fchmod fchown fdatasync fork forkpty fpathconf fstatvfs
getegid geteuid getgid getgroups getloadavg getpgid getpgrp getpriority getresuid getsid getuid getxattr
initgroups killpg lchown lockf major minor mkfifo mknod nice openpty pathconf pipe2 posix_fadvise
posix_fallocate posix_spawn pread preadv pwrite pwritev readv register_at_fork sched_getaffinity sched_yield
sendfile setpgid setsid setuid setxattr statvfs sync sysconf tcgetpgrp ttyname uname wait wait3 wait4 waitid
writev O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC POSIX_FADV_DONTNEED POSIX_FADV_WILLNEED RTLD_NOW
""".split()
SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
asked = set()


class Windows(types.ModuleType):
    def __init__(self, module, missing):
        super().__init__(module.__name__)
        self._module, self._missing = module, missing

    def __getattr__(self, name):
        if name in self._missing:
            asked.add(f"{self.__name__}.{name}")
            raise AttributeError(f"{self.__name__} has no {name} on Windows")
        return "nt" if (self.__name__, name) == ("os", "name") else getattr(self._module, name)


unix = {name for name in dir(signal) if name.startswith(("SIG", "ITIMER")) and name not in SIGNALS}
unix |= {"alarm", "getitimer", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigpending", "sigwait"}
theirs = {"os": Windows(os, {*OS}), "signal": Windows(signal, unix)}
imported = builtins.__import__


def importing(name, globals=None, locals=None, fromlist=(), level=0):
    if str((globals or {}).get("__name__", "")).startswith("dinoport"):
        if name in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in theirs:
            return theirs[name]
    return imported(name, globals, locals, fromlist, level)


builtins.__import__ = importing
told, slow, *sys.argv[1:] = sys.argv[1:]
from dinoport.__main__ import main

if slow == "slow":
    import time
    from dinoport.formats import stream
    stream.take_census = lambda block: print("writing", flush=True) or time.sleep(600)
import atexit
atexit.register(lambda: open(told, "w").write(json.dumps(sorted(asked))))
main()
'''


def command(folder: Path, *words: object, slow: bool = False) -> list[str]:
    return [sys.executable, "-c", WINDOWS, str(folder / "asked.json"), "slow" if slow else "", *map(str, words)]


def run(folder: Path, *words: object, **environment: str) -> str:
    done = subprocess.run(
        command(folder, *words), capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_main_job(tmp_path: Path) -> None:
    said = run(tmp_path, "convert", DEMO, tmp_path / "out", *HEADS, *EXACT)
    assert said.startswith("verdict     transported exactly")
    assert names(tmp_path / "out") == FILES
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert {"os.preadv", "os.posix_fallocate", "signal.SIGHUP"} <= {*asked}, "the system was not replaced"
    assert run(tmp_path, "verify", DEMO, tmp_path / "out", *EXACT).startswith("verdict     transported exactly")
    assert "54 tensors" in run(tmp_path, "inspect", DEMO, *HEADS)
    assert run(tmp_path, "convert", tmp_path / "out", tmp_path / "back", "--to", "original", *EXACT)


def test_a_kill(tmp_path: Path) -> None:
    words = ("convert", DEMO, tmp_path / "out", *HEADS, *EXACT)
    program = subprocess.Popen(command(tmp_path, *words, slow=True), stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "writing\n"
    program.kill()
    program.communicate()
    assert "out" not in names(tmp_path)
    run(tmp_path, *words)
    assert names(tmp_path) == {"out", "asked.json"}


def test_a_publication(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    run(tmp_path, "convert", DEMO, tmp_path / "out", *HEADS, *EXACT)
    with serving(Hub(tmp_path / "hub")) as hub:
        at_home = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_owner", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        run(tmp_path, "publish", tmp_path / "out", "owner/model", HF_HOME=str(tmp_path / "home"), **at_home)
        assert contents(hub).keys() >= FILES
