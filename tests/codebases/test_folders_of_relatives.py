"""Relatives as folders of Transformers that others saved: read by their config, named honestly, or refused by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dinoport import api
from dinoport.errors import SettingError, UnknownModelError
from dinoport.request import Request
from tests.codebases.relatives import BY_NAME, WHOLE
from tests.networks.attention import trained

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 64,
    "patch_size": 16,
    "layer_norm_eps": 1e-6,
}
DECODER = {
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 48,
}
HALF = [0.5, 0.5, 0.5]
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 64, "width": 64},
    "resample": 2,
    "image_mean": HALF,
    "image_std": HALF,
}


def saved(folder: Path, name: str, **sizes: Any) -> Path:
    """A folder as Transformers itself saves it, with noise in every tensor."""
    cls = getattr(transformers, name)
    torch.manual_seed(0)
    model = cls(cls.config_class(**{**SIZES, **sizes}))
    with torch.no_grad():
        for values in model.parameters():
            values.normal_(std=0.1)
    model.save_pretrained(folder)
    return folder


def settings_of(folder: Path, **asked: Any) -> tuple[dict[str, tuple[str, str]], str]:
    report = api.plan(folder, **asked)
    return {each.name: (each.value, each.reason) for each in report.settings}, report.ends[0]


def test_a_vit_of_somebody_is_no_dino_by_default(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "ViTForImageClassification")
    report = api.convert(folder, tmp_path / "back", to="original", level="exact")
    assert report.ends[1] == "ViT (codebase not known)"
    assert "codebase = not known (DINO's values are taken; different elsewhere: " in str(report.verdict)
    found, _ = settings_of(folder, to="original", codebase="deit")
    assert found["codebase"] == ("DeiT ViT", "--codebase")


def test_its_own_processor_is_taken_where_pixels_matter(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "ViTForImageClassification")
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    found, _ = settings_of(folder, to="timm")
    beside = "preprocessor_config.json"
    assert found["pixel mean"] == ("0.5, 0.5, 0.5", beside)
    assert found["resize"] == ("64×64", beside)
    assert found["filter"] == ("bilinear, antialiased", beside)
    cropping = {"do_center_crop": True, "size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, **cropping}))
    found, _ = settings_of(folder, to="timm")
    assert (found["resize"], found["crop"]) == (("shorter side to 72", beside), ("centre 64×64", beside))


def test_a_whole_mae_is_read_by_its_config_and_returns(tmp_path: Path) -> None:
    """Transformers 5 saves the decoder under names of its own, 4.57 under those that are written here.

    The report beside the original's file has what no tensor shows: both numbers of heads, and an unusual eps.
    """
    folder = saved(tmp_path / "mae", "ViTMAEForPreTraining", **{**DECODER, "layer_norm_eps": 0.5})
    back = api.convert(folder, tmp_path / "back", to="original", level="exact")
    assert back.ends == ("ViTMAEForPreTraining", "MAE ViT (facebookresearch/mae)")
    asked = Request(class_name="ViTMAEForPreTraining")
    again = api.convert(tmp_path / "back" / "checkpoint.pth", tmp_path / "again", asked)
    assert not again.verdict.failed
    ours = json.loads((tmp_path / "again" / "config.json").read_text())
    theirs = json.loads((folder / "config.json").read_text())
    assert {name: ours[name] for name in (*SIZES, *DECODER)} == {name: theirs[name] for name in (*SIZES, *DECODER)}
    pixels, noise = torch.randn(1, 3, 64, 64), torch.rand(1, 16)
    outputs = [
        transformers.ViTMAEForPreTraining.from_pretrained(each).eval()(pixels, noise=noise).logits
        for each in (folder, tmp_path / "again")
    ]
    assert torch.equal(*outputs)
    Image.new("RGB", (64, 64), (90, 120, 30)).save(tmp_path / "picture.png")
    with pytest.raises(SettingError, match="hides patches of each picture from itself, at random"):
        api.visualize(folder, tmp_path / "picture.png", tmp_path / "drawn", size=64)


def test_a_word_may_be_given_where_a_folder_of_ours_knew_none(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "ViTForImageClassification")
    api.convert(folder, tmp_path / "back", to="original", level="exact")
    api.convert(tmp_path / "back" / "checkpoint.pth", tmp_path / "ours", level="exact", num_heads=4)
    found, _ = settings_of(tmp_path / "ours", to="original", codebase="deit")
    assert found["codebase"] == ("DeiT ViT", "--codebase")


def test_features_of_a_whole_mae_leave_its_decoder(tmp_path: Path) -> None:
    folder = saved(tmp_path / "mae", "ViTMAEForPreTraining", **DECODER)
    report = api.convert(folder, tmp_path / "out", class_name="ViTModel")
    assert (report.class_name, report.verdict.failed) == ("ViTModel", False)
    assert {line.reason for line in report.accounting.dropped} >= {"no part of the features"}
    half = api.convert(folder, tmp_path / "half", dtype="float16")
    assert half.class_name == "ViTMAEForPreTraining"
    with pytest.raises(SettingError) as raised:
        api.plan(folder, image_size=96)
    assert str(raised.value) == (
        "ViTMAEForPreTraining takes pictures of 64 pixels alone, as the original does\n"
        "  found: `image_size=96`\n"
        "  likely cause: the decoder's table of positions is fixed, and no code of MAE's resamples it\n"
        "  try: leave `image_size` out, or `class_name`: the encoder alone can be resampled"
    )


def test_a_decoder_whose_heads_nobody_says(tmp_path: Path) -> None:
    path = BY_NAME["mae-whole"].write(tmp_path)
    for asked, found in (
        ({}, "a decoder of width 32 and depth 1; the weights cannot tell"),
        ({"decoder_heads": 3}, "3 (--decoder-heads)"),
    ):
        with pytest.raises(SettingError) as raised:
            api.plan(path, class_name="ViTMAEForPreTraining", **asked)
        assert str(raised.value) == (
            f"the number of heads of the decoder of {path} is not known\n"
            "  expected: a divisor of its width, 32\n"
            f"  found: {found}\n"
            "  likely cause: no tensor's shape shows the head count, and a wrong one loads without an error\n"
            "  try: add `decoder_heads=N`, with decoder_num_heads from the code that trained the model"
        )


def test_a_decoder_of_the_published_size_has_the_published_heads(tmp_path: Path) -> None:
    """All three MAEs have one decoder; the first line names what was taken."""
    decoder = replace(WHOLE.decoder, width=512, depth=8, mlp_hidden=16)
    case = replace(BY_NAME["mae-whole"], architecture=replace(WHOLE, decoder=decoder), request=Request())
    report = api.convert(case.write(tmp_path), tmp_path / "out", class_name="ViTMAEForPreTraining", level="exact")
    said = "decoder heads = 16 (as in all MAE decoders of width 512 and depth 8)"
    assert said in str(report.verdict)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["decoder_num_attention_heads"] == 16


def test_a_decoder_s_heads_are_read_where_its_weights_show_them(tmp_path: Path) -> None:
    decoder = replace(WHOLE.decoder, width=192, depth=2, mlp_hidden=16)
    case = replace(BY_NAME["mae-whole"], architecture=replace(WHOLE, decoder=decoder), request=Request())
    path = case.write(tmp_path)
    checkpoint = torch.load(path, weights_only=True)
    for index, (values, projection) in enumerate(trained(192, 6, decoder.depth)):
        layer = f"decoder_blocks.{index}.attn"
        checkpoint["model"][f"{layer}.qkv.weight"][384:] = torch.from_numpy(values)
        checkpoint["model"][f"{layer}.proj.weight"][:] = torch.from_numpy(projection)
    torch.save(checkpoint, path)
    report = api.plan(path, class_name="ViTMAEForPreTraining")
    found = {each.name: (each.value, each.origin) for each in report.settings}
    assert found["decoder heads"] == ("6", "read")


def test_the_default_names_the_class_that_holds_the_rest(tmp_path: Path) -> None:
    case = BY_NAME["mae"]
    report = api.plan(case.write(tmp_path))
    assert report.class_name == "ViTModel"
    said = "ViTMAEForPreTraining would hold the decoder too, and hides patches at random (--class)"
    assert said in report.remarks
    assert said not in api.plan(BY_NAME["mae-bare"].write(tmp_path / "bare")).remarks


def test_msn_has_a_class_of_its_own(tmp_path: Path) -> None:
    folder = saved(tmp_path / "msn", "ViTMSNModel")
    found, title = settings_of(folder, to="original")
    assert (title, found["heads"][0]) == ("ViTMSNModel", "4")
    report = api.convert(folder, tmp_path / "out", class_name="ViTModel")
    assert (report.class_name, report.verdict.failed) == ("ViTModel", False)
    with pytest.raises(SettingError, match="ViTMSNModel does not compute this model, a ViT"):
        api.plan(BY_NAME["unknown"].write(tmp_path / "unknown"), class_name="ViTMSNModel")


def test_a_tips_that_transformers_saved(tmp_path: Path) -> None:
    if not hasattr(transformers, "Tipsv2VisionModel"):
        pytest.skip("a class of Transformers 5")
    sizes = {"patch_size": 14, "image_size": 56, "intermediate_size": None, "num_register_tokens": 1}
    cls = transformers.Tipsv2VisionModel
    model = cls(cls.config_class(**{k: v for k, v in {**SIZES, **sizes}.items() if v is not None}))
    model.save_pretrained(tmp_path / "tips")
    report = api.convert(tmp_path / "tips", tmp_path / "out", class_name="Dinov2WithRegistersModel", level="exact")
    assert not report.verdict.failed
    assert report.ends[0] == "Tipsv2VisionModel"


@pytest.mark.parametrize(
    ("name", "sizes", "title"),
    [
        ("BeitForImageClassification", {"use_relative_position_bias": True}, "a BEiT or data2vec-vision"),
        ("Data2VecVisionModel", {"use_relative_position_bias": True}, "a data2vec-vision"),
        ("CLIPVisionModel", {}, "a CLIP"),
        ("SiglipVisionModel", {}, "a SigLIP or SigLIP2"),
        ("PixioModel", {}, "a Pixio"),
    ],
)
def test_others_are_refused_by_their_own_name(name: str, sizes: dict[str, Any], title: str, tmp_path: Path) -> None:
    if not hasattr(transformers, name):
        pytest.skip("a class of Transformers 5")
    folder = saved(tmp_path / "other", name, **sizes)
    with pytest.raises(UnknownModelError, match=f"is {title}, and no model of the DINO family"):
        api.plan(folder, to="original")


def test_an_option_that_contradicts_a_folder_of_ours(tmp_path: Path) -> None:
    api.convert(BY_NAME["msn"].write(tmp_path), tmp_path / "out", level="exact")
    with pytest.raises(SettingError) as raised:
        api.plan(tmp_path / "out", to="original", codebase="mae")
    assert str(raised.value) == (
        f"{tmp_path / 'out'} came from an MSN ViT, as it says itself\n"
        "  where: config.json: dinoport.family\n"
        "  found: `codebase=mae`\n"
        "  try: leave `codebase` out"
    )
