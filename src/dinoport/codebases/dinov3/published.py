"""What facebookresearch/dinov3 publishes: `dinov3/hub/backbones.py`. All of it is given out on request only."""

from dinoport.codebases.published import PublishedModel

BASE = "https://dl.fbaipublicfiles.com/dinov3"
LICENCE = "dinov3-license"

NOT_ON_THE_HUB = ("dinov3_vitl16plus",)
"""Part of a detector; upstream's README does not list it among the backbones either."""

NO_CLASS = "Transformers has no DINOv3 class that classifies images"


def _dinov3(name: str, parameters: int, file: str) -> PublishedModel:
    """`file` is `DATASET-HASH`, as the file's name ends."""
    entry = name.removesuffix("_sat493m")
    family = "dinov3_convnext" if "convnext" in name else "dinov3"
    url = f"{BASE}/{entry}/{entry}_pretrain_{file}.pth"
    dataset = file.partition("-")[0]
    hub = None if entry in NOT_ON_THE_HUB else f"facebook/{entry.replace('_', '-')}-pretrain-{dataset}"
    return PublishedModel(name, family, url, parameters, LICENCE, gated=True, no_head=NO_CLASS, hub=hub)


PUBLISHED = (
    _dinov3("dinov3_vits16", 21_601_152, "lvd1689m-08c60483"),
    _dinov3("dinov3_vits16plus", 28_697_472, "lvd1689m-4057cbaa"),
    _dinov3("dinov3_vitb16", 85_669_632, "lvd1689m-73cec8be"),
    _dinov3("dinov3_vitl16", 303_154_176, "lvd1689m-8aa4cbdd"),
    _dinov3("dinov3_vitl16_sat493m", 303_156_224, "sat493m-eadcf0ff"),
    _dinov3("dinov3_vitl16plus", 403_915_776, "lvd1689m-46503df0"),
    _dinov3("dinov3_vith16plus", 840_633_600, "lvd1689m-7c1da9a5"),
    _dinov3("dinov3_vit7b16", 6_716_043_264, "lvd1689m-a955f4ea"),
    _dinov3("dinov3_vit7b16_sat493m", 6_716_043_264, "sat493m-a6675841"),
    _dinov3("dinov3_convnext_tiny", 27_820_128, "lvd1689m-21b726bb"),
    _dinov3("dinov3_convnext_small", 49_454_688, "lvd1689m-296db49d"),
    _dinov3("dinov3_convnext_base", 87_566_464, "lvd1689m-801f2ba9"),
    _dinov3("dinov3_convnext_large", 196_230_336, "lvd1689m-61fa432d"),
)
