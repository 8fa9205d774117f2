"""A folder that Transformers itself wrote again is the same model, and so is one of `pytorch_model.bin`."""

import json
import shutil
from pathlib import Path

import pytest

from dinoport.api import convert, verify
from dinoport.proofs.verdict import Word
from tests.families.cases import BY_NAME, CASES, Case

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SOUND = (Word.EQUAL, Word.EQUAL_EXCEPT)


def write_again(folder: Path, again: Path, class_name: str, *, pooler: bool = True, pickled: bool = False) -> Path:
    """As a user does: loaded, and saved by the model and by the processor, where this environment has it."""
    options = {} if pooler or class_name != "ViTModel" else {"add_pooling_layer": False}
    model = getattr(transformers, class_name).from_pretrained(folder, local_files_only=True, **options)
    model.save_pretrained(again)
    if pickled:
        (again / "model.safetensors").unlink()
        torch.save(model_on_disk(folder), again / "pytorch_model.bin")
    try:
        transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True).save_pretrained(again)
    except (ImportError, ValueError, OSError):  # without torchvision, or for other channels than three
        if (folder / "preprocessor_config.json").exists():
            shutil.copy(folder / "preprocessor_config.json", again)
    return again


def model_on_disk(folder: Path) -> dict[str, object]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_folder_that_was_saved_again_is_equal(case: Case, tmp_path: Path) -> None:
    path, request = case.write(tmp_path / "source")
    convert(path, tmp_path / "folder", request, level="none")
    pooler = request.pooler == "identity"
    again = write_again(tmp_path / "folder", tmp_path / "again", case.class_name, pooler=pooler)
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "folder", again))
    assert after.keys() - before.keys(), "nothing was added, so nothing is shown"
    found = verify(path, again, request)
    assert found.verdict.word in SOUND, str(found.verdict)
    assert found.proofs.loading is not None
    assert found.proofs.outputs is not None
    assert not any("transformers_version" in warning for warning in found.verdict.warnings)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_folder_of_pickled_weights_is_equal_and_goes_back(case: Case, tmp_path: Path) -> None:
    path, request = case.write(tmp_path / "source")
    convert(path, tmp_path / "folder", request, level="none")
    pooler = request.pooler == "identity"
    again = write_again(tmp_path / "folder", tmp_path / "again", case.class_name, pooler=pooler, pickled=True)
    found = verify(path, again, request)
    assert found.verdict.word in SOUND, str(found.verdict)
    back = convert(again, tmp_path / "back", to="original")
    assert back.verdict.word in SOUND, str(back.verdict)


def test_what_was_saved_over_the_folder_is_told_and_equal(tmp_path: Path) -> None:
    """Its dinoport.json stays, with hashes of what is gone."""
    case = BY_NAME["dinov2"]
    path, request = case.write(tmp_path / "source")
    convert(path, tmp_path / "folder", request, level="none")
    write_again(tmp_path / "folder", tmp_path / "folder", case.class_name)
    verdict = verify(path, tmp_path / "folder").verdict
    assert verdict.word in SOUND, str(verdict)
    assert "config.json has another sha256 than dinoport.json says; what it holds was compared" in verdict.warnings


def test_pickled_weights_that_are_others_are_caught(tmp_path: Path) -> None:
    case = CASES[0]
    path, request = case.write(tmp_path / "source")
    convert(path, tmp_path / "folder", request, level="none")
    again = write_again(tmp_path / "folder", tmp_path / "again", case.class_name, pickled=True)
    state = case.state()
    weights = model_on_disk(tmp_path / "folder")
    assert len(weights) > len(state) // 2
    for name in list(weights)[::5]:
        changed = {**weights, name: weights[name] + 1}  # type: ignore[operator]  # tensors, typed as objects
        torch.save(changed, again / "pytorch_model.bin")
        assert verify(path, again, request, level="exact").verdict.failed, name


def test_no_pickle_of_a_strangers_reaches_torch_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[0]
    path, request = case.write(tmp_path / "source")
    convert(path, tmp_path / "folder", request, level="none")
    again = write_again(tmp_path / "folder", tmp_path / "again", case.class_name, pickled=True)
    monkeypatch.setattr(torch, "load", lambda *given, **options: pytest.fail("torch.load was called"))
    assert verify(path, again, request).verdict.word in SOUND
    assert convert(again, tmp_path / "back", to="original").verdict.word in SOUND


def test_fields_that_hubs_add_are_listed_and_no_failure(tmp_path: Path) -> None:
    case = BY_NAME["dinov2"]
    path, request = case.write(tmp_path / "source")
    convert(path, tmp_path / "folder", request, level="none")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    dtype = config.pop("dtype")
    config |= {
        "torch_dtype": dtype,
        "transformers_version": "4.31.0.dev0",
        "_name_or_path": "facebook/dinov2-base",
        "apply_layernorm": False,
        "reshape_hidden_states": True,
        "out_features": ["stage1"],
        "out_indices": [1],
        "stage_names": ["stem", "stage1", "stage2"],
        "initializer_range": 0.01,
        "hidden_dropout_prob": 0.1,
    }
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config))
    verdict = verify(path, tmp_path / "folder").verdict
    assert verdict.word in SOUND, str(verdict)
    assert "config.json: apply_layernorm is false, and moves no output" in verdict.warnings
    assert {warning.split(" is ")[0] for warning in verdict.warnings if " is " in warning} == {
        f"config.json: {name}"
        for name in (
            "_name_or_path",
            "apply_layernorm",
            "hidden_dropout_prob",
            "initializer_range",
            "out_features",
            "out_indices",
        )
    }
    (tmp_path / "folder" / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-5}))
    verdict = verify(path, tmp_path / "folder").verdict
    assert verdict.word is Word.NOT_EQUAL
    assert verdict.failures[0] == "config.json: layer_norm_eps is 1e-05, expected 1e-06"
    assert any("outputs differ by" in failure for failure in verdict.failures)
