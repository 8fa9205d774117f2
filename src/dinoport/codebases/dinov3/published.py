"""What facebookresearch/dinov3 publishes: `dinov3/hub/backbones.py`. All of it is given out on request only."""

from dinoport.codebases.published import PublishedModel

BASE = "https://dl.fbaipublicfiles.com/dinov3"
LICENCE = "dinov3-license"

NOT_ON_THE_HUB = ("dinov3_vitl16plus",)
"""Part of a detector; upstream's README does not list it among the backbones either."""

NO_CLASS = "Transformers has no DINOv3 class that classifies images"


def _dinov3(name: str, family: str, parameters: int, file: str) -> PublishedModel:
    """`file` is `DATASET-HASH`, as the file's name ends."""
    entry = name.removesuffix("_sat493m")
    url = f"{BASE}/{entry}/{entry}_pretrain_{file}.pth"
    dataset = file.partition("-")[0]
    hub = None if entry in NOT_ON_THE_HUB else f"facebook/{entry.replace('_', '-')}-pretrain-{dataset}"
    return PublishedModel(name, family, url, parameters, LICENCE, gated=True, no_head=NO_CLASS, hub=hub)


def _vit(name: str, parameters: int, file: str) -> PublishedModel:
    return _dinov3(name, "dinov3", parameters, file)


def _convnext(size: str, parameters: int, suffix: str) -> PublishedModel:
    return _dinov3(f"dinov3_convnext_{size}", "dinov3_convnext", parameters, f"lvd1689m-{suffix}")


PUBLISHED = (
    _vit("dinov3_vits16", 21_601_152, "lvd1689m-08c60483"),
    _vit("dinov3_vits16plus", 28_697_472, "lvd1689m-4057cbaa"),
    _vit("dinov3_vitb16", 85_669_632, "lvd1689m-73cec8be"),
    _vit("dinov3_vitl16", 303_154_176, "lvd1689m-8aa4cbdd"),
    _vit("dinov3_vitl16_sat493m", 303_156_224, "sat493m-eadcf0ff"),
    _vit("dinov3_vitl16plus", 403_915_776, "lvd1689m-46503df0"),
    _vit("dinov3_vith16plus", 840_633_600, "lvd1689m-7c1da9a5"),
    _vit("dinov3_vit7b16", 6_716_043_264, "lvd1689m-a955f4ea"),
    _vit("dinov3_vit7b16_sat493m", 6_716_043_264, "sat493m-a6675841"),
    _convnext("tiny", 27_820_128, "21b726bb"),
    _convnext("small", 49_454_688, "296db49d"),
    _convnext("base", 87_566_464, "801f2ba9"),
    _convnext("large", 196_230_336, "61fa432d"),
)
