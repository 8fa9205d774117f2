"""What a command imports: what it runs, and nothing else. In processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from dinoport.formats.torch.writer import write_torch_file
from tests import formula, models
from tests.writing.stub_tensors import tensor

DEMO = Path(__file__).parents[1] / "src" / "dinoport" / "work" / "demo_checkpoint.pth"

RUN = """
import atexit, sys
from dinoport.__main__ import main
sys.argv = ["dinoport", *sys.argv[1:]]
atexit.register(lambda: print("imported:", *sorted(sys.modules), file=sys.stderr))
main()
"""

OTHERS = {"numpy", "ml_dtypes", "filelock", "zlib_ng"}
"""All that a local conversion needs beside the standard library."""

NEVER_LOCAL = ("ssl", "socket", "http", "email", "importlib.metadata", "tempfile", "rich", "yaml", "pydantic", "typer")
"""What takes long, and is for addresses, a run's config, or progress on a terminal."""

SIGNS = {f"dinoport.codebases.{name}.signs" for name in ("dino", "dinov2", "dinov3", "timm")}

EXACT = {
    f"dinoport.proofs.{name}"
    for name in ("verdict", "prove", "exact", "known_folder", "genuine", "difference", "outputs")
}
EXACT |= {f"dinoport.proofs.{name}" for name in ("case", "weights", "aside", "diagnosis.diagnosis")}
EXACT |= {f"dinoport.proofs.{name}" for name in ("diagnosis.misplaced", "compared", "comparison")}


def imported(*arguments: str | Path) -> set[str]:
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split()[1:])


def roots(names: set[str]) -> set[str]:
    """Packages that are neither ours nor Python's own, nor brought by how this Python starts."""
    found = {name.partition(".")[0] for name in names}
    ours = {"dinoport", "sitecustomize", "usercustomize", "_distutils_hack", "_virtualenv", "cython_runtime"}
    return {name for name in found - sys.stdlib_module_names - ours if not name.startswith(("__", "_cython"))}


def within(names: set[str], *rooms: str) -> set[str]:
    """Modules of a room: what lies in it, without the packages that hold them."""
    packages = {name.rpartition(".")[0] for name in names}
    return {name for name in names - packages if name.startswith(tuple(f"dinoport.{room}." for room in rooms))}


def assert_local(names: set[str]) -> None:
    assert roots(names) <= OTHERS
    assert not [name for name in names if name.startswith(NEVER_LOCAL) and name.partition(".")[0] != "numpy"]
    assert within(names, "files.remote", "formats.remote") <= {"dinoport.files.remote.caches"}
    assert within(names, "formats.distributed") <= {"dinoport.formats.distributed.signs"}


@pytest.mark.parametrize("command", [(), ("convert",), ("inspect",), ("verify",), ("demo",), ("visualize",)])
def test_help_imports_not_even_numpy(command: tuple[str, ...]) -> None:
    names = imported(*command, "--help")
    assert roots(names) == set()
    assert {name.split(".")[1] for name in names if name.startswith("dinoport.")} == {
        "cli", "errors", "files", "progress", "request", "shown", "__main__"
    }  # fmt: skip


def test_the_library_imports_nothing_before_it_is_asked() -> None:
    code = "import sys, dinoport; dinoport.convert; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert roots(set(found)).isdisjoint({"numpy", "torch", "transformers"})
    assert not within(set(found), "codebases", "networks", "proofs")


def test_inspect_imports_the_codebase_and_the_network_of_the_file_alone() -> None:
    names = imported("inspect", DEMO, "--num-heads", "2")
    assert_local(names)
    assert within(names, "codebases.dino", "codebases.dinov2", "codebases.dinov3", "codebases.timm") == {
        *SIGNS, "dinoport.codebases.dino.vit", "dinoport.codebases.dino.trained"
    }  # fmt: skip
    assert within(names, "networks.vit", "networks.rotary_vit", "networks.resnet", "networks.convnext") == {
        "dinoport.networks.vit.architecture"
    }
    form = {"card", "class_fields", "forms", "poolers", "processor", "signs", "stated_sizes", "vit", "writing"}
    assert {name.rpartition(".")[2] for name in within(names, "codebases.transformers")} == {*form, "processor_fields"}
    assert within(names, "proofs") == {"dinoport.proofs.verdict"}
    assert not within(names, "writing", "pictures")


@pytest.mark.parametrize(
    ("architecture", "codebase", "network", "form"),
    [
        (models.RESNET, "dino.resnet", "resnet", "resnet"),
        (models.V2, "dinov2.vit", "vit", "dinov2"),
        (models.V3, "dinov3.vit", "rotary_vit", "dinov3_vit"),
        (models.CONVNEXT, "dinov3.convnext", "convnext", "dinov3_convnext"),
    ],
)
def test_whatever_the_file_holds(tmp_path: Path, architecture: object, codebase: str, network: str, form: str) -> None:
    state = formula.state_dict(architecture.tensors())  # type: ignore[attr-defined]  # an architecture
    write_torch_file(tmp_path / "a.pth", [tensor(name, values) for name, values in state.items()])
    names = imported("inspect", tmp_path / "a.pth")
    assert_local(names)
    read = {name for name in within(names, "codebases") if name.endswith((".vit", ".resnet", ".convnext"))}
    assert f"dinoport.codebases.{codebase}" in read
    assert {name.split(".")[2] for name in within(names, "networks") if name.count(".") == 3} == {network}
    assert f"dinoport.codebases.transformers.{form}" in names


def test_a_conversion_without_a_proof_imports_none(tmp_path: Path) -> None:
    names = imported("convert", DEMO, tmp_path / "out", "--num-heads", "2", "--verify", "none")
    assert_local(names)
    assert within(names, "proofs") == {"dinoport.proofs.verdict"}
    assert within(names, "codebases.dino", "codebases.dinov2", "codebases.dinov3", "codebases.timm") == {
        *SIGNS, "dinoport.codebases.dino.vit", "dinoport.codebases.dino.trained"
    }  # fmt: skip


def test_an_exact_conversion_and_its_verification_import_the_exact_proof(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for names in (
        imported("convert", DEMO, out, "--num-heads", "2", "--verify", "exact"),
        imported("verify", DEMO, out, "--verify", "exact"),
        imported("convert", out, tmp_path / "back", "--to", "original", "--verify", "exact"),
    ):
        assert_local(names)
        assert within(names, "proofs") <= EXACT


def test_a_dry_run_imports_what_inspect_does(tmp_path: Path) -> None:
    names = imported("convert", DEMO, tmp_path / "out", "--num-heads", "2", "--dry-run")
    assert_local(names)
    assert within(names, "proofs") == {"dinoport.proofs.verdict"}


def test_a_full_proof_imports_what_the_others_do_not(tmp_path: Path) -> None:
    """The check itself can fail: here is what it looks for."""
    names = imported("convert", DEMO, tmp_path / "out", "--num-heads", "2")
    assert {"torch", "transformers", "PIL"} <= roots(names)
    assert within(names, "proofs") > EXACT - {"dinoport.proofs.known_folder"}
