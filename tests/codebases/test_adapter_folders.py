"""A folder of PEFT with its base beside it becomes one model; every other kind is refused by its name."""

import json
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch

from dinoport.api import convert, verify
from dinoport.errors import DinoportError, SettingError
from dinoport.mapping.computation import LowRank, Merged
from dinoport.mapping.plan import unrounded
from dinoport.proofs import outputs
from dinoport.proofs.verdict import Word
from dinoport.tensor import TensorRef
from tests import formula, models
from tests.error_text import error_text
from tests.models import weights

RANK, ALPHA = 2, 6

BOTH = {
    "disk": ("encoder.layer.0.attention.attention.value", "encoder.layer.1.attention.output.dense"),
    "memory": ("encoder.layer.0.attention.v_proj", "encoder.layer.1.attention.o_proj"),
}
"""Two layers as Transformers 4.57 and 5 name them in memory."""

CONFIG = {"peft_type": "LORA", "base_model_name_or_path": "../base", "r": RANK, "lora_alpha": ALPHA}


def state() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(each) for name, each in formula.state_dict(models.V2.tensors()).items()}


def halves(layer: int, width: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    up, down = (
        formula.noise(f"{layer}{name}", shape) for name, shape in (("up", (width, RANK)), ("down", (RANK, width)))
    )
    return torch.from_numpy(up) * 0.1, torch.from_numpy(down) * 0.1


def merged(scale: float, norm: float = 0.0) -> dict[str, torch.Tensor]:
    """The same model, merged by torch."""
    own = state()
    for layer, name, first in ((0, "blocks.0.attn.qkv.weight", 128), (1, "blocks.1.attn.proj.weight", 0)):
        up, down = halves(layer)
        rows = own[name][first : first + 64].double() + scale * up.double() @ down.double()
        own[name][first : first + 64] = rows.float()
    own["norm.weight"] = own["norm.weight"] + norm
    return own


def adapter(folder: Path, names: str = "memory", more: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
    """The base as a folder of Transformers, and the adapter beside it."""
    torch.save(state(), folder / "base.pth")
    convert(folder / "base.pth", folder / "base", level="none", num_heads=1)
    tensors = dict(more or {})
    for layer, name in enumerate(BOTH[names]):
        up, down = halves(layer)
        tensors |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
    own = folder / "adapter"
    own.mkdir()
    torch.save(tensors, own / "adapter_model.bin")
    (own / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    return own


@pytest.mark.parametrize("names", BOTH)
@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, ALPHA / RANK),
        ({"use_rslora": True}, ALPHA / sqrt(RANK)),
        ({"use_rslora": 1}, ALPHA / sqrt(RANK)),
        ({"lora_alpha": 5}, 2.5),
        ({"layers_to_transform": [0, 1], "exclude_modules": ["fc1"]}, ALPHA / RANK),
    ],
)
def test_it_is_merged_with_its_base(names: str, config: dict[str, Any], scale: float, tmp_path) -> None:
    source = adapter(tmp_path, names, **config)
    torch.save(merged(scale), tmp_path / "merged.pth")
    convert(tmp_path / "merged.pth", tmp_path / "ours", level="exact", num_heads=1)
    report = convert(source, tmp_path / "theirs", level="exact")
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")
    assert report.proofs.exact.recomputed == 2
    assert report.accounting.counts["recomputed"] == 2, "the values alone, and not queries and keys beside them"
    assert f"the adapter's base is {tmp_path / 'base'}" in report.remarks
    assert verify(source, tmp_path / "theirs", level="exact").verdict.word is Word.TRANSPORTED


@pytest.mark.parametrize("others", [{}, {"proj": 7, "attention": 9}])
@pytest.mark.parametrize("pattern", ["o_proj", "1.attention.o_proj", "o.proj", "layer.1.attention.o_proj"])
def test_a_layer_may_have_a_scale_of_its_own(pattern: str, others: dict[str, int], tmp_path) -> None:
    """A pattern is looked for as PEFT does: its dots stand for any character, it begins where a part of a name does."""
    source = adapter(tmp_path, alpha_pattern={pattern: 2, **others})
    own = merged(ALPHA / RANK)
    own["blocks.1.attn.proj.weight"] = merged(2 / RANK)["blocks.1.attn.proj.weight"]
    torch.save(own, tmp_path / "merged.pth")
    convert(tmp_path / "merged.pth", tmp_path / "ours", level="exact", num_heads=1)
    convert(source, tmp_path / "theirs", level="exact")
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")


def test_adapters_in_folders_of_their_own_names(tmp_path) -> None:
    source = adapter(tmp_path)
    other = source / "second"
    other.mkdir()
    for name in ("adapter_model.bin", "adapter_config.json"):
        (other / name).write_bytes((source / name).read_bytes())
    report = convert(source, tmp_path / "out", level="exact")
    assert f"the adapter in {source} itself was taken; others there: second" in report.remarks
    (source / "adapter_config.json").unlink()
    (source / "adapter_model.bin").unlink()
    with pytest.raises(DinoportError) as caught:
        convert(source, tmp_path / "none", level="exact")
    assert f"`dinoport.convert({str(other)!r}, FOLDER)`" in str(caught.value)


def test_a_layer_that_was_trained_whole_takes_the_base_s_place(tmp_path) -> None:
    norm = {"base_model.model.layernorm.weight": state()["norm.weight"] + 0.5}
    source = adapter(tmp_path, more=norm)
    torch.save(merged(ALPHA / RANK, 0.5), tmp_path / "merged.pth")
    convert(tmp_path / "merged.pth", tmp_path / "ours", level="exact", num_heads=1)
    report = convert(source, tmp_path / "theirs", level="exact")
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")
    assert any("trained whole" in remark and "layernorm.weight" in remark for remark in report.remarks)


@pytest.mark.parametrize("trained", [("q",), ("k", "v"), ("q", "k", "v")])
@pytest.mark.parametrize("leaf", ["bias", "weight"])
def test_parts_of_a_joint_layer_may_be_trained_whole(leaf: str, trained: tuple[str, ...], tmp_path) -> None:
    """As `bias="lora_only"` and `modules_to_save` leave them: queries, keys and values apart."""
    own, whole, more = merged(ALPHA / RANK), f"blocks.1.attn.qkv.{leaf}", {}
    for name in trained:
        rows = slice(*((64 * "qkv".index(name)) + edge for edge in (0, 64)))
        own[whole][rows] += 0.25 + "qkv".index(name)
        more[f"base_model.model.encoder.layer.1.attention.{name}_proj.{leaf}"] = own[whole][rows].clone()
    source = adapter(tmp_path, more=more)
    torch.save(own, tmp_path / "merged.pth")
    convert(tmp_path / "merged.pth", tmp_path / "ours", level="exact", num_heads=1)
    convert(source, tmp_path / "theirs", level="exact")
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")
    assert verify(source, tmp_path / "theirs", level="exact").verdict.word is Word.TRANSPORTED


def test_outputs_say_how_far_merging_moves_them(tmp_path) -> None:
    report = convert(adapter(tmp_path), tmp_path / "out")
    assert report.verdict.word is Word.EQUAL_EXCEPT
    assert 0 < report.proofs.outputs.merged.relative < 1e-6
    assert any(
        text.startswith("for adapters, merged and rounded once (outputs move by") for text in report.verdict.exceptions
    )


def test_a_scale_that_is_wrong_by_a_hundredth_is_rejected(tmp_path, monkeypatch) -> None:
    def wrong(tensor: TensorRef) -> TensorRef:
        def scaled(part: Any) -> Any:
            return replace(part, scale=part.scale * 1.01) if isinstance(part, LowRank) else part

        found = unrounded(tensor)
        assert isinstance(found.values, Merged)
        return replace(found, values=replace(found.values, parts=tuple(map(scaled, found.values.parts))))

    monkeypatch.setattr(outputs, "unrounded", wrong)
    with pytest.raises(DinoportError, match="where adapters are merged"):
        convert(adapter(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"use_dora": True}, "carries DoRA, which is not merged here"),
        ({"peft_type": "LOHA"}, "carries LOHA, which is not merged here"),
        ({"init_lora_weights": "pissa"}, "carries LoRA that begins by pissa, which changes the base"),
        ({"lora_alpha": None}, "carries LoRA without a scale"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "carries LoRA with a pattern of layers that is not a name"),
        (
            {"alpha_pattern": {"attention.v_proj": 2, "v_proj": 3}},
            "adapter_config.json: attention.v_proj 2 and v_proj 3, for encoder.layer.0.attention.v_proj",
        ),
        ({"lora_bias": True}, "carries LoRA with lora_bias"),
        ({"target_parameters": ["fc1.weight"]}, "carries LoRA with target_parameters"),
        ({"layer_replication": [[0, 1]]}, "carries LoRA with layer_replication"),
        ({"alora_invocation_tokens": [1]}, "carries LoRA with alora_invocation_tokens"),
        ({"kasa_config": {"beta": 1}}, "carries LoRA with kasa_config"),
        ({"target_modules": ["fc1"]}, "v_proj, which its own target_modules leaves out"),
        ({"exclude_modules": ["v_proj"]}, "v_proj, which its own exclude_modules leaves out"),
        ({"layers_to_transform": [1]}, "layer.0.attention.v_proj, which its own layers_to_transform leaves out"),
        ({"layers_to_transform": 7}, "which its own layers_to_transform leaves out"),
    ],
)
def test_another_kind_is_refused_by_its_name(config: dict[str, Any], words: str, tmp_path) -> None:
    source = adapter(tmp_path, **config)
    assert words in error_text(DinoportError, lambda: convert(source, tmp_path / "out", level="exact"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["facebook/dinov2-small", "../../elsewhere", "", None])
def test_a_base_is_followed_beside_the_adapter_alone(name: str | None, tmp_path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    source = adapter(inner, base_model_name_or_path=name)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DinoportError) as caught:
        convert(source, tmp_path / "out", level="exact")
    assert "holds a LoRA adapter of PEFT's, and its base is not beside it" in str(caught.value)
    given = "hf://facebook/dinov2-small" if name == "facebook/dinov2-small" else "SOURCE"
    assert f"try: add `base={given!r}`" in str(caught.value)


def test_a_base_that_lies_elsewhere_is_given(tmp_path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    source = adapter(inner, base_model_name_or_path="someone/dinov2")
    moved = (inner / "base").rename(tmp_path / "moved")
    torch.save(merged(ALPHA / RANK), tmp_path / "merged.pth")
    convert(tmp_path / "merged.pth", tmp_path / "ours", level="exact", num_heads=1)
    for name, base, asked in (("folder", moved, {}), ("file", inner / "base.pth", {"num_heads": 1})):
        report = convert(source, tmp_path / name, level="exact", base=base, **asked)
        assert weights(tmp_path / name) == weights(tmp_path / "ours")
        assert f"the adapter's base is {base}" in report.remarks
        assert verify(source, tmp_path / name, level="exact", base=base).verdict.word is Word.TRANSPORTED
        with pytest.raises(DinoportError, match="was made with a file of its own for `base`"):
            verify(source, tmp_path / name, level="exact")


def test_another_base_than_the_adapter_s_is_refused(tmp_path) -> None:
    source = adapter(tmp_path)
    other = replace(models.V2, width=128, heads=2, mlp_hidden=256)
    own = formula.state_dict(other.tensors())
    torch.save({name: torch.from_numpy(each) for name, each in own.items()}, tmp_path / "wide.pth")
    with pytest.raises(DinoportError, match="is for another model than its base"):
        convert(source, tmp_path / "out", level="exact", base=tmp_path / "wide.pth")


def test_a_base_goes_with_an_adapter_alone(tmp_path) -> None:
    torch.save(state(), tmp_path / "base.pth")
    with pytest.raises(SettingError) as caught:
        convert(tmp_path / "base.pth", tmp_path / "out", base=tmp_path / "base.pth")
    assert str(caught.value).startswith("`base` goes with an adapter of PEFT's: a folder with adapter_config.json")


CLASSES = 3


def with_a_classifier(folder: Path, prefix: str, columns: int) -> tuple[Path, dict[str, torch.Tensor]]:
    """An adapter that was trained for classes over a base that has none."""
    source = adapter(folder)
    own = torch.load(source / "adapter_model.bin")
    layer = {"weight": torch.linspace(-1, 1, CLASSES * columns).reshape(CLASSES, columns), "bias": torch.arange(1.0, 4)}
    begin = "base_model.model."
    named = {f"{begin}{prefix}{name.removeprefix(begin)}": each for name, each in own.items()}
    torch.save(
        named | {f"{begin}classifier.{leaf}": each for leaf, each in layer.items()}, source / "adapter_model.bin"
    )
    return source, layer


def test_a_classifier_that_was_trained_beside_it_goes_along_where_a_class_has_it(tmp_path) -> None:
    source, layer = with_a_classifier(tmp_path, "dinov2.", 128)
    torch.save(merged(ALPHA / RANK), tmp_path / "merged.pth")
    torch.save(layer, tmp_path / "head.pth")
    convert(tmp_path / "merged.pth", tmp_path / "ours", level="exact", num_heads=1, head=tmp_path / "head.pth")
    report = convert(source, tmp_path / "theirs", level="exact")
    assert report.class_name == "Dinov2ForImageClassification"
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")
    assert "the classifier was trained beside the adapter, as that of Dinov2ForImageClassification" in report.remarks
    assert report.accounting.counts["recomputed"] == 2
    assert verify(source, tmp_path / "theirs", level="exact").verdict.word is Word.TRANSPORTED


def test_a_base_whose_config_computes_another_model_is_refused(tmp_path) -> None:
    source = adapter(tmp_path)
    config = json.loads((tmp_path / "base/config.json").read_text())
    (tmp_path / "base/config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    with pytest.raises(DinoportError, match=r"base asks for what a DINOv2 ViT does not compute"):
        convert(source, tmp_path / "out", level="exact")


def test_a_pooler_of_the_base_stays_aside_where_a_classifier_was_trained(tmp_path) -> None:
    own = {name: torch.from_numpy(each) for name, each in formula.state_dict(models.VIT.tensors()).items()}
    torch.save(own, tmp_path / "base.pth")
    convert(tmp_path / "base.pth", tmp_path / "base", level="none", num_heads=1)
    config = json.loads((tmp_path / "base/config.json").read_text())
    (tmp_path / "base/config.json").write_text(json.dumps({**config, "pooler_act": "tanh"}))
    up, down = halves(0)
    begin = "base_model.model."
    tensors = {
        f"{begin}vit.layers.0.attention.v_proj.lora_{each}.weight": half for each, half in (("A", down), ("B", up))
    }
    tensors |= {f"{begin}classifier.weight": torch.ones(CLASSES, 64), f"{begin}classifier.bias": torch.ones(CLASSES)}
    (tmp_path / "adapter").mkdir()
    torch.save(tensors, tmp_path / "adapter" / "adapter_model.bin")
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(CONFIG))
    report = convert(tmp_path / "adapter", tmp_path / "out", level="exact")
    assert report.class_name == "ViTForImageClassification"
    [reason] = (line.reason for line in report.accounting.dropped)
    assert reason == "Transformers' pooler, a layer on top of the CLS token: no part of the backbone"


@pytest.mark.parametrize(("prefix", "columns"), [("net.", 128), ("dinov2.", 64), ("vit.", 128)])
def test_a_classifier_of_which_it_is_not_known_what_it_looks_at_stays_aside(
    prefix: str, columns: int, tmp_path
) -> None:
    source, _ = with_a_classifier(tmp_path, prefix, columns)
    torch.save(merged(ALPHA / RANK), tmp_path / "merged.pth")
    convert(tmp_path / "merged.pth", tmp_path / "ours", level="exact", num_heads=1)
    report = convert(source, tmp_path / "theirs", level="exact")
    assert report.class_name == "Dinov2Model"
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")
    [dropped] = [line for line in report.accounting.dropped if "classifier.weight" in line.names]
    assert dropped.reason == "trained whole beside the adapter; what it looks at is not known"


def test_an_adapter_of_another_model_is_refused(tmp_path) -> None:
    strange = {"base_model.model.text.layers.0.q.lora_A.weight": torch.ones(2, 4)}
    strange["base_model.model.text.layers.0.q.lora_B.weight"] = torch.ones(4, 2)
    with pytest.raises(DinoportError, match="is for another model than its base"):
        convert(adapter(tmp_path, more=strange), tmp_path / "out", level="exact")


@pytest.mark.parametrize("layer", ["layers.0.attention.v_proj", "encoder.layer.0.attention.attention.value"])
def test_a_vit_of_whatever_codebase_takes_one_too(layer: str, tmp_path) -> None:
    """Nothing tells whose a plain ViT is; its names in memory are the same."""
    own = {name: torch.from_numpy(each) for name, each in formula.state_dict(models.VIT.tensors()).items()}
    torch.save(own, tmp_path / "base.pth")
    convert(tmp_path / "base.pth", tmp_path / "base", level="none", num_heads=1)
    up, down = halves(0)
    (tmp_path / "adapter").mkdir()
    tensors = {f"base_model.model.{layer}.lora_A.weight": down, f"base_model.model.{layer}.lora_B.weight": up}
    torch.save(tensors, tmp_path / "adapter" / "adapter_model.bin")
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(CONFIG))
    name = "blocks.0.attn.qkv.weight"
    own[name][128:192] = (own[name][128:192].double() + ALPHA / RANK * up.double() @ down.double()).float()
    torch.save(own, tmp_path / "merged.pth")
    convert(tmp_path / "merged.pth", tmp_path / "ours", level="exact", num_heads=1)
    convert(tmp_path / "adapter", tmp_path / "theirs", level="exact")
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")
