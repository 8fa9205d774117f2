"""What the authors of relatives publish, by the READMEs of their repositories. Names are ours where files have none."""

from dinoport.codebases.published import PublishedModel

META = "https://dl.fbaipublicfiles.com"
FRANCA = "https://github.com/valeoai/Franca/releases/download/v1.0.0"
TIPS = "https://storage.googleapis.com/tips_data"

NON_COMMERCIAL = "cc-by-nc-4.0"


def _mae(size: str, encoder: int, tuned: int, whole: int) -> tuple[PublishedModel, ...]:
    name, mae, hub = f"mae_vit_{size}", f"{META}/mae", f"facebook/vit-mae-{size}"
    encoders = f"{mae}/pretrain/mae_pretrain_vit_{size}.pth"
    return (
        PublishedModel(name, "mae", encoders, encoder, NON_COMMERCIAL),
        PublishedModel(
            f"{name}_finetuned", "mae", f"{mae}/finetune/mae_finetuned_vit_{size}.pth", tuned, NON_COMMERCIAL
        ),
        PublishedModel(
            f"{name}_whole", "mae", f"{mae}/visualize/mae_visualize_vit_{size}.pth", whole, NON_COMMERCIAL, hub=hub
        ),
    )


def _deit(name: str, digits: str, parameters: int) -> PublishedModel:
    return PublishedModel(name, "deit", f"{META}/deit/{name}-{digits}.pth", parameters, "apache-2.0")


def _deit3(size: str, pixels: int, parameters: int) -> tuple[PublishedModel, ...]:
    """Trained on ImageNet-1k alone, and on ImageNet-21k first."""
    name, version = f"deit_3_{size}_{pixels}", "_v1" if size == "huge" else ""
    return tuple(
        PublishedModel(f"{name}_{data}", "deit3", f"{META}/deit/{name}_{data}{end}.pth", parameters, "apache-2.0")
        for data, end in (("1k", ""), ("21k", version))
    )


def _run(name: str, family: str, file: str, parameters: int) -> PublishedModel:
    """A file of a training run, which holds more than the model."""
    return PublishedModel(name, family, f"{META}/{file}.pth.tar", parameters, NON_COMMERCIAL, holds_more=True)


def _webssl(name: str, parameters: int) -> PublishedModel:
    family = "mae" if name.startswith("mae") else "webssl_dino"
    return PublishedModel(f"webssl_{name}", family, f"{META}/webssl/webssl_{name}.pth", parameters, NON_COMMERCIAL)


def _franca(name: str, parameters: int) -> PublishedModel:
    return PublishedModel(
        f"franca_{name}", "franca", f"{FRANCA}/franca_{name}.pth", parameters, "franca", holds_more=True
    )


def _tips(size: str, parameters: int) -> PublishedModel:
    file = f"{TIPS}/v2_0/checkpoints/pytorch/tips_v2_oss_{size}_vision.npz"
    return PublishedModel(f"tips_v2_{size}", "tips", file, parameters, "cc-by-4.0")


def _tips_v1(size: str, file: str, parameters: int) -> PublishedModel:
    """The table of `g14_lowres` is for 224 pixels, all others are for 448."""
    address = f"{TIPS}/v1_0/checkpoints/pytorch/tips_oss_{file}_vision.npz"
    return PublishedModel(f"tips_v1_{size}", "tips", address, parameters, "cc-by-4.0")


# fmt: off
PUBLISHED = (
    *_mae("base",  85_798_656,  86_567_656,  111_907_840),
    *_mae("large", 303_301_632, 304_326_632, 329_541_888),
    *_mae("huge",  630_764_800, 632_045_800, 657_074_508),
    _deit("deit_tiny_patch16_224",            "a1311bcf", 5_717_416),
    _deit("deit_small_patch16_224",           "cd65a155", 22_050_664),
    _deit("deit_base_patch16_224",            "b5f2ef4d", 86_567_656),
    _deit("deit_base_patch16_384",            "8de9b5d1", 86_859_496),
    _deit("deit_tiny_distilled_patch16_224",  "b40b3cf7", 5_910_800),
    _deit("deit_small_distilled_patch16_224", "649709d9", 22_436_432),
    _deit("deit_base_distilled_patch16_224",  "df68dfff", 87_338_192),
    _deit("deit_base_distilled_patch16_384",  "d0272ac0", 87_630_032),
    *_deit3("small",  224, 22_059_496),
    *_deit3("small",  384, 22_205_416),
    *_deit3("medium", 224, 38_849_512),
    *_deit3("base",   224, 86_585_320),
    *_deit3("base",   384, 86_877_160),
    *_deit3("large",  224, 304_374_760),
    *_deit3("large",  384, 304_763_880),
    *_deit3("huge",   224, 632_126_440),
    _run("msn_vits16", "msn", "msn/vits16_800ep", 21_665_664),
    _run("msn_vitb16", "msn", "msn/vitb16_600ep", 85_798_656),
    _run("msn_vitl16", "msn", "msn/vitl16_600ep", 303_301_632),
    _run("msn_vitb4",  "msn", "msn/vitb4_300ep",  87_503_616),
    _run("msn_vitl7",  "msn", "msn/vitl7_200ep",  303_513_600),
    _run("moco_v3_vits16",        "moco_v3", "moco-v3/vit-s-300ep/vit-s-300ep",        21_665_664),
    _run("moco_v3_vitb16",        "moco_v3", "moco-v3/vit-b-300ep/vit-b-300ep",        85_798_656),
    _run("moco_v3_vits16_linear", "moco_v3", "moco-v3/vit-s-300ep/linear-vit-s-300ep", 22_050_664),
    _run("moco_v3_vitb16_linear", "moco_v3", "moco-v3/vit-b-300ep/linear-vit-b-300ep", 86_567_656),
    _run("ijepa_vith14_1k",     "ijepa", "ijepa/IN1K-vit.h.14-300e",       630_762_240),
    _run("ijepa_vith16_448_1k", "ijepa", "ijepa/IN1K-vit.h.16-448px-300e", 631_668_480),
    _run("ijepa_vith14_22k",    "ijepa", "ijepa/IN22K-vit.h.14-900e",      630_762_240),
    _run("ijepa_vitg16_22k",    "ijepa", "ijepa/IN22K-vit.g.16-600e",      1_011_368_576),
    _franca("vitb14_In21K",     86_592_768),
    _franca("vitl14_In21K",     303_655_168),
    _franca("vitl14_Laion600M", 303_655_168),
    _webssl("dino300m_full2b_224", 303_655_168),
    _webssl("dino1b_full2b_224",   1_134_771_200),
    *(_webssl(f"dino2b_{data}2b_224", 2_084_237_568) for data in ("full", "light", "heavy")),
    *(_webssl(f"dino3b_{data}2b_224", 2_948_317_184) for data in ("full", "light", "heavy")),
    _webssl("dino5b_full2b_224",   4_938_338_816),
    _webssl("dino7b_full8b_224",   6_450_170_880),
    _webssl("dino7b_full8b_378",   6_452_108_288),
    _webssl("dino7b_full8b_518",   6_454_729_728),
    _webssl("mae300m_full2b_224",  303_301_632),
    _webssl("mae700m_full2b_224",  630_764_800),
    _webssl("mae1b_full2b_224",    1_134_564_864),
    _webssl("mae2b_full2b_224",    2_084_019_840),
    _webssl("mae3b_full2b_224",    2_948_047_872),
    _tips_v1("s14",        "s14_highres_distilled",                 21_924_480),
    _tips_v1("b14",        "b14_highres_distilled",                 86_316_288),
    _tips_v1("l14",        "l14_highres_distilled",                 304_016_384),
    _tips_v1("so14",       "so400m14_highres_largetext_distilled",  413_393_904),
    _tips_v1("g14",        "g14_highres",                           1_135_952_384),
    _tips_v1("g14_lowres", "g14_lowres",                            1_134_772_736),
    _tips("b14",  86_316_288),
    _tips("l14",  304_016_384),
    _tips("so14", 413_393_904),
    _tips("g14",  1_135_952_384),
)
# fmt: on
"""Without iBOT's, which are all called alike, and those that lie on the Hub alone: `hf://owner/name` is their name."""
