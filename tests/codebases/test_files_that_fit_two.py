"""Files of every relative, asked to be each other one of the catalogue: refused, alike, or told in the first line."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dinoport import api
from dinoport.codebases.catalogue import NAMINGS, RELATIVES, UNTOLD, naming_of
from dinoport.errors import DinoportError, SettingError
from dinoport.request import Request
from tests.codebases.relatives import BY_NAME, CASES, Case
from tests.error_text import error_text
from tests.models import CONVNEXT, RESNET, V2, V2_SWIGLU, V3, classifying

pytest.importorskip("torch")

MOVING = ("heads", "eps", "activation", "interpolation", "pixel mean", "pixel std", "resize", "crop", "filter")
"""Settings that move outputs or pixels."""

# fmt: off
BARE = (
    Case("bare", "vit", BY_NAME["unknown"].architecture, "ViTModel"),
    Case("bare-classifying", "vit", classifying(BY_NAME["unknown"].architecture, 5), "ViTModel", classifier="head"),
    Case("bare-small", "vit", replace(BY_NAME["unknown"].architecture, width=384, heads=6, mlp_hidden=16, depth=12,
                                      image_size=32), "ViTModel"),
    Case("bare-resnet", "resnet", RESNET, "ResNetModel"),
    Case("bare-dinov2", "dinov2", V2, "Dinov2Model"),
    Case("bare-dinov2-swiglu", "dinov2", V2_SWIGLU, "Dinov2Model"),
    Case("bare-dinov3", "dinov3", V3, "DINOv3ViTModel"),
    Case("bare-dinov3-convnext", "dinov3_convnext", CONVNEXT, "DINOv3ConvNextModel"),
)
# fmt: on
"""Files with the names of a family, and nothing that tells whose they are."""


def candidates(family: str) -> set[str]:
    """Whoever in the catalogue may have a file with the names of a family, or of a relative's of that family."""
    like = {name: own for own, names in RELATIVES.items() for name in names}
    owners = {own for own, names in RELATIVES.items() if family in (own, *names)} or {like.get(family, "dino")}
    return {name for own in owners for name in (own, *RELATIVES.get(own, ()))}


def settings_of(path: Path, request: Request, codebase: str | None) -> dict[str, str]:
    report = api.plan(path, request, codebase=codebase)
    return {each.name: each.value for each in report.settings if each.name in MOVING}


def others(path: Path, case: Case) -> Iterator[tuple[str, dict[str, str]]]:
    """Each candidate that takes the file, with what is otherwise by it."""
    own = settings_of(path, case.request, case.request.codebase)
    for name in sorted(candidates(case.family)):
        try:
            theirs = settings_of(path, case.request, name)
        except DinoportError:
            continue
        yield name, {each: theirs[each] for each in own if each in theirs and theirs[each] != own[each]}


def first_line(path: Path, case: Case, folder: Path) -> str:
    return str(api.convert(path, folder, case.request, level="exact").verdict).splitlines()[0]


FILES = (*BARE, *(case for case in CASES if case.request.codebase is None))


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
def test_a_file_that_another_takes_too_is_never_silently_one(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path)
    rivals = {name: differ for name, differ in others(path, case) if differ}
    said = first_line(path, case, tmp_path / "out")
    assert not rivals or "--codebase decides" in said, rivals


def test_the_catalogue_is_walked_in_full() -> None:
    families = {naming.family for naming in NAMINGS if naming.family in RELATIVES}
    walked = {name for family in families for name in candidates(family)}
    assert walked == families | {name for names in RELATIVES.values() for name in names}
    assert {case.family for case in FILES} >= walked - {"dino", "timm_vit", "timm_convnext"}
    assert all(map(naming_of, UNTOLD.values()))


def test_the_walk_finds_rivals(tmp_path: Path) -> None:
    """The check can fail: who takes a bare file, and what is otherwise by them."""
    found = {}
    for case in BARE:
        found[case.name] = {name: sorted(differ) for name, differ in others(case.write(tmp_path / case.name), case)}
    assert found["bare-dinov3"]["lingbot"] == ["resize"]
    assert found["bare-dinov3-convnext"] == {
        "dinov3_convnext": [],
        "eupe_convnext": ["resize"],
        "timm_convnext": ["crop", "filter", "resize"],
    }
    assert found["bare-small"]["moco_v3"] == ["filter", "heads", "interpolation"]
    assert "pixel mean" in found["bare-classifying"]["timm_vit"]
    alike = {"dinov2", "simdinov2", "xray_dino", "cell_dino"}
    assert found["bare-dinov2"].keys() == alike
    assert found["bare-dinov2-swiglu"].keys() == alike | {"franca", "webssl_dino"}


@pytest.mark.parametrize(
    ("codebase", "title", "architecture", "found"),
    [
        ("franca", "Franca ViT", V2, "feed-forward layers without a gate"),
        ("webssl_dino", "WebSSL-DINO ViT", replace(V2_SWIGLU, registers=4), "register_tokens"),
        ("timm_vit", "timm ViT", V2, "mask_token"),
    ],
)
def test_a_codebase_that_a_part_contradicts_is_refused(codebase, title, architecture, found, tmp_path: Path) -> None:
    path = Case("bare", "dinov2", architecture, "Dinov2Model").write(tmp_path)
    assert error_text(SettingError, lambda: api.plan(path, codebase=codebase)) == (
        f"`codebase={codebase}` does not fit {path}\n"
        f"  expected: what a {title} has\n"
        f"  found: {found}\n"
        "  likely cause: a model of another codebase under the same names\n"
        "  try: leave `codebase` out"
    )
