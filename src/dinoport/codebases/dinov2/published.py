"""What facebookresearch/dinov2 publishes: `hubconf.py` and `dinov2/hub/`."""

from dinoport.codebases.published import PublishedModel

BASE = "https://dl.fbaipublicfiles.com/dinov2"
LICENCE = "apache-2.0"

# Backbone, what the Hub calls its size, parameters without and with four registers.
SIZES = (
    ("dinov2_vits14", "small", 22_056_576, 22_058_112),
    ("dinov2_vitb14", "base", 86_580_480, 86_583_552),
    ("dinov2_vitl14", "large", 304_368_640, 304_372_736),
    ("dinov2_vitg14", "giant", 1_136_480_768, 1_136_486_912),
)


def _backbone(name: str, file: str, hub: str, parameters: int) -> PublishedModel:
    stem = f"{BASE}/{name.removesuffix('_reg')}/{file}"
    head_url = f"{stem}_linear_head.pth"  # over one block; `…_linear4_head.pth` has no class
    return PublishedModel(name, "dinov2", f"{stem}_pretrain.pth", parameters, LICENCE, head_url=head_url, hub=hub)


PUBLISHED = (
    *(_backbone(name, name, f"facebook/dinov2-{size}", plain) for name, size, plain, _ in SIZES),
    *(
        _backbone(f"{name}_reg", f"{name}_reg4", f"facebook/dinov2-with-registers-{size}", registers)
        for name, size, _, registers in SIZES
    ),
)
