"""Imports run one way. Read from the source text, so imports inside functions count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dinoport

PACKAGE = Path(dinoport.__file__).parent

LAYERS = (
    "errors",
    "units",  # figures as people read them
    "progress",
    "request",  # what the user asked for: plain values
    "tensor",
    "files",  # bytes, wherever they lie, and files that are written
    "formats",  # checkpoints as they lie on disk
    "mapping",
    "networks",  # what is computed
    "codebases",  # who names it
    "finding",  # what a SOURCE is, and which models are in it
    "writing",
    "proofs",
    "pictures",
    "report",
    "work",  # the verbs, each from top to bottom
    "api",
    "cli",
    "convert_dino_to_pytorch",  # the same, by the options of the classic script
    "__main__",
)
"""Lowest first; a module imports from its own layer and from those before it."""

LAZY = "__init__"
"""The package itself hands out the API's names when they are asked for, and imports nothing until then."""

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_layers(path: Path) -> Iterator[tuple[int, str]]:
    """Line and layer of every import of this package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} is relative"
            whole = node.module == "dinoport"
            names = [f"dinoport.{alias.name}" for alias in node.names] if whole else [node.module or ""]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "dinoport":
                yield node.lineno, [*name.split("."), LAZY][1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_downwards_only(path: Path) -> None:
    own = LAYERS.index(layer_of(path))
    upwards = [(line, layer) for line, layer in imported_layers(path) if LAYERS.index(layer) > own]
    assert not upwards, f"imports of higher layers (line, layer): {upwards}"


def test_every_layer_exists() -> None:
    assert {layer_of(path) for path in MODULES} == set(LAYERS)


def test_the_package_itself_imports_nothing_heavy() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in at_import] == [
        "from __future__ import annotations",
        "from typing import TYPE_CHECKING",
    ]


def test_torch_and_transformers_are_imported_where_they_are_needed() -> None:
    """At the top of a module only in the references, which are imported to verify."""
    at_top = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name.split(".")[0] in ("torch", "transformers", "PIL", "torchvision")
    }
    helpers = {"networks/layers.py", "networks/torch_interpolation.py"}
    helpers |= {f"proofs/diagnosis/{name}.py" for name in ("mistakes", "misordered", "trial")}
    references = {name for name in at_top if name.startswith("networks/") and name.endswith("/forward.py")}
    assert at_top == references | helpers
