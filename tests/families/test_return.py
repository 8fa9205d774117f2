"""What cannot return is said; what the class has no tensor for returns as it was."""

import json
import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dinoport.api import convert, inspect, plan, verify
from dinoport.errors import NotProvenError, SettingError, UsageError
from dinoport.proofs.verdict import Word
from dinoport.report.report import Report
from dinoport.report.text import report_lines
from dinoport.request import Request
from tests import goldens
from tests.families.cases import BY_NAME, Case, dinov3
from tests.models import V3

torch = pytest.importorskip("torch")
load_file = pytest.importorskip("safetensors.torch").load_file


def there_and_back(case: Case, folder: Path) -> Report:
    source, request = case.write(folder)
    convert(source, folder / "there", request, level="exact")
    return convert(folder / "there", folder / "back", to="original", level="exact")


@pytest.mark.parametrize(
    ("case", "lost"),
    [
        (BY_NAME["vit-training-checkpoint"], ("head",)),
        (BY_NAME["dinov2-teacher"], ("dino_head", "ibot_head")),
        (BY_NAME["dinov3-teacher"], ("dino_head", "ibot_head")),
        (dinov3("sat", replace(V3, local_cls_norm=True)), ("local_cls_norm",)),
        (BY_NAME["vit"], ()),
        (BY_NAME["dinov3-convnext"], ()),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else None,
)
def test_what_was_dropped_for_good_is_named(case: Case, lost: tuple[str, ...], tmp_path: Path) -> None:
    remarks = there_and_back(case, tmp_path).remarks
    named = {
        remark.partition(" ")[0]
        for remark in remarks
        if remark.endswith("not in the folder, and its values do not return")
    }
    assert named == set(lost)


def test_a_masked_key_bias_returns_as_zeros_and_is_said(tmp_path: Path) -> None:
    said = "part 2 of 3 of blocks.{0…1}.attn.qkv.bias returns as zeros: a mask in the file switches the keys' bias off"
    assert any(remark.startswith(said) for remark in there_and_back(BY_NAME["dinov3"], tmp_path).remarks)
    live = there_and_back(BY_NAME["dinov3-live-key-bias"], tmp_path / "live").remarks
    assert not any("zeros" in remark for remark in live)


def test_periods_that_training_rounded_return_rounded(tmp_path: Path) -> None:
    source = goldens.FOLDER / "dinov3/trained_a/teacher_checkpoint.pth"
    there = convert(source, tmp_path / "there", level="exact")
    back = convert(tmp_path / "there", tmp_path / "back", to="original", level="exact")
    for verdict in (there.verdict, back.verdict):
        [rounded] = verdict.exceptions
        assert rounded.startswith("rope periods (stored as bfloat16 rounds them"), rounded
    assert (
        "rope_embed.periods returns in float32, with the values that bfloat16 rounds: "
        "in which dtype the original stored them the folder does not say"
    ) in back.remarks
    returned = torch.load(tmp_path / "back" / "checkpoint.pth", weights_only=True)["rope_embed.periods"]
    trained = torch.load(source, weights_only=True)["teacher"]["backbone.rope_embed.periods"]
    assert trained.dtype == torch.bfloat16
    assert np.array_equal(returned.numpy(), trained.float().numpy())


def returning(folder: Path) -> Report:
    return convert(folder, folder.parent / "back", to="original", level="exact")


def test_block_chunks_return_flat_and_are_said_to(tmp_path: Path) -> None:
    source, request = BY_NAME["dinov2"].write(tmp_path)
    flat = torch.load(source, weights_only=True)
    torch.save({re.sub(r"^blocks\.", "blocks.0.", name): tensor for name, tensor in flat.items()}, source)
    convert(source, tmp_path / "there", request, level="exact")
    said = "blocks return as blocks.{i}; in the original they were grouped, as blocks.{chunk}.{i} (block_chunks)"
    assert said in returning(tmp_path / "there").remarks
    assert torch.load(tmp_path / "back" / "checkpoint.pth", weights_only=True).keys() == flat.keys()
    start = convert(tmp_path / "there", tmp_path / "start", to="training", level="exact")
    assert said not in start.remarks, "a start has the names of both groupings"


@pytest.mark.parametrize("name", ["vit", "dinov2"])
def test_a_table_that_was_resampled_returns_so_and_is_said_to(name: str, tmp_path: Path) -> None:
    case = BY_NAME[name]
    source, request = case.write(tmp_path)
    patch, size = case.architecture.patch_size, case.architecture.image_size
    convert(source, tmp_path / "there", replace(request, image_size=2 * patch), level="exact")
    assert size != 2 * patch
    assert (
        f"pos_embed returns as the folder has it, resampled for {2 * patch} pixels; the original's own table, "
        f"for {size}, is not in the folder"
    ) in returning(tmp_path / "there").remarks


def test_weights_that_were_rounded_return_so_and_are_said_to(tmp_path: Path) -> None:
    source, request = BY_NAME["vit"].write(tmp_path)
    convert(source, tmp_path / "there", replace(request, dtype="float16"), level="exact")
    said = "the folder was made with --dtype float16: weights return so, whatever the original stored"
    assert said in returning(tmp_path / "there").remarks


def test_nothing_is_said_of_what_returns_as_it_was(tmp_path: Path) -> None:
    assert there_and_back(BY_NAME["vit"], tmp_path).remarks == ()


@pytest.mark.parametrize("record", [{"source": [], "request": 1}, {"source": {"stripped": [1]}, "request": {}}])
def test_a_report_of_another_shape_says_nothing(record: object, returned: Path, tmp_path: Path) -> None:
    shutil.copytree(returned / "there", tmp_path / "there")
    (tmp_path / "there" / "dinoport.json").write_text(json.dumps(record))
    assert not any("return" in remark for remark in returning(tmp_path / "there").remarks)


def test_why_something_is_dropped_or_made_is_said_of_the_way_back(returned: Path, tmp_path: Path) -> None:
    [dropped] = plan(returned / "there", to="original").accounting.dropped
    assert dropped.reason.startswith("made for the class, and no part of the original (an identity pooler: ")
    there_and_back(BY_NAME["dinov3"], tmp_path)
    report = plan(tmp_path / "there", to="original")
    reasons = {line.names: line.reason for line in report.accounting.synthesised}
    assert reasons["rope_embed.periods"] == (
        "not in the source; taken as the powers of 100 (the class computes them from its base)"
    )
    [base] = [setting for setting in report.settings if setting.name == "rope base"]
    assert (base.value, base.origin, base.reason) == ("100.0", "inferred", "rope_theta in config.json")


def test_pixels_are_not_shown_for_a_reason(returned: Path) -> None:
    pytest.importorskip("transformers")
    verdict = verify(returned / "there", returned / "back").verdict
    others = "outputs at other input sizes (--all-sizes)"
    assert verdict.not_shown == (others, "pixels: a file of the original's has no image processor")
    whole = verify(returned / "there", returned / "back", all_sizes=True).verdict
    assert whole.not_shown == ("pixels: a file of the original's has no image processor",)


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_checksums_are_those_of_the_folder_and_not_of_what_was_written(weights: str, tmp_path: Path) -> None:
    source, request = BY_NAME["vit"].write(tmp_path)
    convert(source, tmp_path / "there", request, level="exact")
    count = 0
    if weights == "pytorch_model.bin":
        tensors = load_file(tmp_path / "there" / "model.safetensors")
        torch.save(tensors, tmp_path / "there" / weights)
        (tmp_path / "there" / "model.safetensors").unlink()
        count = len(tensors)
    report = convert(tmp_path / "there", tmp_path / "back", to="original", level="exact")
    assert report.proofs.exact is not None
    assert report.proofs.exact.checksums == count
    assert ("checksums of the source hold" in " ".join(" ".join(report_lines(report)).split())) is (count > 0)
    assert verify(tmp_path / "there", tmp_path / "back", level="exact").proofs.exact == report.proofs.exact


@pytest.fixture(scope="module")
def returned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `there`, `back` and the original; tests change copies."""
    root = tmp_path_factory.mktemp("returned")
    there_and_back(BY_NAME["vit"], root)
    return root


def copy_of_back(returned: Path, folder: Path) -> Path:
    shutil.copytree(returned / "back", folder / "back")
    return folder / "back"


@pytest.mark.parametrize("level", ["exact", "full"])
def test_what_was_converted_back_is_verified_with_its_folder(returned: Path, level: str) -> None:
    if level == "full":
        pytest.importorskip("transformers")
    report = verify(returned / "there", returned / "back", level=level)
    assert report.direction == "to original"
    assert report.verdict.word is (Word.TRANSPORTED if level == "exact" else Word.EQUAL), str(report.verdict)
    assert not report.recorded


def test_a_flipped_bit_of_what_was_converted_back_is_caught(returned: Path, tmp_path: Path) -> None:
    back = copy_of_back(returned, tmp_path)
    content = bytearray((back / "checkpoint.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (back / "checkpoint.pth").write_bytes(content)
    with suppress(NotProvenError):
        verdict = verify(returned / "there", back, level="exact").verdict
        assert verdict.failed
        assert "checkpoint.pth has another sha256 than dinoport.json says" in verdict.failures
    (back / "checkpoint.pth").write_bytes(content[:-100])
    with pytest.raises(NotProvenError, match="is damaged, and so not equal to"):
        verify(returned / "there", back, level="exact")


def test_another_folder_and_a_changed_report_are_told(returned: Path, tmp_path: Path) -> None:
    weights = returned / "there" / "model.safetensors"
    shutil.copytree(returned / "there", tmp_path / "there")
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    (tmp_path / "there" / "model.safetensors").write_bytes(content)
    assert verify(tmp_path / "there", returned / "back", level="exact").verdict.failed
    back = copy_of_back(returned, tmp_path)
    text = (back / "dinoport.json").read_text(encoding="utf-8")
    (back / "dinoport.json").write_text(text.replace("transported", "carried"), encoding="utf-8")
    assert verify(returned / "there", back, level="exact").verdict.failures == (
        "dinoport.json was changed since it was written: it does not have its own sha256",
    )


NO_OPTIONS = (
    "the way back follows from the folder alone, and takes no options of a conversion\n"
    "  found: `num_heads`, `image_size`\n  try: leave them out; convert the original again for another folder"
)


def test_what_does_not_go_with_a_way_back_is_a_message(returned: Path, tmp_path: Path) -> None:
    there, back = returned / "there", returned / "back"
    asked = Request(num_heads=2, image_size=32)
    for way in (
        lambda: convert(there, tmp_path / "new", asked, to="original", level="exact"),
        lambda: plan(there, asked, to="original"),
        lambda: verify(there, back, asked, level="exact"),
    ):
        with pytest.raises(SettingError) as wrong:
            way()
        assert (wrong.value.exit_code, str(wrong.value)) == (1, NO_OPTIONS)
    assert inspect(there, asked).refusal == NO_OPTIONS
    with pytest.raises(UsageError) as shards:
        convert(there, tmp_path / "new", to="original", level="exact", max_shard_bytes=1000)
    assert str(shards.value) == (
        "`max_shard_bytes` goes with a conversion to Transformers, not `to='original'`\n"
        "  likely cause: no other target is read from several files by an index\n  try: leave `max_shard_bytes` out"
    )


@pytest.mark.parametrize("level", ["exact", "full"])
def test_any_two_places_are_verified(returned: Path, level: str) -> None:
    """Files too, and a file against its folder. Only the tensors of a file are compared, which is said."""
    if level == "full":
        pytest.importorskip("transformers")
    original, there, back = (returned / name for name in ("checkpoint.pth", "there", "back"))
    for source, place in (
        (original, back / "checkpoint.pth"),
        (there, back / "checkpoint.pth"),
        (back / "checkpoint.pth", original),
        (back / "checkpoint.pth", there),
    ):
        report = verify(source, place, level=level)
        assert not report.verdict.failed, str(report.verdict)
        assert report.proofs.exact is not None
        assert report.proofs.exact.found == len(BY_NAME["vit"].state())
        told = f"only the tensors of {source} and {place} were compared"
        assert (told in report.remarks) == place.is_file()


def test_a_folder_and_the_file_in_it_hold_the_same(returned: Path) -> None:
    """Its dinoport.json was written for another source, which is a warning and no fault."""
    verdict = verify(returned / "back" / "checkpoint.pth", returned / "back", level="exact").verdict
    assert not verdict.failed, str(verdict)
    assert any("is another file than the one that was converted" in warning for warning in verdict.warnings)


def test_another_value_in_either_of_two_files_is_caught(returned: Path, tmp_path: Path) -> None:
    state = torch.load(returned / "checkpoint.pth", weights_only=True)
    state["blocks.1.attn.qkv.bias"][70] += 1e-6
    torch.save(state, tmp_path / "other.pth")
    for pair in ((returned / "checkpoint.pth", tmp_path / "other.pth"), (tmp_path / "other.pth", returned / "there")):
        failures = verify(*pair, level="exact").verdict.failures
        assert any(failure.startswith("blocks.1.attn.qkv.bias differs ") for failure in failures), failures


def test_a_folder_of_transformers_is_made_anew_for_a_change_alone(returned: Path, tmp_path: Path) -> None:
    """What comes of it is, byte for byte, what comes of the original."""
    with pytest.raises(SettingError) as refused:
        convert(returned / "there", tmp_path / "again", level="exact")
    assert str(refused.value) == (
        f"{returned / 'there'} is a folder of Transformers already\n"
        "  expected: a checkpoint of an original codebase, or `dtype`, `image_size` or `class_name`\n"
        "  found: config.json and weights under the names of Transformers\n"
        f"  try: `dinoport.convert({str(returned / 'there')!r}, FOLDER, to='timm')`\n"
        f"       `dinoport.convert({str(returned / 'there')!r}, FOLDER, to='original')`\n"
        f"       `dinoport.convert({str(returned / 'there')!r}, FOLDER, to='training')`"
    )
    for number, change in enumerate(
        ({"dtype": "float16"}, {"image_size": 32}, {"dtype": "bfloat16", "image_size": 96})
    ):
        made = [tmp_path / f"{number}{kind}" for kind in "ab"]
        for source, folder in zip((returned / "there", returned / "checkpoint.pth"), made, strict=True):
            report = convert(source, folder, level="exact", **change)
            cast = Word.RECOMPUTED if "dtype" in change else Word.TRANSPORTED
            assert report.verdict.word is cast, str(report.verdict)
        assert report.class_name == "ViTModel"
        for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
            assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes(), (change, name)
        assert not verify(returned / "there", made[0], level="exact").verdict.failed
    back = convert(returned / "there", tmp_path / "back", to="original", dtype="float16", level="exact")
    assert back.proofs.exact is not None
    assert back.proofs.exact.recomputed == len(BY_NAME["vit"].state())


def test_a_class_with_a_place_for_registers_tells_how_its_table_is_resampled(tmp_path: Path) -> None:
    """Of a model without any: it comes back as what its own class computes, and goes there again."""
    source, request = BY_NAME["dinov2-resampling-sharply"].write(tmp_path)
    convert(source, tmp_path / "there", request, level="none")
    back = convert(tmp_path / "there", tmp_path / "back", Request(to="original"), level="none")
    [found] = [each for each in back.settings if each.name == "interpolation"]
    assert (found.reason, "with antialias" in found.value) == ("config.json", True)
    convert(tmp_path / "back", tmp_path / "again", level="none")
    files = ("config.json", "preprocessor_config.json", "model.safetensors")
    assert all((tmp_path / "again" / name).read_bytes() == (tmp_path / "there" / name).read_bytes() for name in files)
