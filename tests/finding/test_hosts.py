"""A backbone whose host has it otherwise than upstream: nothing is taken for what it is not."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dinoport.api import convert, inspect, verify
from dinoport.errors import PlanError
from dinoport.proofs.verdict import Word
from tests.finding.test_places import MODELS, state, weights

UNUSED = "a single row of zeros: UniDepth keeps one where it has no registers, and leaves it out"


@pytest.mark.parametrize("prefix", ["", "pixel_encoder.", "module.pixel_encoder."])
def test_a_row_that_stands_for_no_register_is_not_computed_with(prefix: str, tmp_path: Path) -> None:
    own = state("dinov2", prefix)
    row = {f"{prefix}register_tokens": torch.zeros(1, 1, MODELS["dinov2"].width)}
    beside = {"pixel_decoder.depth_layer.weight": torch.ones(3, 64)} if prefix else {}
    torch.save({**own, **row, **beside}, tmp_path / "depth.pth")
    torch.save(own, tmp_path / "bare.pth")
    convert(tmp_path / "bare.pth", tmp_path / "ours", level="exact", num_heads=1)
    report = convert(tmp_path / "depth.pth", tmp_path / "theirs", level="exact", num_heads=1)
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")
    assert f"register_tokens = not used ({UNUSED})" in report.verdict.named
    assert ("register_tokens", UNUSED) in {(line.names, line.reason) for line in report.accounting.dropped}
    assert "TIPS" not in str(report.verdict)
    assert verify(tmp_path / "depth.pth", tmp_path / "theirs", level="exact").verdict.word is Word.TRANSPORTED
    [part] = [each for each in inspect(tmp_path / "depth.pth", num_heads=1).parts if each.model]
    assert part.what.startswith("DINOv2 ViT")


@pytest.mark.parametrize(("count", "value"), [(1, 1e-6), (4, 1e-6), (4, 0.0)])
def test_registers_that_may_be_used_stay(count: int, value: float, tmp_path: Path) -> None:
    tokens = torch.full((1, count, MODELS["dinov2"].width), value)
    torch.save({**state("dinov2", "enc."), "enc.register_tokens": tokens}, tmp_path / "run.pth")
    report = convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)
    assert report.class_name == "Dinov2WithRegistersModel"
    assert not any("register_tokens" in each for each in report.verdict.named)


@pytest.mark.parametrize("prefix", ["", "backbone.", "net.encoder."])
@pytest.mark.parametrize("codebase", ["dinov3", "eupe", "lingbot"])
@pytest.mark.parametrize("by_transformers", [False, True])
def test_a_mask_token_that_fine_tuning_deleted_counts_as_zeros(
    prefix: str, codebase: str, by_transformers: bool, tmp_path: Path
) -> None:
    torch.save(state("dinov3"), tmp_path / "whole.pth")
    convert(tmp_path / "whole.pth", tmp_path / "ours", level="exact", codebase=codebase)
    names = load_file(tmp_path / "ours" / "model.safetensors") if by_transformers else state("dinov3")
    own = {f"{prefix}{name}": each for name, each in names.items() if not name.endswith("mask_token")}
    torch.save({**own, "head.conv.weight": torch.ones(3, 64)}, tmp_path / "tuned.pth")
    asked = {"num_heads": MODELS["dinov3"].heads, "layer_norm_eps": 1e-5} if by_transformers else {}
    report = convert(tmp_path / "tuned.pth", tmp_path / "theirs", level="exact", codebase=codebase, **asked)
    ours, theirs = (load_file(tmp_path / each / "model.safetensors") for each in ("ours", "theirs"))
    mask = theirs.pop("embeddings.mask_token")
    assert ours.pop("embeddings.mask_token").shape == mask.shape
    assert not mask.any()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert "the file holds no mask_token; taken as all 0 (it is used for training alone)" in report.remarks
    assert verify(tmp_path / "tuned.pth", tmp_path / "theirs", level="exact").verdict.word is Word.TRANSPORTED


def without(tree: dict[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {name: each for name, each in tree.items() if f".{part}." not in f".{name}"}


ADDED = "a part that another code built into the model, such as adapters, prompts or norms, or a file that was merged"

CHANGED = (
    ("backbone.", {"reins.learnable_tokens": (2, 5, 64), "reins.mlp_delta_f.weight": (64, 64)}),
    ("enc.", {"prompt_embeddings": (1, 5, 64)}),
    ("", {"deep_prompt_embeddings": (1, 5, 64)}),
    ("backbone.", {f"blocks.{i}.adapter1.D_fc1.weight": (8, 64) for i in range(2)}),
    ("model.backbone.", {"time_embed": (1, 8, 64)}),
    ("enc.vit.", {f"blocks.{i}.ssf_scale_1": (64,) for i in range(2)}),
    ("backbone.", {"level_embed": (3, 64), "spm.stem.0.weight": (8, 3, 3, 3), "interactions.0.injector.gamma": (64,)}),
)
"""What public codebases build into a DINO: Rein, visual prompts, SelaVPR, SVT, SSF, ViT-Adapter."""


@pytest.mark.parametrize(("prefix", "added"), CHANGED)
def test_a_backbone_with_a_part_built_in_is_refused_for_that_part(prefix: str, added, tmp_path: Path) -> None:
    more = {f"{prefix}{name}": torch.ones(shape) for name, shape in added.items()}
    beside = {"head.conv.weight": torch.ones(3, 64)} if prefix else {}
    torch.save({**state("dinov2", prefix), **more, **beside}, tmp_path / "run.pth")
    with pytest.raises(PlanError) as caught:
        convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)
    assert caught.value.cause == ADDED
    assert str(caught.value).count("is not part of this model") == len(caught.value.problems)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("prefix", ["", "backbone.", "net.encoder."])
def test_a_backbone_without_its_last_norm_is_refused_for_that(prefix: str, tmp_path: Path) -> None:
    torch.save({**without(state("dinov2", prefix), "norm"), "neck.weight": torch.ones(3, 64)}, tmp_path / "run.pth")
    with pytest.raises(PlanError) as caught:
        convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)
    assert "norm.weight is missing" in str(caught.value)
    if prefix:
        assert caught.value.cause == (
            "a detector, a segmenter or another code that takes what the blocks give, or norms it without weights; "
            "every class here has a norm with weights behind them"
        )


@pytest.mark.parametrize("part", ["pos_embed", "register_tokens"])
def test_names_that_lie_apart_are_no_second_model(part: str, tmp_path: Path) -> None:
    """OpenLRM has a table of its own beside its encoder, whose norms are modulated."""
    own = {name.replace("norm1.", "norm1.norm."): each for name, each in state("dinov2", "encoder.model.").items()}
    beside = {"pos_embed": torch.ones(1, 5, 64), part: torch.ones(1, 5, 64)}
    torch.save({**own, **beside}, tmp_path / "run.pth")
    with pytest.raises(PlanError, match=r"under encoder\.model\., but it is not whole"):
        convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("prompts.0", "prompts.0"),
        ("encoder.adapters.1.down.weight", "encoder.adapters.1.down.weight"),
        ("network.attn_mask_probs", "attn_mask_probs"),
        ("tokenizer.modulations.0.linear.bias", "tokenizer.modulations.0.linear.bias"),
        ("side_adapters.0.down.weight", "side_adapters.0.down.weight"),
        ("decoder.blocks.0.attn.weight", None),
        ("prompt_decoder.weight", None),
    ],
)
def test_what_may_work_inside_a_backbone_is_named_where_it_lies_beside_it(
    name: str, said: str | None, tmp_path
) -> None:
    torch.save({**state("dinov2", "vision.vit."), name: torch.ones(3)}, tmp_path / "run.pth")
    report = convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)
    found = [each for each in report.verdict.warnings if each.startswith("beside the backbone lies")]
    told = f"beside the backbone lies {said}: if its own code uses that inside the backbone, outputs differ"
    assert found == ([told] if said else [])


@pytest.mark.parametrize("network", ["dinov2", "dinov3"])
def test_a_folder_of_eomt_holds_a_backbone_under_bare_names(network: str, tmp_path: Path) -> None:
    """As Transformers saves an EomtForUniversalSegmentation: its state dict was converted, its folder refused."""
    torch.save(state(network), tmp_path / "bare.pth")
    convert(tmp_path / "bare.pth", tmp_path / "ours", level="exact", num_heads=MODELS[network].heads)
    (folder := tmp_path / "theirs").mkdir()
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    config = {**config, "architectures": ["EomtForUniversalSegmentation"], "model_type": "eomt"}
    (folder / "config.json").write_text(json.dumps(config))
    queries = {"attn_mask_probs": torch.ones(1), "query.weight": torch.ones(3, 64)}
    save_file({**load_file(tmp_path / "ours" / "model.safetensors"), **queries}, folder / "model.safetensors")
    report = convert(folder, tmp_path / "out", level="exact")
    assert weights(tmp_path / "out") == weights(tmp_path / "ours")
    assert {each.name: each.origin for each in report.settings}["heads"] == "stored"
    assert "beside the backbone lies attn_mask_probs" in " ".join(report.verdict.warnings)


@pytest.mark.parametrize(
    ("neck", "doubted"),
    [
        ("bottleneck.running_mean", True),
        ("module.bottleneck_1.running_mean", True),
        ("feat_bn.running_mean", True),
        ("bottleneck.weight", False),
        ("neck.bottleneck.0.running_mean", False),
    ],
)
def test_patches_of_a_re_identifier_may_overlap(neck: str, doubted: bool, tmp_path: Path) -> None:
    """TransReID's table is for a picture smaller than patches side by side would make it, and nothing tells that."""
    torch.save({**state("vit", "base."), neck: torch.ones(64)}, tmp_path / "run.pth")
    report = convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)
    said = "patches = side by side (a re-identifier's may overlap, as TransReID's do, and no tensor shows it)"
    assert (said in report.verdict.named) == doubted


@pytest.mark.parametrize(
    ("lead", "doubted"),
    [
        ("model.backbone.pretrained.", True),
        ("backbone.pretrained.", True),
        ("pretrained.", False),
        ("encoder.pretrained.", False),
    ],
)
def test_a_last_norm_may_have_an_eps_of_its_own_in_a_depth_anything_3(lead: str, doubted: bool, tmp_path: Path) -> None:
    """Its blocks have a DINOv2's 1e-6 and its last norm 1e-5, of which no tensor tells."""
    torch.save({**state("dinov2", lead), "model.head.projects.0.weight": torch.ones(4, 4)}, tmp_path / "run.pth")
    report = convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)
    said = "eps of the last norm = that of all (Depth Anything 3 has 1e-05 there, and no tensor shows it)"
    assert (said in report.verdict.named) == doubted
