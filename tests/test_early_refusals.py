"""What is wrong with the command line is said before a long conversion, not after it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from dinoport import api
from dinoport.codebases.target import input_size
from dinoport.errors import SettingError, UsageError
from dinoport.files.json_file import json_bytes
from dinoport.formats.torch.writer import write_torch_file
from dinoport.formats.transformers_folder import ORIGINAL_FILE
from dinoport.proofs.verdict import Word
from dinoport.report.as_json import sealed
from dinoport.report.page import render
from dinoport.request import Request
from tests import formula, models, tiny
from tests.command_line import DEMO, Run
from tests.error_text import error_text
from tests.report.test_page import words_of
from tests.writing.stub_tensors import tensor


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "checkpoint.pth")


def test_a_picture_that_cannot_be_opened(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(SettingError, match="cannot be used as a picture"):
        api.convert(source, tmp_path / "out", tiny.REQUEST, image=tmp_path / "missing.jpg")
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    ("field", "given"), [("image", {"image": Path("any.jpg")}), ("all_sizes", {"all_sizes": True})]
)
def test_an_option_for_a_proof_that_is_left_out(
    source: Path, tmp_path: Path, field: str, given: dict[str, Any]
) -> None:
    said = f"`{field}` is for the outputs, which `level='exact'` leaves out\n  try: leave `level` out, or `{field}`"
    with pytest.raises(UsageError) as error:
        api.convert(source, tmp_path / "out", tiny.REQUEST, level="exact", **given)
    assert str(error.value) == said
    assert error_text(UsageError, lambda: api.verify(source, tmp_path, level="exact", **given)) == said


def test_statistics_for_another_number_of_channels(source: Path, tmp_path: Path) -> None:
    request = Request(**{**tiny.REQUEST.to_dict(), "image_mean": (0.5, 0.25)})
    assert error_text(SettingError, lambda: api.convert(source, tmp_path / "out", request, level="exact")) == (
        "`image_mean` does not fit this model\n  expected: 3 numbers, one for each channel\n  found: 0.5, 0.25\n"
        "  try: `image_mean=0.5,0.5,0.5`, with the values that the model was trained with"
    )


def test_statistics_of_bytes() -> None:
    with pytest.raises(UsageError) as error:
        Request(image_mean=(123.675, 116.28, 103.53))
    assert "likely cause: numbers from 0 to 255: divide them by 255" in str(error.value)


def test_what_has_the_originals_names_already_is_no_source_for_them(source: Path, tmp_path: Path) -> None:
    """A checkpoint of training is one: it holds more than the model."""
    api.convert(source, tmp_path / "model", tiny.REQUEST, to="original", level="exact")
    bare = tmp_path / "model" / ORIGINAL_FILE
    with pytest.raises(SettingError) as error:
        api.convert(bare, tmp_path / "again", tiny.REQUEST, to="original", level="exact")
    assert str(error.value) == (
        f"{bare} has the original's names already\n"
        "  expected: a folder of Transformers, a training checkpoint, or another codebase's names\n"
        "  found: a torch zip file of DINO ViT (facebookresearch/dino)\n"
        "  try: leave `to='original'` out"
    )
    api.convert(bare, tmp_path / "half", tiny.REQUEST, to="original", dtype="float16", level="exact")


def test_a_folder_of_transformers_is_no_source_for_one(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    api.convert(source, folder, tiny.REQUEST, level="exact")
    assert error_text(SettingError, lambda: api.convert(folder, tmp_path / "again", level="exact")) == (
        f"{folder} is a folder of Transformers already\n"
        "  expected: a checkpoint of an original codebase, or `dtype`, `image_size` or `class_name`\n"
        "  found: config.json and weights under the names of Transformers\n"
        f"  try: `dinoport.convert({str(folder)!r}, FOLDER, to='timm')`\n"
        f"       `dinoport.convert({str(folder)!r}, FOLDER, to='original')`\n"
        f"       `dinoport.convert({str(folder)!r}, FOLDER, to='training')`"
    )


def test_a_cast_is_no_plain_transport(source: Path, tmp_path: Path) -> None:
    request = Request(**{**tiny.REQUEST.to_dict(), "dtype": "bfloat16"})
    report = api.convert(source, tmp_path / "out", request, level="exact")
    count = report.proofs.exact.recomputed
    told = "computed again from the source and equal (outputs not shown)"
    anew = f"for {count} of {count} tensors, computed anew (rounded, merged, or resampled for another size)"
    assert report.verdict.word is Word.RECOMPUTED
    assert str(report.verdict).startswith(f"{told}, except {anew}, whose effect is not shown")
    assert f"exact       passed: {count} tensors computed again from the source, and equal" in str(report)
    written = [(tmp_path / "out" / name).read_text() for name in ("dinoport.json", "README.md")]
    for text in (str(report), words_of(render.page(report)).lower(), *written):
        assert told in " ".join(text.split())
        assert f"{count} tensors computed again from the source, and equal" in " ".join(text.split()) or text in written
        assert "bit for bit" not in text
        assert "transported exactly" not in text
    assert api.verify(source, tmp_path / "out", level="exact").verdict.word is Word.RECOMPUTED


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("SOURCE", ("convert", "", "out")),
        ("FOLDER", ("convert", DEMO, "")),
        ("SOURCE", ("inspect", "")),
        ("SOURCE", ("verify", "", "out")),
        ("FOLDER", ("verify", DEMO, "")),
        ("FOLDER", ("demo", "")),
        ("--reference", ("convert", DEMO, "out", "--reference", "")),
    ],
)
def test_an_empty_text_is_not_the_current_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: tuple[str, ...]
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    tiny.write(Path("checkpoint.pth"))
    hint = ", such as my-model" if name == "FOLDER" else '; "." is the current folder'
    done = run(*arguments)
    assert (done.code, done.out, done.err) == (
        2,
        "",
        f"error: {name} is empty\n  likely cause: a variable of the shell that is not set\n  try: give a path{hint}\n",
    )
    assert [path.name for path in Path.cwd().iterdir()] == ["checkpoint.pth"]


def test_of_the_api_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (lambda: api.convert("", "out"), lambda: api.plan(""), lambda: api.visualize("", "any.jpg", "")):
        with pytest.raises(UsageError, match="is empty"):
            call()


def test_an_empty_value_names_no_file(run: Run, tmp_path: Path) -> None:
    done = run("convert", DEMO, tmp_path / "out", "--head", "")
    assert (done.code, done.err) == (2, "error: --head takes a path\n  found: nothing\n")


def test_no_code_is_announced_that_will_not_run(run: Run, tmp_path: Path) -> None:
    for command in ("convert", "verify"):
        done = run(command, DEMO, tmp_path / "out", "--reference", "hub", "--verify", "exact")
        assert (done.code, done.err) == (
            2,
            "error: --reference compares outputs, which --verify exact leaves out\n"
            "  try: leave --verify out, or --reference\n",
        )


@pytest.mark.parametrize(
    ("folder", "found"),
    [
        ("empty", "empty is a folder, but not one that holds a checkpoint"),
        ("missing", "nothing under this name"),
        ("link", "a link to gone, which is not there"),
    ],
)
def test_a_folder_to_verify_that_is_none_is_called_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("link").symlink_to("gone")
    makes = "\n       dinoport convert SOURCE missing" if folder == "missing" else ""
    done = run("verify", DEMO, folder, "--verify", "exact")
    assert (done.code, done.err) == (
        1,
        f"error: {folder}, given as FOLDER, is not a folder that was converted\n"
        f"  expected: config.json and weights, or what --to original wrote\n  found: {found}\n"
        f"  try: dinoport verify SOURCE FOLDER{makes}\n",
    )


def test_source_and_folder_in_the_wrong_order(run: Run, source: Path, tmp_path: Path) -> None:
    """A file is a place to verify as well: each can be the source of the other."""
    api.convert(source, tmp_path / "out", tiny.REQUEST, level="exact")
    done = run("verify", tmp_path / "out", source, "--verify", "exact")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("verdict     transported exactly (outputs not shown)")


def tried(run: Run, *arguments: object) -> str:
    """What the message of a command that is refused says to try."""
    return run(*arguments).err.rpartition("  try: ")[2]


def test_what_is_advised_is_of_use(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--num-heads", "2", "--verify", "exact")
    run("convert", DEMO, "model", *options)
    assert tried(run, "convert", "facebook/dinov2-base", "out", *options) == (
        "dinoport convert hf://facebook/dinov2-base FOLDER\n"
    )
    assert tried(run, "convert", "model/none.pth", "out", *options) == "ls -l model\n"
    assert tried(run, "convert", DEMO, "out", "--dtype", "fp16", *options) == "--dtype float16\n"
    save_file({"weight": np.eye(2, dtype=np.float32), "bias": np.ones(2, np.float32)}, "head.safetensors")
    assert tried(run, "convert", "head.safetensors", "out", *options) == (
        "give it as the head of its backbone: dinoport convert BACKBONE FOLDER --head head.safetensors\n"
    )
    layers = [f"classifiers_dict.classifier_1_blocks_avgpool_{pooled}_lr_0_01000.linear" for pooled in (False, True)]
    sizes = {name: 2 + place for place, name in enumerate(layers)}
    weights = {f"{name}.weight": np.eye(2, size, dtype=np.float32) for name, size in sizes.items()}
    save_file({**weights, **{f"{name}.bias": np.ones(2, np.float32) for name in sizes}}, "heads.safetensors")
    assert tried(run, "convert", "heads.safetensors", "out", *options) == (
        "give one of these heads to its backbone, by its NAME: "
        "dinoport convert BACKBONE FOLDER --head heads.safetensors --head-name NAME\n"
    )
    assert tried(run, "convert", DEMO, "model", *options) == "choose another name, or replace it with --force\n"
    Path("model/thesis.txt").write_text("mine")
    assert tried(run, "convert", DEMO, "model", *options) == "choose another name\n"


@pytest.mark.parametrize(
    ("name", "architecture", "given", "part"),
    [
        ("num_heads", models.CONVNEXT, 2, "attention heads"),
        ("num_heads", models.RESNET, 2, "attention heads"),
        ("decoder_heads", models.VIT, 2, "a decoder in the class that is written"),
        ("layer_norm_eps", models.RESNET, 1e-5, "a LayerNorm"),
        ("interpolation", models.V3, "size", "a table of positions that could be resampled"),
        ("lora_alpha", models.V2, 8.0, "LoRA adapters in a state dict that does not say how strong they are"),
    ],
)
def test_an_option_about_a_part_that_the_model_does_not_have(
    name: str, architecture: Any, given: object, part: str, tmp_path: Path
) -> None:
    source = tmp_path / "checkpoint.pth"
    state = formula.state_dict(architecture.tensors())
    write_torch_file(source, [tensor(each, values, block=1 << 20) for each, values in state.items()])
    heads = {"num_heads": 1} if name in ("decoder_heads", "lora_alpha") else {}
    with pytest.raises(SettingError) as error:
        api.plan(source, Request(**{**heads, name: given}))
    what, expected, found, step = str(error.value).split("\n")
    assert what == f"`{name}` is of no use for {source}"
    assert expected == f"  expected: {part}"
    assert found.startswith("  found: a ")
    assert step == f"  try: leave `{name}` out"


def test_such_an_option_that_the_folder_alone_claims_does_not_stop_a_verification(source: Path, tmp_path: Path) -> None:
    """0.1 took and recorded it."""
    api.convert(source, tmp_path / "out", tiny.REQUEST, level="exact")
    report = tmp_path / "out" / "dinoport.json"
    said = json.loads(report.read_text())
    report.write_bytes(json_bytes(sealed(said | {"request": {**said["request"], "decoder_heads": 2}})))
    verdict = api.verify(source, tmp_path / "out", level="exact").verdict
    assert verdict.word is Word.TRANSPORTED, str(verdict)


@pytest.mark.parametrize("size", [1, 3, 5, 4095])
def test_an_input_size_that_patches_do_not_fill(size: int, source: Path) -> None:
    with pytest.raises(SettingError) as error:
        api.plan(source, Request(num_heads=2, image_size=size))
    what, expected, found, step = str(error.value).split("\n")
    assert (what, found) == (f"`image_size={size}` does not fit this model", f"  found: {size}")
    assert expected == "  expected: a multiple of its patch size, 4, up to 4096"
    assert api.plan(source, Request(num_heads=2, image_size=int(step.strip("`").rpartition("=")[2])))


def test_the_largest_input_size_is_the_same_whoever_says_it() -> None:
    with pytest.raises(UsageError, match=r"`image_size` takes a whole number of pixels from 1 to 4096\n  found: 4097"):
        Request(image_size=4097)
    assert input_size(Request(image_size=4096), 8, 4) == 4096
    with pytest.raises(SettingError, match="up to 4000\n  found: 4096\n  try: `image_size=4000`"):
        input_size(Request(image_size=4096), 8, 1000)
