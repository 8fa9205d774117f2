"""What the source must never do, told from its syntax; ruff's rules (S) know part of it, and can be switched off."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dinoport

SOURCE = Path(dinoport.__file__).parent

FORBIDDEN_CALLS = frozenset({
    "eval", "exec", "compile", "__import__", "breakpoint", "torch.load", "torch.hub.load", "torch.jit.load",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "dill.load",
    "dill.loads", "joblib.load", "os.system", "os.popen", "os.startfile", "pty.spawn", "subprocess.run",
    "subprocess.call", "subprocess.Popen", "subprocess.check_call", "subprocess.check_output", "subprocess.getoutput",
    "runpy.run_path", "runpy.run_module", "ctypes.CDLL", "yaml.unsafe_load",
    "yaml.full_load", "tempfile.mktemp",
})  # fmt: skip

ASKED_FOR = {"proofs/genuine.py": ["torch.hub.load"]}
"""Where code from elsewhere is run after all: once, and only where the user asks for it by --reference."""

FORBIDDEN_PREFIXES = ("os.exec", "os.spawn", "os.posix_spawn", "os.fork")

FORBIDDEN_IMPORTS = frozenset({"subprocess", "marshal", "shelve", "dill", "joblib", "runpy", "pty", "ctypes", "code"})

SAFE_YAML = frozenset({"SafeLoader", "BaseLoader", "CSafeLoader"})

EXAMPLES = {
    "import torch\ntorch.load(path)": "torch.load",
    "from torch import load\nload(path)": "torch.load",
    "import torch as t\nt.load(path, weights_only=True)": "torch.load",
    "import pickle\npickle.loads(data)": "pickle.loads",
    "from pickle import Unpickler as U\nU(file)": "pickle.Unpickler",
    "eval('1')": "eval",
    "import builtins\nbuiltins.exec('1')": "exec",
    "import os\nos.system('ls')": "os.system",
    "import os\nos.execvp('ls', [])": "os.execvp",
    "import subprocess": "import subprocess",
    "from subprocess import run": "import subprocess",
    "import numpy as np\nnp.load(path, allow_pickle=True)": "allow_pickle=True",
    "AutoModel.from_pretrained(path, trust_remote_code=True)": "trust_remote_code=True",
    "AutoModel.from_pretrained(path, trust_remote_code=trusted)": "trust_remote_code=trusted",
    "kwargs = {'trust_remote_code': True}": "'trust_remote_code': True",
    "run(command, shell=True)": "shell=True",
    "import yaml\nyaml.load(text, Loader=yaml.Loader)": "yaml.load",
    "import yaml\nyaml.load(text)": "yaml.load",
    "import torch\nloader = torch.load": "torch.load",
    "getattr(torch, 'load')(path)": "getattr with the name 'load'",
}

HARMLESS = (
    "AutoModel.from_pretrained(path, trust_remote_code=False)",
    "import re\nre.compile('a')",
    "import json\njson.load(file)\njson.loads(text)",
    "import pickle\npickle.PROTO + pickle.STOP",
    "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
    "import numpy as np\nnp.load(path, allow_pickle=False)",
    "unpickler.load()",
    "model.eval()",
)


def problems(text: str) -> Iterator[tuple[int, str]]:
    """The line and name of everything in a module that is forbidden."""
    tree = ast.parse(text)
    names = dict(imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.split(".")[0] in FORBIDDEN_IMPORTS:
                    yield node.lineno, f"import {module}"
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            name = dotted(node, names).removeprefix("builtins.")
            if name in FORBIDDEN_CALLS or name.startswith(FORBIDDEN_PREFIXES):
                yield node.lineno, name
        elif isinstance(node, ast.keyword):
            yield from keyword_problems(node)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "trust_remote_code" and not is_false(value):
                    yield node.lineno, f"'trust_remote_code': {ast.unparse(value)}"
        if isinstance(node, ast.Call):
            yield from call_problems(node, names)


def keyword_problems(node: ast.keyword) -> Iterator[tuple[int, str]]:
    if node.arg in ("trust_remote_code", "shell", "allow_pickle") and not is_false(node.value):
        yield node.value.lineno, f"{node.arg}={ast.unparse(node.value)}"


def call_problems(node: ast.Call, names: dict[str, str]) -> Iterator[tuple[int, str]]:
    called = dotted(node.func, names)
    if called in ("yaml.load", "yaml.load_all"):
        loaders = [keyword.value for keyword in node.keywords if keyword.arg == "Loader"]
        if [dotted(loader, names).rpartition(".")[2] in SAFE_YAML for loader in loaders] != [True]:
            yield node.lineno, called
    name = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], ast.Constant) else None
    if called == "getattr" and name in ("load", "loads", "system", "eval", "exec"):
        yield node.lineno, f"getattr with the name {name!r}"


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What each imported name stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """`torch.load` for the expression that means it, whatever torch is called here; empty for others."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        start = dotted(node.value, names)
        return f"{start}.{node.attr}" if start else ""
    return ""


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_source_does_nothing_of_it(path):
    found = [name for _, name in problems(path.read_text(encoding="utf-8"))]
    assert found == ASKED_FOR.get(path.relative_to(SOURCE).as_posix(), [])


@pytest.mark.parametrize(("text", "name"), EXAMPLES.items())
def test_each_is_found(text, name):
    assert name in [found for _, found in problems(text)]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_looks_like_it_is_not(text):
    assert list(problems(text)) == []
