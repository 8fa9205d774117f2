"""What the code never does, read from its source text: SECURITY.md promises it."""

import ast
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dinoport
from tests.with_torchvision import INSTALLED

PACKAGE = Path(dinoport.__file__).parent

NEVER_CALLED = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "torch.load", "torch.hub.load",
    "yaml.unsafe_load", "np.load", "numpy.load",
}  # fmt: skip
NEVER_IMPORTED = {"cPickle", "dill", "joblib", "marshal", "shelve", "subprocess", "pty", "runpy", "code"}


UNLESS = {"trust_remote_code": "False", "shell": "False", "Loader": "yaml.SafeLoader"}
"""Arguments that may be passed with this value alone."""


def forbidden(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=function, keywords=keywords):
                called = ast.unparse(function)
                if called in NEVER_CALLED or (
                    called == "yaml.load" and "Loader" not in {each.arg for each in keywords}
                ):
                    yield f"line {node.lineno} calls {called}"
                for each in keywords:
                    if each.arg in UNLESS and ast.unparse(each.value) != UNLESS[each.arg]:
                        yield f"line {node.lineno} passes {each.arg}={ast.unparse(each.value)}"
            case ast.Attribute(value=ast.Name(id="pickle"), attr=name) if not name.isupper():
                yield f"line {node.lineno} uses more of pickle than the numbers of its opcodes: {name}"
            case ast.Import(names=names):
                yield from (f"line {node.lineno} imports {each.name}" for each in names if is_never_imported(each.name))
            case ast.ImportFrom(module=module) if is_never_imported(module or "") or module == "pickle":
                yield f"line {node.lineno} imports from {module}"


def is_never_imported(name: str) -> bool:
    return name.split(".")[0] in NEVER_IMPORTED


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_runs_what_a_file_says(path: Path) -> None:
    assert not list(forbidden(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "text",
    [
        "torch.load(path)",
        "eval(text)",
        "pickle.loads(data)",
        "from pickle import load",
        "yaml.load(text, Loader=yaml.Loader)",
        "from subprocess import run",
        "model.from_pretrained(folder, trust_remote_code=True)",
        "run(command, shell=True)",
        "yaml.load(text)",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert list(forbidden(ast.parse(text)))


def test_weights_are_loaded_as_safetensors_from_disk_alone() -> None:
    tree = ast.parse((PACKAGE / "codebases" / "transformers" / "running.py").read_text(encoding="utf-8"))
    arguments = {
        ast.unparse(key): ast.unparse(value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if key is not None
    }
    assert arguments["'use_safetensors'"] == "True"
    assert arguments["'local_files_only'"] == "True"


def required(name: str, extras: set[str], seen: dict[str, str]) -> None:
    """Collect the installed packages that a package needs, with their versions."""
    for text in metadata.requires(name) or []:
        needed = Requirement(text)
        if needed.marker and not any(needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            continue
        key = canonicalize_name(needed.name)
        if key not in seen:
            seen[key] = metadata.version(needed.name).partition("+")[0]
            required(needed.name, set(needed.extras), seen)
        elif needed.extras:
            required(needed.name, set(needed.extras), seen)


OF_TORCH = ("nvidia-", "cuda-", "triton")
"""What PyPI's torch for Linux brings along, each at the version that it names; a CPU build brings none of them."""


def test_every_package_that_is_installed_is_pinned() -> None:
    """In the constraints of the environment that this runs in."""
    transformers = pytest.importorskip("transformers")
    name = "constraints-transformers-4.txt" if transformers.__version__.startswith("4.") else "constraints.txt"
    name = "constraints-torchvision.txt" if INSTALLED else name
    lines = (Path(__file__).parents[1] / name).read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pinned = {canonicalize_name(package): version for package, version in pins.items()}
    seen: dict[str, str] = {}
    required("dinoport", {"all"}, seen)
    assert "torch" in seen
    loose = {package: version for package, version in seen.items() if pinned.get(package) != version}
    assert [package for package in loose if not package.startswith(OF_TORCH)] == []
