"""A folder through timm itself: loading, outputs, pixels. `make test-frameworks` runs it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.api import convert, verify
from dinoport.errors import NotProvenError
from dinoport.proofs.verdict import Word
from dinoport.report.report import Report
from tests.timm_target.models import CASES, asked, write
from tests.with_timm import needs_timm

pytestmark = needs_timm

GATE = 1e-9


def has_dinov3() -> bool:
    import timm

    return bool(timm.is_model("vit_small_patch16_dinov3_qkvb"))


def converted(case: str, folder: Path, **others: Any) -> Report:
    if case.startswith("dinov3") and not has_dinov3():
        pytest.skip("this timm has no DINOv3")
    return convert(write(case, folder / "weights.pth"), folder / "out", to="timm", **asked(case), **others)


@pytest.mark.parametrize("case", CASES)
def test_timm_computes_what_the_original_does(case: str, tmp_path: Path) -> None:
    report = converted(case, tmp_path)
    loading, outputs = report.proofs.loading, report.proofs.outputs
    assert loading is not None
    assert loading.passed
    assert loading.library == "timm"
    assert outputs is not None
    assert outputs.worst <= GATE
    assert outputs.blocks
    assert ("logits" in outputs.float64) == ("classifier" in case)
    assert (outputs.summed is not None) == (case == "dinov2 registers")
    assert (outputs.rotation is not None) == case.startswith("dinov3")
    assert report.verdict.word in (Word.EQUAL, Word.EQUAL_EXCEPT)
    pixels = report.proofs.pixels
    assert pixels is not None
    on_tensors = case.startswith(("dinov3", "convnext"))
    assert pixels.status == ("not shown" if "channel" in case else "one grey level" if on_tensors else "equal")


def test_other_sizes_are_measured(tmp_path: Path) -> None:
    alike, other = tmp_path / "alike", tmp_path / "other"
    for folder in (alike, other):
        folder.mkdir()
    outputs = converted("dinov2 registers", alike, all_sizes=True).proofs.outputs
    assert outputs is not None
    assert all(difference.relative <= GATE for difference in outputs.other_sizes.values())
    outputs = converted("dino", other, all_sizes=True).proofs.outputs
    assert outputs is not None
    assert any(difference.relative > 1e-3 for difference in outputs.other_sizes.values())


def test_a_folder_for_another_size_is_equal_there(tmp_path: Path) -> None:
    for case, size, word in (("dino", 48, Word.EQUAL_EXCEPT), ("dinov2 registers", 42, Word.EQUAL)):
        folder = tmp_path / case
        folder.mkdir()
        report = converted(case, folder, image_size=size)
        assert report.proofs.outputs is not None
        assert report.proofs.outputs.size == (size, size)
        assert report.verdict.word is word  # except at the size of the original's own table


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_cast_is_proven_with_its_rounding(dtype: str, tmp_path: Path) -> None:
    report = converted("dinov2 registers", tmp_path, dtype=dtype)
    assert report.verdict.word is Word.EQUAL_EXCEPT
    assert any(exception.startswith("for rounding") for exception in report.verdict.exceptions)


def test_a_cls_token_without_its_row_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum is what the tensors are compared with, and the original's own two are what outputs are."""
    from dinoport.codebases.timm import vit

    monkeypatch.setattr(vit, "added", lambda tensor, other: tensor)
    with pytest.raises(NotProvenError, match="tokens that were added up in advance move outputs by"):
        converted("dinov2 registers", tmp_path)


def test_weights_under_other_names_do_not_load(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    converted("dino", tmp_path, level="none")
    path = tmp_path / "out" / "model.safetensors"
    tensors = load_file(path)
    tensors["mask_token"] = tensors.pop("cls_token")
    save_file(tensors, path)
    report = verify(tmp_path / "weights.pth", tmp_path / "out")
    assert report.verdict.word is Word.NOT_EQUAL
    assert any("cls_token" in failure for failure in report.verdict.failures)


def test_both_directions_are_proven_in_full(tmp_path: Path) -> None:
    converted("dinov2 registers", tmp_path)
    assert verify(tmp_path / "weights.pth", tmp_path / "out").verdict.word is Word.EQUAL
    convert(tmp_path / "out", tmp_path / "back")
    assert not verify(tmp_path / "out", tmp_path / "back").verdict.failed


def test_the_card_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    converted("dino classifier", tmp_path, level="exact")
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 50), (200, 30, 60)).save("picture.jpg")
    card = (tmp_path / "out" / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0]
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102  # our own card
    assert found["last_map"].shape == (1, 32, 2, 2)
    tokens = found["model"].forward_features(found["pixels"])
    wrapped = found["wrapped"](found["pixels"]).last_hidden_state
    assert np.abs((tokens - wrapped).detach().numpy()).max() < 1e-5


def test_timm_takes_seven_classes_and_one_channel_of_it(tmp_path: Path) -> None:
    import timm

    converted("dinov2", tmp_path, level="exact")
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=7, in_chans=1)
    assert model.head.weight.shape == (7, 32)
    assert model.patch_embed.proj.weight.shape[1] == 1


def test_what_timm_is_given_names_no_other_file(tmp_path: Path) -> None:
    from dinoport.codebases.timm.running import given

    converted("dino", tmp_path, level="none")
    path = tmp_path / "out" / "config.json"
    config = json.loads(path.read_text())
    config["pretrained_cfg"] |= {"url": "https://example.org/x", "file": "/etc/passwd"}
    path.write_text(json.dumps({**config, "url": "https://example.org/x"}))
    with given(tmp_path / "out") as folder:
        given_config = json.loads((folder / "config.json").read_text())
        assert "url" not in given_config
        assert not {"url", "file"} & given_config["pretrained_cfg"].keys()
    assert not folder.exists()


def test_a_published_folder_loads_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    from dinoport.api import publish
    from tests.publishing.conftest import at_home
    from tests.publishing.server import serving
    from tests.publishing.store import Hub

    if not timm.models._hub.has_hf_hub():
        pytest.skip(f"timm {timm.__version__} takes this huggingface_hub for none")
    converted("dinov3", tmp_path, level="exact")
    with serving(Hub(tmp_path / "hub")) as running:
        at_home(monkeypatch, running, tmp_path)
        publish(tmp_path / "out", "owner/model")
        model = timm.create_model("hf-hub:owner/model", pretrained=True).eval()
    local = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    ours, theirs = local.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(bool((ours[name] == theirs[name]).all()) for name in ours)
    assert model.pretrained_cfg["hf_hub_id"] == "owner/model"
    transform = timm.data.resolve_model_data_config(model)
    assert transform == timm.data.resolve_model_data_config(local)


@pytest.mark.parametrize("case", ["dino", "dinov2 registers", "dinov3", "convnext"])
def test_a_page_shows_the_attention_of_both_sides(case: str, tmp_path: Path) -> None:
    pictures = converted(case, tmp_path, pictures=True).proofs.pictures
    assert pictures is not None
    if case == "convnext":
        assert pictures.attention is None
        return
    assert pictures.attention is not None
    assert pictures.attention.original.shape[0] == 2
    assert np.ptp(pictures.attention.converted) > 0
    assert pictures.attention.difference < 1e-8


@pytest.mark.parametrize("case", ["dinov3", "dinov3 key bias"])
def test_a_timm_without_dinov3_is_no_failure(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older ones have a builder of the name that is taken for eps 1e-6, and stop at its options."""
    import timm

    monkeypatch.setattr(timm, "__version__", "1.0.16")
    monkeypatch.setattr(timm, "is_model", lambda name: name.startswith("eva02"))
    report = convert(write(case, tmp_path / "weights.pth"), tmp_path / "out", to="timm", **asked(case))
    assert report.verdict.word is Word.TRANSPORTED
    assert report.verdict.shown.startswith("(outputs not shown: timm 1.0.16 has no ")
