"""`--head imagenet` for DINOv2 from end to end, and what has no classifier to add."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dinoport import api
from dinoport.errors import SettingError, UnknownModelError
from dinoport.files.remote.caches import torch_hub_checkpoints
from dinoport.request import Request
from tests import formula
from tests.goldens import outputs, state_by_formula
from tests.http_server import Site
from tests.published_site import published_at_home

WIDTH, CLASSES = 32, 1000
WRAPPER = state_by_formula("dinov2/lc/keys.json")
"""The genuine `dinov2_vits14_lc` around a narrow ViT: a backbone, and the one-layer head of its hub."""


def torch_bytes(tree: object) -> bytes:
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


def under(prefix: str) -> dict[str, torch.Tensor]:
    names = [name for name in WRAPPER if name.startswith(prefix)]
    return {name.removeprefix(prefix): torch.from_numpy(WRAPPER[name]) for name in names}


BACKBONE, HEAD = torch_bytes(under("backbone.")), torch_bytes(under("linear_head."))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    with published_at_home(monkeypatch, tmp_path / "torch", BACKBONE, HEAD) as running:
        yield running


def test_the_head_of_dinov2(site: Site, tmp_path: Path) -> None:
    request = Request(num_heads=2, head="imagenet", labels="imagenet-1k")
    report = api.convert("dinov2_vits14", tmp_path / "folder", request)
    assert [path for path, _ in site.requests] == [
        "/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
        "/dinov2/dinov2_vits14/dinov2_vits14_linear_head.pth",
    ]
    assert report.class_name == "Dinov2ForImageClassification"
    assert not report.verdict.failed
    assert report.proofs.outputs is not None
    config = json.loads((tmp_path / "folder" / "config.json").read_text(encoding="utf-8"))
    assert (len(config["id2label"]), config["id2label"]["0"]) == (CLASSES, "tench, Tinca tinca")
    kept = site.url("dinov2/dinov2_vits14/dinov2_vits14_linear_head.pth")
    assert f"the classifier is {kept}, kept in {torch_hub_checkpoints()}" in report.remarks


def test_its_logits_are_those_of_the_genuine_code(site: Site, tmp_path: Path) -> None:
    from transformers import Dinov2ForImageClassification

    folder = tmp_path / "folder"
    api.convert("dinov2_vits14", folder, Request(num_heads=2, head="imagenet"), level="exact")
    model = Dinov2ForImageClassification.from_pretrained(folder, dtype=torch.float64).eval()
    picture = torch.from_numpy(formula.pixel_values(98, 98)).double()
    with torch.no_grad():
        logits = model(picture).logits.numpy()
    golden = outputs("dinov2/lc/golden_narrow_lc_layers1.npz")["98x98/logits_f64ref"].reshape(2, CLASSES)
    np.testing.assert_allclose(logits, golden, rtol=2.0**-24, atol=1e-9)  # the golden is rounded to float32


def test_what_torch_hub_has_cached_is_used(site: Site, tmp_path: Path) -> None:
    cache = torch_hub_checkpoints()
    cache.mkdir(parents=True)
    (cache / "dinov2_vits14_pretrain.pth").write_bytes(BACKBONE)
    (cache / "dinov2_vits14_linear_head.pth").write_bytes(HEAD)
    report = api.convert("dinov2_vits14", tmp_path / "folder", Request(num_heads=2, head="imagenet"), level="exact")
    assert report.class_name == "Dinov2ForImageClassification"
    assert site.requests == []
    assert [remark for remark in report.remarks if remark.endswith("where nothing vouches for it")] == [
        f"{name} is {site.url(f'dinov2/dinov2_vits14/dinov2_vits14_{file}.pth')}, "
        f"taken from torch.hub's cache, {cache}, where nothing vouches for it"
        for name, file in (("dinov2_vits14", "pretrain"), ("the classifier", "linear_head"))
    ]


def test_the_head_of_four_layers(site: Site, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    head = tmp_path / "dinov2_vits14_linear4_head.pth"
    weight, bias = (rng.standard_normal(shape, np.float32) for shape in ((CLASSES, 5 * WIDTH), (CLASSES,)))
    head.write_bytes(torch_bytes({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)}))
    with pytest.raises(UnknownModelError) as caught:
        api.convert("dinov2_vits14", tmp_path / "folder", Request(num_heads=2, head=str(head)), level="exact")
    assert str(caught.value) == (
        "this linear head cannot be converted: no class of Transformers or timm computes its features\n"
        "  where: linear_head.weight\n"
        "  expected: 64 columns: CLS token, then patch mean (layers=1 of facebookresearch/dinov2)\n"
        "  found: shape (1000, 160): CLS tokens of the last four blocks and a patch mean\n"
        "  likely cause: the four-layer variant of the published heads (_linear4_head.pth), "
        "or a head of another model\n"
        "  try: give the one-layer head (_linear_head.pth), or leave `head` out"
    )
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dinov3_vits16", "Transformers has no DINOv3 class that classifies images"),
        ("dinov3_convnext_tiny", "Transformers has no DINOv3 class that classifies images"),
        (
            "dino_vits8",
            "the published classifier of a ViT-S takes the CLS tokens of the last four blocks, "
            "which no class of Transformers or timm computes",
        ),
    ],
)
def test_what_has_no_classifier_is_refused_before_it_is_downloaded(
    site: Site, tmp_path: Path, name: str, reason: str
) -> None:
    for ask in (lambda request: api.convert(name, tmp_path / "out", request), lambda request: api.plan(name, request)):
        with pytest.raises(SettingError) as caught:
            ask(Request(head="imagenet"))
        assert str(caught.value) == (
            f"there is no ImageNet classifier for {name} that can be converted\n"
            f"  likely cause: {reason}\n"
            "  try: leave `head` out"
        )
    assert site.requests == []
