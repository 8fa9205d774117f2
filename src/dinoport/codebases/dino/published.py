"""What facebookresearch/dino publishes: `hubconf.py` for the backbones, its README for the linear classifiers."""

from dinoport.codebases.published import PublishedModel

BASE = "https://dl.fbaipublicfiles.com/dino"
LICENCE = "apache-2.0"

FOUR_BLOCKS = (
    "the published classifier of a ViT-S takes the CLS tokens of the last four blocks, which no class of Transformers "
    "or timm computes"
)

NO_XCIT = "Transformers has no class for XCiT; timm has one (xcit_small_12_p16_224.fb_dino and others)"


RESNET = f"{BASE}/dino_resnet50_pretrain/dino_resnet50"

RUNNING_STATISTICS = 53_120
"""Of 53 batch norms of the ResNet-50: numbers in its file that are not parameters."""


def _vit(name: str, folder: str, parameters: int, *, classifier: bool) -> PublishedModel:
    stem = f"{BASE}/{folder}_pretrain/{folder}"
    head_url = f"{stem}_linearweights.pth" if classifier else None
    hub = f"facebook/{name.replace('_', '-')}"
    url = f"{stem}_pretrain.pth"
    return PublishedModel(name, "dino", url, parameters, LICENCE, head_url=head_url, no_head=FOUR_BLOCKS, hub=hub)


def _xcit(name: str, parameters: int) -> PublishedModel:
    url = f"{BASE}/{name}_pretrain/{name}_pretrain.pth"
    return PublishedModel(name, "xcit", url, parameters, LICENCE, refusal=NO_XCIT)


PUBLISHED = (
    _vit("dino_vits16", "dino_deitsmall16", 21_665_664, classifier=False),
    _vit("dino_vits8", "dino_deitsmall8", 21_670_272, classifier=False),
    _vit("dino_vitb16", "dino_vitbase16", 85_798_656, classifier=True),
    _vit("dino_vitb8", "dino_vitbase8", 85_807_872, classifier=True),
    _xcit("dino_xcit_small_12_p16", 25_868_304),
    _xcit("dino_xcit_small_12_p8", 25_828_032),
    _xcit("dino_xcit_medium_24_p16", 83_882_752),
    _xcit("dino_xcit_medium_24_p8", 83_810_624),
    PublishedModel(
        "dino_resnet50",
        "dino_resnet",
        f"{RESNET}_pretrain.pth",
        23_508_032 + RUNNING_STATISTICS,
        LICENCE,
        head_url=f"{RESNET}_linearweights.pth",
    ),
)
