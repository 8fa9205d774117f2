"""--reference: the outputs proof against code in a folder, which runs only where it is asked for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dinoport import api
from dinoport.codebases.catalogue import NAMINGS
from dinoport.codebases.codebase import HubEntry
from dinoport.codebases.dino import vit
from dinoport.errors import CheckpointError, NotProvenError, SettingError, UsageError
from dinoport.mapping.decoding import Decoding
from dinoport.model import Model
from dinoport.networks.convnext.architecture import ConvNeXt
from dinoport.networks.network import Architecture
from dinoport.networks.preprocessing import EVALUATION
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.vit.architecture import ViT
from dinoport.proofs.genuine import check_reference, entry_of
from dinoport.proofs.verdict import Word
from dinoport.report.as_json import report_to_dict
from dinoport.report.text import report_lines
from dinoport.request import Checks
from tests.error_text import error_text
from tests.goldens import state_by_formula
from tests.models import RESNET, classifying, dinov2

HUBCONF = '''
"""A ViT as facebookresearch/dino's hubconf.py gives one, small."""
dependencies = ["torch"]
import torch
from torch import nn

EPS = 1e-6
RAN = []


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        q, k, v = self.attn.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.attn.proj((q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1) @ v)
        return x + self.mlp.fc2(nn.functional.gelu(self.mlp.fc1(self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, width, depth, patch, rows):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, rows, width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPS)

    def get_intermediate_layers(self, x, n):
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token, x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return [self.norm(x)]


def tiny(pretrained=True, **sizes):
    assert not pretrained
    RAN.append(sizes)
    return ViT(**sizes)
'''

KEYS = "dino1/formula/keys_narrow_e64_h1_p8.json"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ViT of width 64, and an entry that builds it in whatever folder is given."""
    state = {name: torch.from_numpy(array) for name, array in state_by_formula(KEYS).items()}
    torch.save(state, tmp_path / "checkpoint.pth")
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    sizes = {"width": 64, "depth": depth, "patch": 8, "rows": state["pos_embed"].shape[1]}
    monkeypatch.setattr(vit, "hub_entry", lambda architecture, size: HubEntry("owner/repo", "tiny", sizes))
    return tmp_path / "checkpoint.pth"


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "hubconf.py").write_text(HUBCONF, encoding="utf-8")
    return folder


def test_the_genuine_class_takes_a_start_for_training(source: Path, hub: Path, tmp_path: Path) -> None:
    state = torch.load(source, weights_only=True)
    head = {"head.last_layer.weight_v": torch.arange(8.0).reshape(2, 4)}
    torch.save({"teacher": {f"backbone.{name}": tensor for name, tensor in state.items()} | head}, source)
    report = api.convert(source, tmp_path / "start", to="training", reference=str(hub))
    assert "head.last_layer.weight_v" in torch.load(tmp_path / "start" / "checkpoint.pth", weights_only=True)["teacher"]
    assert report.proofs.genuine is not None
    assert report.proofs.genuine.passed
    assert report.verdict.word is Word.EQUAL


def test_the_genuine_code_agrees(source: Path, hub: Path, tmp_path: Path) -> None:
    report = api.convert(source, tmp_path / "folder", reference=str(hub))
    proof = report.proofs.genuine
    assert proof is not None
    assert proof.passed
    assert set(proof.differences) == {"tokens"}
    assert 0 <= proof.worst < 1e-12
    text = " ".join(" ".join(report_lines(report)).split())
    assert f"genuine passed: tiny of {hub}; code from there was run" in text
    proofs = report_to_dict(report)["proofs"]
    assert isinstance(proofs, dict)
    assert proofs["genuine"]["code"] == f"tiny of {hub}"
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith("| `proofs.genuine` |")]
    assert all(f"`{field}`" in row for field in proofs["genuine"])


def test_a_folder_is_verified_with_it_too(source: Path, hub: Path, tmp_path: Path) -> None:
    api.convert(source, tmp_path / "folder", level="exact")
    assert api.verify(source, tmp_path / "folder").proofs.genuine is None
    proof = api.verify(source, tmp_path / "folder", reference=str(hub)).proofs.genuine
    assert proof is not None
    assert proof.passed


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("EPS = 1e-6", "EPS = 1e-12"),
        ("nn.functional.gelu(", "nn.functional.relu("),
        ("chunk(3, dim=-1)", "chunk(3, dim=-1)[::-1]"),
    ],
)
def test_code_that_computes_otherwise_is_found_out(
    source: Path, hub: Path, tmp_path: Path, right: str, wrong: str
) -> None:
    (hub / "hubconf.py").write_text(HUBCONF.replace(right, wrong), encoding="utf-8")
    with pytest.raises(NotProvenError) as caught:
        api.convert(source, tmp_path / "folder", reference=str(hub))
    (failure,) = caught.value.report.verdict.failures
    assert failure.startswith(f"the genuine code, tiny of {hub}, says otherwise: outputs differ by ")
    assert not (tmp_path / "folder").exists()


def test_a_model_that_does_not_take_the_weights(source: Path, hub: Path, tmp_path: Path) -> None:
    text = HUBCONF.replace("self.norm = nn", "self.last = nn").replace("[self.norm(x)]", "[self.last(x)]")
    (hub / "hubconf.py").write_text(text, encoding="utf-8")
    with pytest.raises(NotProvenError) as caught:
        api.convert(source, tmp_path / "folder", reference=str(hub))
    assert caught.value.report.verdict.failures == (
        f"the genuine code, tiny of {hub}, says otherwise: "
        "it misses last.weight, last.bias and does not know norm.weight, norm.bias",
    )


def test_code_that_cannot_be_run(source: Path, hub: Path, tmp_path: Path) -> None:
    (hub / "hubconf.py").write_text("import no_such_package\n", encoding="utf-8")
    assert error_text(CheckpointError, lambda: api.convert(source, tmp_path / "folder", reference=str(hub))) == (
        "the code that `reference` names could not be run: "
        "ModuleNotFoundError: No module named 'no_such_package'\n"
        f"  where: tiny of {hub}\n"
        "  likely cause: a package that it needs is missing\n"
        "  try: install what it needs, or leave `reference` out"
    )
    assert not (tmp_path / "folder").exists()


def test_a_folder_without_code(source: Path, tmp_path: Path) -> None:
    assert error_text(SettingError, lambda: api.convert(source, tmp_path / "folder", reference=str(tmp_path))) == (
        f"`reference={tmp_path}` is not a folder with a hubconf.py\n"
        "  expected: hub, or a checkout of facebookresearch/dino, dinov2 or dinov3\n"
        "  try: clone the original's repository with git, and give its folder"
    )


def test_it_needs_the_full_proof(source: Path, hub: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    assert error_text(UsageError, lambda: api.convert(source, folder, level="exact", reference=str(hub))) == (
        "`reference` compares outputs, which `level='exact'` leaves out\n  try: leave `level` out, or `reference`"
    )


def test_it_does_not_go_with_the_way_back(source: Path, hub: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    assert error_text(UsageError, lambda: api.convert(source, folder, to="original", reference=str(hub))) == (
        "`reference` goes with a conversion to Transformers, not `to='original'`\n"
        f"  try: leave `reference` out; `dinoport.verify(SOURCE, FOLDER, reference={str(hub)!r})` "
        "compares the folder itself"
    )


def test_what_was_converted_back_is_verified_with_it(source: Path, hub: Path, tmp_path: Path) -> None:
    api.convert(source, tmp_path / "folder", level="none")
    api.convert(tmp_path / "folder", tmp_path / "back", to="original", level="none")
    report = api.verify(tmp_path / "folder", tmp_path / "back", reference=str(hub))
    assert report.verdict.word is Word.EQUAL
    assert report.proofs.genuine is not None
    assert report.proofs.genuine.passed
    (hub / "hubconf.py").write_text(HUBCONF.replace("EPS = 1e-6", "EPS = 1e-12"), encoding="utf-8")
    assert api.verify(tmp_path / "folder", tmp_path / "back", reference=str(hub)).verdict.failed


def test_hub_asks_torch_hub_for_the_repository(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def load(*arguments: object, **options: object) -> object:
        asked.append((arguments, options))
        raise RuntimeError("no network in tests")

    monkeypatch.setattr(torch.hub, "load", load)
    with pytest.raises(CheckpointError, match="RuntimeError: no network in tests"):
        api.convert(source, tmp_path / "folder", reference="hub")
    ((arguments, options),) = asked  # type: ignore[misc]  # exactly one call
    assert arguments == ("owner/repo", "tiny")
    assert options["pretrained"] is False
    assert options["trust_repo"] is True
    assert "source" not in options


VITS16 = ViT(384, 12, 6, 1536, 16, 224)
VITB14 = dinov2(width=768, depth=12, heads=12, mlp_hidden=3072, patch_size=14, image_size=518)
VITG14 = replace(VITB14, width=1536, depth=40, heads=24, mlp_hidden=4096, feed_forward="swiglu")
V3_S = RotaryViT(384, 12, 6, 1536, 16, registers=4, key_bias_mask=True)
V3_7B = RotaryViT(4096, 40, 32, 8192, 16, feed_forward="swiglu", registers=4, qkv_bias=False)
CONVNEXT = ConvNeXt((3, 3, 9, 3), (96, 192, 384, 768))


def entry(architecture: Architecture, image_size: int) -> HubEntry | None:
    """The entry of the codebase whose own model this is."""
    naming = next(naming for naming in NAMINGS if naming.recognises(architecture.tensors()))
    model = Model("", "", naming.code.FAMILY, architecture, Decoding({}), (), EVALUATION)
    return entry_of(model, image_size, Checks(reference="hub"))


@pytest.mark.parametrize(
    ("architecture", "image_size", "name", "arguments"),
    [
        (VITS16, 224, "dino_vits16", {}),
        (replace(VITS16, patch_size=8, image_size=480), 480, "dino_vits8", {"img_size": [480]}),
        (classifying(ViT(768, 12, 12, 3072, 8, 224), 10), 224, "dino_vitb8", {}),
        (RESNET, 224, "dino_resnet50", {}),
        (VITB14, 518, "dinov2_vitb14", {}),
        (replace(VITB14, registers=4, image_size=224), 224, "dinov2_vitb14_reg", {"img_size": 224}),
        (VITG14, 518, "dinov2_vitg14", {}),
        (V3_S, 224, "dinov3_vits16", {}),
        (replace(V3_S, feed_forward="swiglu"), 224, "dinov3_vits16plus", {}),
        (V3_7B, 224, "dinov3_vit7b16", {}),
        (CONVNEXT, 224, "dinov3_convnext_tiny", {}),
    ],
)
def test_the_entry_of_a_published_model(
    architecture: Architecture, image_size: int, name: str, arguments: dict[str, object]
) -> None:
    found = entry(architecture, image_size)
    assert found is not None
    assert (found.name, dict(found.arguments)) == (name, arguments)
    assert found.repo == f"facebookresearch/{name.partition('_')[0]}"


@pytest.mark.parametrize(
    "architecture",
    [
        replace(VITS16, layer_norm_eps=1e-12),
        replace(VITS16, heads=12),
        replace(VITS16, depth=4),
        replace(VITB14, feed_forward="swiglu"),
        replace(VITB14, layer_scale=False),
        replace(V3_S, layer_norm_eps=1e-6),
        replace(V3_S, registers=0),
        replace(V3_S, live_key_bias=True),
        replace(CONVNEXT, depths=(3, 3, 3, 3)),
    ],
)
def test_a_model_that_no_entry_builds(architecture: Architecture) -> None:
    assert error_text(SettingError, lambda: entry(architecture, 224)).startswith(
        "`reference`: no entry of torch.hub builds this model\n"
        "  expected: the sizes and settings of a published model\n"
    )


def test_offline_no_code_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert error_text(SettingError, lambda: check_reference("hub", "full")) == (
        "`reference='hub'` fetches the originals' code, and HF_HUB_OFFLINE is set\n"
        "  try: unset HF_HUB_OFFLINE, or give the folder of a checkout: `reference=FOLDER`"
    )
