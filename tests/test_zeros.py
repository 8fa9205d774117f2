"""Files that hold zeros where weights should be: both sides of every proof compute nothing with them, and agree."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dinoport.api import convert, verify
from dinoport.errors import CheckpointError, DinoportError
from dinoport.formats.torch.writer import write_torch_file
from dinoport.proofs.verdict import Word
from dinoport.report.text import report_lines
from dinoport.request import Request
from tests import formula, tiny
from tests.error_text import error_text
from tests.families.cases import BY_NAME, CASES, Case, tensors
from tests.models import CONVNEXT, RESNET, V2_BARE, V2_SWIGLU, V3, VIT
from tests.writing.stub_tensors import tensor

MODELS = [case for case in CASES if case.name in ("vit", "resnet", "dinov2", "dinov3", "dinov3-convnext")]


def zeroed(state: Mapping[str, formula.Array], *parts: str) -> dict[str, formula.Array]:
    """The same with zeros in all tensors whose names have one of the parts in them."""
    return {
        name: np.zeros_like(values) if any(part in name for part in parts) else values for name, values in state.items()
    }


def write(path: Path, state: Mapping[str, formula.Array]) -> Path:
    write_torch_file(path, [tensor(name, values, block=1 << 20) for name, values in state.items()])
    return path


def small() -> dict[str, formula.Array]:
    return formula.state_dict(tiny.ARCHITECTURE.tensors())


@pytest.mark.parametrize("level", ["none", "exact", "full"])
def test_a_file_of_zeros_is_refused(tmp_path: Path, level: str) -> None:
    if level == "full":
        pytest.importorskip("transformers")
    source = write(tmp_path / "a.pth", zeroed(small(), ""))
    assert error_text(CheckpointError, lambda: convert(source, tmp_path / "out", tiny.REQUEST, level=level)) == (
        f"{source} holds no weights: every matrix in it is zero throughout\n"
        "  where: patch_embed.proj.weight, pos_embed, blocks.0.attn.qkv.weight, blocks.0.attn.proj.weight, "
        "blocks.0.mlp.fc1.weight, blocks.0.mlp.fc2.weight\n"
        "  expected: the weights of a model that was trained\n"
        "  found: zeros in 6 tensors, 3.5 kB\n"
        "  likely cause: a file saved under torch.serialization.skip_data, a copy that was not filled, "
        "or a model saved before its weights were loaded\n"
        "  try: fetch the file again; if its author's is the same, load the weights and save the model again"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
def test_what_torch_saves_without_data_is_refused_for_what_it_is(tmp_path: Path, case: Case) -> None:
    """Its checksums do not hold either; that a bit was flipped would be no help."""
    torch = pytest.importorskip("torch")
    skip_data = pytest.importorskip("torch.serialization").skip_data
    with skip_data():
        torch.save(tensors(case.state()), tmp_path / "a.pth")
    with pytest.raises(DinoportError) as refused:
        convert(tmp_path / "a.pth", tmp_path / "out", case.request, level="exact")
    if case.name == "dinov3":  # whose architecture is read off values
        assert "\n  found: 0, 0, 0, 0 …\n" in str(refused.value)
        assert str(refused.value).endswith(
            "\n  likely cause: a file without its values: saved under torch.serialization.skip_data, "
            "or a copy that was not filled\n"
            "  try: fetch the file again"
        )
    else:
        assert refused.value.what.endswith(" holds no weights: every matrix in it is zero throughout")


def test_vectors_of_a_file_of_zeros_are_no_weights(tmp_path: Path) -> None:
    """LayerNorms and LayerScales of a model that was built, and never loaded."""
    state = {name: values if values.ndim == 1 else np.zeros_like(values) for name, values in small().items()}
    with pytest.raises(CheckpointError, match="holds no weights"):
        convert(write(tmp_path / "a.pth", state), tmp_path / "out", tiny.REQUEST, level="none")


def test_one_number_in_one_matrix_is_a_weight(tmp_path: Path) -> None:
    state = zeroed(small(), "")
    state["blocks.0.mlp.fc2.weight"][-1, -1] = 1e-45
    report = convert(write(tmp_path / "a.pth", state), tmp_path / "out", tiny.REQUEST, level="exact")
    assert report.verdict.word is Word.TRANSPORTED
    assert report.verdict.exceptions == ("that 5 of 6 matrices are zero throughout, as in the original",)


def test_zeros_that_a_model_may_have_are_no_exception(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    case = BY_NAME["dinov2-whole-classifier"]
    parts = ("mask_token", "cls_token", "linear_head", "bias", "ls1.gamma")
    source = write(tmp_path / "a.pth", zeroed(case.state(), *parts))
    report = convert(source, tmp_path / "out", Request(num_heads=1))
    assert report.verdict.exceptions == report.proofs.pixels.exceptions, str(report.verdict)
    assert report.proofs.exact.zero_matrices == ("linear_head.weight",)
    assert "1 of 11 matrices is zero throughout: linear_head.weight" in " ".join(" ".join(report_lines(report)).split())


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (VIT, ("patch_embed.proj.weight",)),
        (VIT, ("pos_embed", "patch_embed.proj.weight")),
        (VIT, ("norm.weight",)),
        (V2_BARE, ("patch_embed.proj.weight",)),
        (V3, ("patch_embed.proj.weight",)),
        (CONVNEXT, ("downsample_layers.0.0.weight",)),
        (RESNET, ("conv1.weight",)),
    ],
    ids=["vit", "vit-without-positions", "vit-last-norm", "dinov2", "dinov3", "convnext", "resnet"],
)
def test_outputs_that_do_not_see_the_picture_show_nothing(tmp_path: Path, model, parts: tuple[str, ...]) -> None:
    pytest.importorskip("transformers")
    state = zeroed(formula.state_dict(model.tensors()), *parts)
    report = convert(write(tmp_path / "a.pth", state), tmp_path / "out")
    assert report.verdict.word is Word.TRANSPORTED
    assert report.verdict.shown == "(outputs not shown: they do not depend on the picture)"
    assert report.verdict.not_shown[0] == "outputs"
    assert report.proofs.outputs.blind
    assert not report.proofs.outputs.passed
    assert "outputs not shown: they do not depend on the picture" in " ".join(" ".join(report_lines(report)).split())


@pytest.mark.parametrize(
    ("model", "parts", "block"),
    [
        (VIT, ("blocks.1.attn.proj.weight", "blocks.1.mlp.fc2.weight"), "blocks.1"),
        (VIT, ("blocks.0.norm1.weight", "blocks.0.mlp.fc1.weight"), "blocks.0"),
        (V2_SWIGLU, ("blocks.1.attn.proj.weight", "blocks.1.mlp.w3.weight"), "blocks.1"),
        (V3, ("blocks.0.attn.proj.weight", "blocks.0.mlp.fc2.weight"), "blocks.0"),
        (CONVNEXT, ("stages.1.0.pwconv2.weight",), "stages.1.0"),
        (CONVNEXT, ("stages.1.1.norm.weight",), "stages.1.1"),
    ],
)
def test_a_block_whose_biases_alone_are_added_shows_nothing(tmp_path: Path, model, parts, block: str) -> None:
    """The same to every token: another head count or another activation in it gives the same outputs."""
    pytest.importorskip("transformers")
    state = zeroed(formula.state_dict(model.tensors()), *parts)
    report = convert(write(tmp_path / "a.pth", state), tmp_path / "out")
    assert report.proofs.outputs.drowned == (block,)
    assert report.verdict.exceptions[0] == (
        f"for {block}, which add too little to what passes them, or the same everywhere, "
        "for anything to be shown of them"
    )


def test_a_mistake_is_found_all_the_same(tmp_path: Path) -> None:
    """Outputs that ignore the picture still differ where a weight does."""
    pytest.importorskip("transformers")
    state = zeroed(formula.state_dict(VIT.tensors()), "patch_embed.proj.weight")
    convert(write(tmp_path / "a.pth", state), tmp_path / "out")
    (tmp_path / "out" / "dinoport.json").unlink()
    state["norm.bias"] = state["norm.bias"] + np.float32(1)
    verdict = verify(write(tmp_path / "b.pth", state), tmp_path / "out").verdict
    assert verdict.word is Word.NOT_EQUAL


def test_a_folder_of_zeros_verifies_as_no_more_than_that_and_does_not_return(tmp_path: Path, monkeypatch) -> None:
    """As an earlier version, or another program, may have made it."""
    pytest.importorskip("transformers")
    source = write(tmp_path / "a.pth", zeroed(formula.state_dict(VIT.tensors()), ""))
    with monkeypatch.context() as patch:
        patch.setattr("dinoport.work.convert._refuse_zeros", lambda *given: None)
        convert(source, tmp_path / "out", level="none")
        convert(tmp_path / "out", tmp_path / "back", to="original", level="none")
    verdict = verify(source, tmp_path / "out").verdict
    assert verdict.word is Word.TRANSPORTED
    assert verdict.exceptions[0] == "that 10 of 10 matrices are zero throughout, as in the original"
    returned = verify(tmp_path / "out", tmp_path / "back").verdict
    assert returned.word is Word.TRANSPORTED
    assert returned.exceptions[0] == verdict.exceptions[0]
    with pytest.raises(CheckpointError, match="holds no weights: every matrix in it is zero throughout"):
        convert(tmp_path / "out", tmp_path / "again", to="original", level="exact")
