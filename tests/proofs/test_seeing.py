"""What a converted folder sees, against the original's own computation, at its size and at others."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.api import convert
from dinoport.errors import SettingError
from dinoport.networks.interpolation import TO_SIZE, TO_SIZE_ANTIALIASED
from dinoport.pictures.drawing import holding
from dinoport.pictures.seeing import fitted, see
from dinoport.proofs.picture import synthetic_picture
from tests.error_text import error_text
from tests.families.cases import BY_NAME, CASES, Case
from tests.models import renamed

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SAME_BACKBONE = {
    "vit-training-checkpoint", "vit-state-dict-container", "dinov2-teacher", "dinov2-whole-classifier",
    "resnet-classifier", "resnet-probe",
}  # fmt: skip
SEEING = tuple(case for case in CASES if case.architecture.channels == 3 and case.name not in SAME_BACKBONE)
VITS = tuple(case for case in SEEING if hasattr(case.architecture, "depth"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every case, converted once, without the proofs: those are tested elsewhere."""
    made = {}
    for case in SEEING:
        folder = tmp_path_factory.mktemp(case.name)
        source, request = case.write(folder)
        convert(source, folder / "out", request, level="none")
        made[case.name] = folder / "out"
    return made


def of_the_original(case: Case, folder: Path, values: Any) -> tuple[Any, Any]:
    """Attention and tokens of our own pass in float64, with Transformers' rule for another size than the table's.

    The eps is the folder's: no state dict holds one, and what is assumed for it is not tested here.
    """
    eps = json.loads((folder / "config.json").read_text())["layer_norm_eps"]
    architecture = replace(case.architecture, layer_norm_eps=eps)
    if hasattr(architecture, "interpolation"):
        antialiased = case.class_name.startswith("Dinov2WithRegisters")
        architecture = replace(architecture, interpolation=TO_SIZE_ANTIALIASED if antialiased else TO_SIZE)
    state, code, blocks, arguments = state_of(case), architecture.network.code, {}, {}
    if architecture.network.rotation:
        rows, columns = (side // architecture.patch_size for side in values.shape[-2:])
        # In float32, as upstream's hub models and Transformers compute angles whatever the model's dtype.
        angles = code.rotation_of_state({}, architecture, rows, columns, torch.float32)
        arguments = {"rotation": tuple(each.double() for each in angles)}
    with torch.inference_mode():
        outputs = code.forward(state, architecture, values.double(), blocks.__setitem__, **arguments)
        return code.last_attention(state, architecture, blocks, **arguments), outputs["tokens"]


def state_of(case: Case) -> dict[str, Any]:
    """The case's tensors by their canonical names."""
    state = {name: torch.from_numpy(array).double() for name, array in case.state().items()}
    return renamed(state, case.classifier, "classifier")


def values_of(picture: Any, case: Case) -> Any:
    from dinoport.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD

    values = (picture / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    return torch.from_numpy(values.transpose(2, 0, 1)[None].copy())


@pytest.mark.parametrize("patches", [4, 7])
@pytest.mark.parametrize("case", VITS, ids=lambda case: case.name)
def test_attention_and_tokens_are_those_of_the_original(case: Case, patches: int, folders: dict[str, Path]) -> None:
    architecture = case.architecture
    seen = see(folders[case.name], synthetic_picture(), patches * architecture.patch_size, "float64")
    rows, columns = (side // architecture.patch_size for side in seen.picture.shape[:2])
    assert rows == patches < columns, "the picture is wider than it is high"
    attention, tokens = of_the_original(case, folders[case.name], values_of(seen.picture, case))
    assert seen.attention is not None
    assert seen.attention.shape == (architecture.heads, rows, columns)
    prefix = 1 + getattr(architecture, "registers", 0)
    expected = attention[0, :, prefix:].reshape(-1, rows, columns).numpy()
    assert abs(seen.attention - expected).max() <= 1e-6
    assert np.ptp(expected) > 1e-4, "attention that is the same everywhere would prove nothing"
    expected_tokens = tokens[0, prefix:].reshape(rows, columns, -1).numpy()
    assert abs(seen.patches - expected_tokens).max() <= 1e-5
    in_float32 = see(folders[case.name], synthetic_picture(), patches * architecture.patch_size).attention
    assert abs(in_float32 - expected).max() <= 5e-6, "what the command draws: the same, but for float32's rounding"


@pytest.mark.parametrize("case", VITS, ids=lambda case: case.name)
def test_attention_is_what_transformers_gives_out(case: Case, folders: dict[str, Path]) -> None:
    """By its own way, eager and for all tokens of all blocks."""
    folder = folders[case.name]
    seen = see(folder, synthetic_picture(), 5 * case.architecture.patch_size)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    arguments = {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}
    with torch.inference_mode():
        values = values_of(seen.picture, case).float()
        attentions = model(values, output_attentions=True, **arguments).attentions
    assert seen.attention is not None
    count = seen.attention[0].size
    assert abs(seen.attention.reshape(-1, count) - attentions[-1][0, :, 0, -count:].numpy()).max() <= 1e-6


@pytest.mark.parametrize("name", ["resnet", "dinov3-convnext"])
def test_without_attention_there_is_the_feature_map(name: str, folders: dict[str, Path]) -> None:
    seen = see(folders[name], synthetic_picture(), 96)
    assert seen.attention is None
    assert seen.patches.shape[:2] == (3, 4)
    assert seen.picture.shape == (96, 128, 3)
    case = BY_NAME[name]
    outputs = case.architecture.network.code.forward(state_of(case), case.architecture, values_of(seen.picture, case))
    expected = outputs.get("feature_map")
    flat = outputs["tokens"][0, 1:] if expected is None else expected[0].flatten(1).T
    difference = abs(seen.patches.reshape(len(flat), -1) - flat.numpy()).max()
    assert difference <= 1e-4 * float(flat.abs().max())


def test_a_picture_is_cut_to_whole_patches() -> None:
    picture = synthetic_picture(300, 200)
    assert fitted(picture, 100, 14).shape == (98, 140, 3)
    assert fitted(picture.rotate(90, expand=True), 100, 14).shape == (140, 98, 3)
    assert fitted(synthetic_picture(2000, 20), 20, 16).shape == (16, 2000, 3)


def test_a_mask_holds_its_share_and_no_more() -> None:
    attention = np.array([[0.5, 0.2], [0.2, 0.1]])
    assert holding(attention, 0.6).sum() == 2
    assert holding(attention, 0.49).tolist() == [[True, False], [False, False]]
    assert holding(attention, 0.95).all()
    rng = np.random.default_rng(5)
    attention = rng.random((9, 13)) ** 4
    mask = holding(attention, 0.6)
    held = attention[mask].sum() / attention.sum()
    assert held >= 0.6 > held - attention[mask].min() / attention.sum()


def test_sizes_that_do_not_fit_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(SettingError, match="`size=3` does not fit this model"):
        see(folders["vit"], synthetic_picture(), 3)


def test_what_is_no_model_of_the_family_is_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    assert error_text(SettingError, lambda: see(tmp_path / "model.pth", synthetic_picture(), 64)) == (
        f"{tmp_path / 'model.pth'} is not a folder of Transformers\n"
        "  expected: config.json and weights, as dinoport convert writes them\n"
        f"  try: `dinoport.convert({str(tmp_path / 'model.pth')!r}, FOLDER)`\n"
        "       `dinoport.visualize(FOLDER, IMAGE)`"
    )
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "config.json").write_text(
        json.dumps({"architecture": "vit_small_patch16_224", "model_args": {}})
    )
    (tmp_path / "timm" / "model.safetensors").write_bytes((folders["vit"] / "model.safetensors").read_bytes())
    with pytest.raises(SettingError, match=r"num_heads = 6 \(.* in config\.json\) does not divide the width"):
        see(tmp_path / "timm", synthetic_picture(), 64)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "bert" / "model.safetensors").write_bytes((folders["vit"] / "model.safetensors").read_bytes())
    with pytest.raises(SettingError, match=r'bert holds no model of the DINO family\n.*\n  found: model_type "bert"'):
        see(tmp_path / "bert", synthetic_picture(), 64)
    config = {"model_type": "vit", "num_channels": 4}
    (tmp_path / "bert" / "config.json").write_text(json.dumps(config))
    with pytest.raises(SettingError, match="takes 4 channels, and pictures have three"):
        see(tmp_path / "bert", synthetic_picture(), 64)
