"""What timm's builders compute besides their tensors, told by their names alone."""

import pytest

from dinoport.codebases.timm.architectures import SERIES, series_of
from dinoport.codebases.timm.config import timm_config
from dinoport.errors import UnknownModelError
from tests.error_text import error_text

# fmt: off
BUILT = (
    ("vit_tiny_patch16_224",              3, 1e-6),
    ("vit_base_patch16_224_miil",        12, 1e-6),
    ("vit_giant_patch14_224",            16, 1e-6),
    ("vit_gigantic_patch14_224",         16, 1e-6),
    ("vit_base_patch32_plus_256",        14, 1e-6),
    ("vit_small_patch16_36x1_224",        6, 1e-6),
    ("vit_base_patch16_gap_224",         16, 1e-6),
    ("vit_giant_patch14_dinov2",         24, 1e-6),
    ("vit_giant_patch14_reg4_dinov2",    24, 1e-6),
    ("vit_giant_patch14_reg1_tipsv2",    24, 1e-6),
    ("vit_so400m_patch14_reg1_tipsv2",   16, 1e-6),
    ("vit_small_plus_patch16_dinov3",     6, 1e-5),
    ("vit_huge_plus_patch16_dinov3_qkvb", 20, 1e-5),
    ("vit_7b_patch16_dinov3",            32, 1e-5),
    ("vit_giant_patch16_lingbot",        24, 1e-5),
    ("test_vit",                          2, 1e-6),
    ("deit_base_distilled_patch16_384",  12, 1e-6),
    ("deit3_medium_patch16_224",          8, 1e-6),
    ("eva_large_patch14_196",            16, 1e-6),
)
# fmt: on


@pytest.mark.parametrize(("name", "heads", "eps"), BUILT)
def test_heads_and_eps_are_the_builders(name: str, heads: int, eps: float) -> None:
    found = timm_config("a folder", {"architecture": name})
    assert found is not None
    assert (found.num_heads, found.layer_norm_eps) == (heads, eps)
    assert not found.warnings


def test_every_series_is_tried() -> None:
    tried = [found[0] for name, _, _ in BUILT if (found := series_of(name))]
    assert all(series in tried for series in SERIES)


def test_the_eps_of_a_single_builder() -> None:
    found = timm_config("a folder", {"architecture": "convnext_xxlarge"})
    assert found is not None
    assert found.layer_norm_eps == 1e-5


def test_nothing_is_known_of_a_strange_name() -> None:
    found = timm_config("a folder", {"architecture": "vit_base_patch16_of_2030"})
    assert found is not None
    assert (found.num_heads, found.layer_norm_eps) == (None, None)
    assert found.warnings == (
        "timm's 'vit_base_patch16_of_2030' is not known here: it may compute what no tensor shows",
    )


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("vit_so400m_patch14_siglip_gap_224", "a SigLIP or SigLIP2"),
        ("vit_base_patch16_clip_quickgelu_224", "a CLIP"),
        ("resnetblur50", "a ResNet with pooling of its own (resnetaa50, resnetblur50)"),
        ("vit_small_patch16_rope_ape_224", "a RoPE-ViT, or another ViT of timm with rotary positions"),
    ],
)
def test_a_builder_that_computes_what_no_tensor_shows_is_refused_by_its_name(name: str, title: str) -> None:
    assert error_text(UnknownModelError, lambda: timm_config("a folder", {"architecture": name})).splitlines()[:4] == [
        f"a folder is {title}, and no model of the DINO family",
        "  where: config.json: architecture",
        "  expected: a model that dinoport reads (dinoport models, docs/families)",
        f"  found: {name!r}",
    ]
