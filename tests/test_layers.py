"""Imports run one way, in no circle, and facts stand where they belong. Read from the source text."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import dinoport

PACKAGE = Path(dinoport.__file__).parent

ROOMS = (
    "__init__",  # hands out the API's names when they are asked for, and imports nothing until then
    "shown",  # addresses and names as people read them
    "errors",
    "progress",
    "tensor",
    "files",  # bytes, wherever they lie, and files that are written
    "request",  # what the user asked for: plain values
    "formats",  # checkpoints as they lie on disk
    "mapping",
    "networks",  # what is computed
    "model",  # the thing in the middle
    "codebases",  # who names it
    "exports",  # graphs of others, read as data and evaluated for the proofs
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
"""Lowest first; a module imports from its own room and from those before it."""

ARCHITECTURES = {"ViT", "RotaryViT", "ResNet", "ConvNeXt"}

OF_TRANSFORMERS = ("ViT", "Dinov2", "DINOv3", "ResNet", "DeiT", "IJepa", "Beit", "Tipsv2")
"""How the classes of Transformers that are used here begin."""

MODEL_TYPES = {
    *("vit", "dinov2", "dinov2_with_registers", "dinov3_vit", "dinov3_convnext", "resnet"),
    *("deit", "ijepa", "beit", "vit_msn", "vit_mae", "tipsv2_vision_model"),
}

LISTS_COMMANDS = "dinoport.work.inspect"
"""Where commands are data: the field of a part that takes it."""

MODULES = {
    ".".join(["dinoport", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and module of every import of this package, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno} is relative"
            within = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if name in MODULES else str(node.module) for name in within]
        else:
            continue
        yield from ((node.lineno, name) for name in found if name.split(".")[0] == "dinoport")


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def at_run_time(tree: ast.Module) -> ast.Module:
    """A module without what only a type checker imports."""
    return ast.Module([node for node in tree.body if not is_for_types(node)], [])


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle; none where there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := visit(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in graph if (found := visit(name, []))), [])


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_downwards_only(module: str) -> None:
    if module == "dinoport":
        return
    own = ROOMS.index(room_of(module))
    upwards = [(line, name) for line, name in imports(TREES[module]) if ROOMS.index(room_of(name)) > own]
    assert not upwards, f"imports of higher rooms (line, module): {upwards}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        name: {other for _, other in imports(at_run_time(tree)) if other != name}
        for name, tree in TREES.items()
        if name != "dinoport"  # asked for an attribute, it imports the API
    }
    for others in graph.values():
        others.discard("dinoport")
    assert sum(map(len, graph.values())) > 500
    assert not circle(graph), " imports ".join(circle(graph))
    graph["dinoport.errors"] = {"dinoport.api"}
    assert circle(graph), "the check finds one that was made"


def test_every_room_exists_and_eight_files_lie_loose_at_most() -> None:
    assert {room_of(module) for module in MODULES} == set(ROOMS)
    loose = [path.name for path in PACKAGE.glob("*.py")]
    assert len(loose) <= 8, loose


def test_no_two_classes_have_one_name() -> None:
    found = [node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef)]
    assert [name for name, count in Counter(found).items() if count > 1 and not name.startswith("_")] == []


def test_no_room_bears_the_name_of_a_public_function() -> None:
    """An imported room would take the function's place in the package."""
    assert not {name for name in ROOMS if name != "__init__"} & set(dinoport.__all__)


def test_the_package_itself_imports_nothing() -> None:
    at_import = [node for node in TREES["dinoport"].body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in at_import] == [
        "from __future__ import annotations",
        "from typing import TYPE_CHECKING",
    ]


FLAG = re.compile(r"(?<![\w-])--[a-z{][a-z-]+")

COMMAND = re.compile(r"(?<![\w.-])dinoport (convert|inspect|verify|publish|fleet|visualize) [^a-z\s]")
"""A command with its arguments: the library proposes calls, and the command line shows them as commands."""

OF_REPORTS = {
    "dinoport.request": "the one place where a field becomes an option",
    "dinoport.report": "a report says the command that makes its folder again",
    "dinoport.work.reporting": "the same",
    "dinoport.codebases.card": "a card says what to run",
    "dinoport.codebases.transformers.card": "the same",
    "dinoport.codebases.timm.card": "the same",
    "dinoport.writing.start_page": "the same of a start",
    "dinoport.writing.published_card": "the same of a published one",
    "dinoport.codebases.dino.start": "options of main_dino.py",
    "dinoport.codebases.dinov2.start": "options of its trainer",
    "dinoport.codebases.dinov3.start": "the same",
    "dinoport.codebases.transformers.reading": "remarks of a report",
    "dinoport.finding.models": "remarks of a report",
    "dinoport.work.integrity": "remarks of a report",
}
"""Where options of the command line stand in texts, and why."""


@pytest.mark.parametrize("module", [name for name in TREES if not name.startswith(tuple(OF_REPORTS))])
def test_errors_name_fields_and_commands_alone_name_options(module: str) -> None:
    if room_of(module) in ("cli", "convert_dino_to_pytorch") or module == LISTS_COMMANDS:
        return
    tree = TREES[module]
    skipped = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]  # docstrings
    skipped += [part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values]
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr) and node not in skipped]
    for node in texts:
        text = node.value if isinstance(node, ast.Constant) else ast.unparse(node)
        if isinstance(text, str) and not text.startswith(("pip ", "--upgrade")):
            assert not FLAG.search(text), f"line {node.lineno}: {text}"
            assert not COMMAND.search(text), f"line {node.lineno}: {text}; write call(…) of shown/calls.py"


def outside(*rooms: str) -> dict[str, ast.Module]:
    return {name: tree for name, tree in TREES.items() if not name.startswith(tuple(f"dinoport.{r}." for r in rooms))}


def switches_on_an_architecture(tree: ast.AST) -> Iterator[str]:
    """What asks for the type of an architecture: isinstance, issubclass, type() is, and match."""
    for node in ast.walk(tree):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            asked = list(node.args[1:])
        elif isinstance(node, ast.Compare) and any(isinstance(part, ast.Name) for part in node.comparators):
            asked = list(node.comparators)
        elif isinstance(node, ast.MatchClass):
            asked = [node.cls]
        names = {part.id for each in asked for part in ast.walk(each) if isinstance(part, ast.Name)}
        if names & ARCHITECTURES:
            yield f"line {node.lineno}: {ast.unparse(node)}"  # type: ignore[attr-defined]  # nodes with a line


def switches_on_a_class(tree: ast.AST) -> Iterator[str]:
    """What compares with the name of a class of Transformers, or with a model_type."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".startswith", ".endswith")):
            asked = [node.func, *node.args]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        else:
            continue
        parts = [part for each in asked for part in ast.walk(each)]
        texts = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
        named = any(text in MODEL_TYPES or text.startswith(OF_TRANSFORMERS) for text in texts)
        if named or any("model_type" in ast.unparse(each) for each in asked):
            yield f"line {node.lineno}: {ast.unparse(node)}"  # type: ignore[attr-defined]  # nodes with a line


@pytest.mark.parametrize("module", outside("networks", "codebases"))
def test_nobody_else_asks_what_type_an_architecture_is(module: str) -> None:
    assert not list(switches_on_an_architecture(TREES[module]))


@pytest.mark.parametrize("module", outside("codebases.transformers", "codebases.timm"))
def test_nobody_else_compares_names_of_transformers(module: str) -> None:
    assert not list(switches_on_a_class(TREES[module]))


RELATIVES = ("DeiT", "IJepa", "ViTMAE", "ViTMSN", "Beit", "Tips", "deit", "ijepa", "vit_m", "beit", "tipsv2")
"""Beginnings of names of relatives' classes, and of their model types."""


def of_relatives(tree: ast.AST) -> list[str]:
    """Comparisons with a name of a relative's class or model type."""
    named = re.compile("['\"](" + "|".join(RELATIVES) + ")")
    return [found for found in switches_on_a_class(tree) if named.search(found)]


@pytest.mark.parametrize("module", [name for name in TREES if name.startswith("dinoport.codebases.transformers.")])
def test_what_only_a_relative_s_class_has_stands_with_the_class(module: str) -> None:
    """Each class says it in its own module, or in the list of classes."""
    assert not of_relatives(TREES[module])


def test_a_comparison_with_a_relative_s_class_is_found() -> None:
    assert of_relatives(ast.parse("kind == 'vit_mae'"))
    assert of_relatives(ast.parse("name in ('ViTModel', 'DeiTModel')"))
    assert not of_relatives(ast.parse("kind == 'resnet'"))


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("isinstance(found, ViT)", switches_on_an_architecture),
        ("isinstance(found, (str, networks | ResNet))", switches_on_an_architecture),
        ("type(found) is ConvNeXt", switches_on_an_architecture),
        ("match found:\n    case RotaryViT(depth=2): pass", switches_on_an_architecture),
        ("name == 'ViTModel'", switches_on_a_class),
        ("name.startswith('Dinov2')", switches_on_a_class),
        ("kind in ('dinov3_vit', 'other')", switches_on_a_class),
        ("config['model_type'] in known", switches_on_a_class),
        ("match kind:\n    case 'resnet': pass", switches_on_a_class),
    ],
)
def test_the_checks_find_what_they_look_for(code: str, found: object) -> None:
    assert list(found(ast.parse(code)))  # type: ignore[operator]  # a function of the parameter set


def test_torch_and_transformers_are_imported_where_they_are_needed() -> None:
    """At the top of a module only in forward passes, and in what tries mistakes: both are imported to verify."""
    at_top = {
        name
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for imported in ([str(node.module)] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        if imported.split(".")[0] in ("torch", "transformers", "PIL", "torchvision")
    }
    forward = {name for name in at_top if name.startswith("dinoport.networks.")}
    assert all(name.endswith((".forward", ".layers", ".torch_interpolation")) for name in forward)
    operators = {name for name in at_top if name.startswith("dinoport.exports.operators.")}
    assert {name for name in at_top if name.startswith("dinoport.exports.")} == operators
    at_top -= operators
    assert at_top - forward == {f"dinoport.proofs.diagnosis.{name}" for name in ("mistakes", "misordered", "trial")}


def test_no_test_is_skipped_where_a_module_of_ours_is_not_found() -> None:
    """A module that was renamed would let its tests pass unseen."""
    tests = Path(__file__).parent.rglob("*.py")
    skipping = [path.name for path in tests if "importorskip" + '("dinoport' in path.read_text(encoding="utf-8")]
    assert skipping == []
