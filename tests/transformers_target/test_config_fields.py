"""The tables of known fields, against what the genuine classes do with another value: as recorded, and live."""

import json
from pathlib import Path
from typing import Any

import pytest

from dinoport.codebases.transformers.class_fields import FIELDS, KINDS, NOTHING, OUTPUTS
from dinoport.codebases.transformers.common_fields import ASKED, INERT
from dinoport.codebases.transformers.config_fields import (
    compare_config,
    effect_of,
    known_config,
    strange_fields,
)
from tests.fixtures.moving.generate import OF_HUBS, VALUES, defaults_of
from tests.transformers_target.genuine_classes import ALL_CONFIGS, CONFIGS, Genuine, names_asked
from tests.transformers_target.moving import GENERATIONS, record

RECORDS = {generation: record(f"transformers-{generation}") for generation in GENERATIONS}

CLASSES = tuple(CONFIGS)

ACTIVATIONS = ("gelu_python", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_10", "quick_gelu")

RECORDED = tuple(ALL_CONFIGS)
"""With the classes of relatives, which are not measured anew in each run."""


def config_of(class_name: str) -> dict[str, Any]:
    return {"architectures": [class_name], **ALL_CONFIGS[class_name], "dtype": "float32"}


def records(class_name: str) -> list[Any]:
    """What was measured in each generation that has the class."""
    return [found for each in GENERATIONS if (found := RECORDS[each].classes.get(class_name)) is not None]


def effects(class_name: str, name: str, kind: str) -> set[str]:
    """What we say of each value of one type that was tried."""
    config = config_of(class_name)
    found = [compare_config(class_name, config, {**config, name: value}) for value in VALUES[kind]]
    return {finding.effect for findings in found for finding in findings} or {"none"}


@pytest.mark.parametrize("class_name", RECORDED)
def test_what_was_measured_to_move_is_never_called_harmless(class_name: str) -> None:
    seen = 0
    for record_of_class in records(class_name):
        for name, measured in record_of_class.items():
            for kind, sign in measured.outcomes.items():
                seen += sign != "="
                if sign != "=" and name != "label2id":  # which version 4 alone looks at
                    assert effects(class_name, name, kind) != {"none"}, (name, kind)
    assert seen > 100


@pytest.mark.parametrize("class_name", RECORDED)
def test_what_was_measured_not_to_move_is_never_called_a_failure(class_name: str) -> None:
    """In neither generation: what one of them refuses is a failure."""
    old, new = (*records(class_name), *records(class_name))[:2]
    checked = 0
    once = {"problem_type"} if len(records(class_name)) == 1 else set()  # which version 4 refuses some values of
    names_of_labels = once | {"id2label", "label2id", "num_labels"}  # no output, and what it is called
    for name in old.keys() & new.keys() - {"dtype", "torch_dtype", "output_hidden_states"} - names_of_labels:
        for kind in ("bool",) if name == "return_dict" else VALUES:
            if "=" == old[name].outcomes.get(kind, "=") == new[name].outcomes.get(kind, "="):
                checked += 1
                assert "outputs" not in effects(class_name, name, kind), (name, kind)
    assert checked > 200


@pytest.mark.parametrize("class_name", RECORDED)
def test_defaults_are_those_of_both_generations(class_name: str) -> None:
    checked = 0
    for record_of_class in records(class_name):
        for name, measured in record_of_class.items():
            field = FIELDS[class_name].get(name)
            if field is not None and None not in (field.default, measured.default):
                checked += 1
                assert json.dumps(measured.default) == json.dumps(field.default), name
    assert checked >= len(records(class_name)) * (len(FIELDS[class_name]) - 8)


@pytest.mark.parametrize("class_name", RECORDED)
def test_the_fields_that_a_verdict_rests_on_are_those_that_move_outputs_with_the_same_tensors(class_name: str) -> None:
    moved = {
        name
        for record_of_class in records(class_name)
        for name, measured in record_of_class.items()
        if "M" in measured.outcomes.values()
    }
    ours = {name for name, field in FIELDS[class_name].items() if field.role == OUTPUTS}
    assert ours == moved - {"is_causal", "dtype"}


def test_every_name_that_transformers_asks_for_is_known_here() -> None:
    for generation in GENERATIONS:
        for name in RECORDS[generation].asked - {"architectures", "model_type"}:
            known = any(name in fields for fields in FIELDS.values())
            silent = effect_of("ViTModel", name, "x", {}) == "none" == effect_of("ViTModel", name, {"a": [1]}, {})
            assert known or name in INERT or not silent, name


@pytest.fixture(scope="module")
def genuine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Genuine:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return Genuine.make(request.param, tmp_path_factory.mktemp("genuine"))


live = pytest.mark.parametrize("genuine", CLASSES, indirect=True)

FURTHER: dict[str, tuple[Any, ...]] = {
    "out_features": (["stem"], ["stage1", "stage2"], ["stage2", "stage1"], ["stage9"]),
    "out_indices": ([0], [1, 2], [2, 1], [99]),
    "dtype": ("float16", "float64"),
    "torch_dtype": ("float16",),
    "pruned_heads": ({}, {"0": [0]}),
    "id2label": ({str(i): f"{i}" for i in range(3)}, {"0": "a"}),
    "hidden_act": ("relu", "silu", "swish", *ACTIVATIONS),
    "pooler_act": ("relu",),
    "hidden_dropout_prob": (0.9, 1),
    "problem_type": ("regression",),
    "attn_implementation": ("eager", "sdpa"),
    "_attn_implementation": ("eager",),
    "return_dict": (False, None),
    "image_size": (13, 15, [12, 12], [13, 13], [64, 64]),
}
"""Values that a type alone does not give."""


@live
def test_every_field_does_what_the_table_says(genuine: Genuine) -> None:
    """One at a time; what the other generation refuses may still be called a failure here."""
    name_of_class, wrong, moved = genuine.class_name, [], 0
    for name in (*FIELDS[name_of_class], *OF_HUBS, *FURTHER):
        values = [value for values in VALUES.values() for value in values] if name in FIELDS[name_of_class] else []
        for value in (*values, *FURTHER.get(name, ())):
            changed = {**genuine.config, name: value}
            findings = compare_config(name_of_class, genuine.config, changed)
            said = {finding.effect for finding in findings} or {"none"}
            outcome = genuine.outcome(changed)
            moved += outcome != "same"
            if outcome != "same" and said == {"none"}:
                wrong.append((name, value, outcome, "called harmless"))
            if outcome == "same" and "outputs" in said and not _refused_elsewhere(name_of_class, name, value):
                wrong.append((name, value, outcome, "called a failure"))
    assert not wrong
    assert moved > 20


@live
def test_every_field_that_is_left_out_does_what_the_table_says(genuine: Genuine) -> None:
    """Folders that are older than a field have none: weights of float32 without `dtype` are the commonest."""
    for name in genuine.config.keys() - {"architectures", "model_type"}:
        changed = {key: value for key, value in genuine.config.items() if key != name}
        said = {finding.effect for finding in compare_config(genuine.class_name, genuine.config, changed)}
        assert (genuine.outcome(changed) == "same") == (not said & {"outputs", "opens", "unknown"}), name


def _refused_elsewhere(class_name: str, name: str, value: Any) -> bool:
    """Whether a generation takes no such value, by its type; or it is a value that loads by chance."""
    kind = next(kind for kind, values in VALUES.items() if type(values[0]) is type(value))
    signs = {
        RECORDS[generation].classes[class_name][name].outcomes.get(kind, "=")
        for generation in GENERATIONS
        if name in RECORDS[generation].classes[class_name]
    }
    return signs != {"="}


@live
def test_inert_fields_change_nothing_together(genuine: Genuine) -> None:
    config = {**dict.fromkeys(INERT - {"exponential_decay_length_penalty"}, 1), **genuine.config}
    assert genuine.outcome({**config, "transformers_version": "1", "tokenizer_class": "x", "unheard_of": 3}) == "same"
    effect = {finding.effect for finding in compare_config(genuine.class_name, genuine.config, config)}
    assert effect == {"none"}


@live
def test_what_is_known_is_all_that_makes_the_outputs(genuine: Genuine) -> None:
    harmless = {"initializer_range": 0.5, "transformers_version": "1"}
    known = known_config(genuine.class_name, {**genuine.config, **harmless, "auto_map": {"AutoModel": "evil.Model"}})
    assert not {*harmless, "auto_map"} & known.keys()
    assert genuine.outcome(known) == "same"


@live
def test_names_asked_and_defaults_are_as_recorded(genuine: Genuine) -> None:
    import transformers

    major = transformers.__version__.split(".")[0]
    assert names_asked(genuine) - {"output_loading_info"} <= RECORDS[major].asked
    found = defaults_of(genuine.folder)
    for name, field in FIELDS[genuine.class_name].items():
        if field.default is not None and name in found:
            assert json.dumps(found[name]) == json.dumps(field.default), name


@live
def test_a_field_that_takes_the_place_of_a_part_of_the_config_is_never_harmless(genuine: Genuine) -> None:
    """A method, a property, a table: `attribute_map` makes one field read another, and the outputs move."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(genuine.folder)
    parts = {*dir(config), *dir(type(config))} - {*FIELDS[genuine.class_name], *INERT, *config.to_dict()}
    for name in parts - {"name_or_path", "torch_dtype", "use_return_dict", "num_labels"}:
        for value in (1, "x", ["a"], {"layer_norm_eps": "initializer_range"}):
            effects = {each.effect for each in compare_config(genuine.class_name, {}, {name: value})}
            assert effects - {"none"}, (name, value)
    assert "attribute_map" in parts
    if {"layer_norm_eps", "initializer_range"} <= genuine.config.keys():
        outcome = genuine.outcome({**genuine.config, "attribute_map": {"layer_norm_eps": "initializer_range"}})
        assert outcome == ("same" if transformers.__version__.startswith("4.") else "moved")


@pytest.mark.parametrize("index", ["a", "", "1.0", "²"])
@pytest.mark.parametrize("class_name", CLASSES)
def test_labels_that_have_no_index_do_not_load(class_name: str, index: str) -> None:
    config = {**config_of(class_name), "id2label": {index: "x"}}
    assert dict(strange_fields(class_name, config)) == {"id2label": {index: "x"}}
    assert "outputs" in {each.effect for each in compare_config(class_name, config_of(class_name), config)}


@live
def test_a_config_that_transformers_wrote_again_has_no_finding(genuine: Genuine, tmp_path: Path) -> None:
    import transformers

    model = getattr(transformers, genuine.class_name).from_pretrained(genuine.folder)
    model.save_pretrained(tmp_path)
    again = json.loads((tmp_path / "config.json").read_text())
    assert again.keys() - genuine.config.keys()
    assert compare_config(genuine.class_name, genuine.config, again) == ()
    assert not [*strange_fields(genuine.class_name, again)]
    whole = json.loads(json.dumps(model.config.to_dict(), default=str))
    assert {finding.effect for finding in compare_config(genuine.class_name, genuine.config, whole)} <= {"none"}
    assert not [*strange_fields(genuine.class_name, whole)]


OPENED = {
    "auto_map": ({"AutoModel": "evil.Model"}, {"AutoConfig": "org/repo--evil.Config"}),
    "configuration_files": (["config.4.0.0.json"],),
    "transformers_weights": ("other.safetensors", "other"),
    "quantization_config": ({"quant_method": "evil"},),
    "attn_implementation": ("evil-org/kernel", "flash_attention_2", {"": "evil"}),
    "_attn_implementation": ("evil-org/kernel", "paged|sdpa"),
    "_attn_implementation_internal": ("evil-org/kernel",),
    "experts_implementation": ("evil",),
    "fusion_config": ({"patch_embeddings": True},),
    "kernel_config": ({"ViTLayer": "evil-org/kernel"},),
    "use_kernels": (True,),
    "backbone": ("resnet50",),
    "backbone_config": ({"model_type": "evil"},),
    "use_timm_backbone": (True,),
    "use_pretrained_backbone": (True,),
    "trust_remote_code": (True,),
    "code_revision": ("main",),
    "adapters": ({"a": {}},),
    "peft_config": ({"peft_type": "LORA"},),
    "custom_generate": ("evil/repo",),
    "text_config": ({"model_type": "bert"},),
    "per_layer_config": ({"0": {"hidden_size": 8}},),
    "base_model_tp_plan": ({"a": "b"},),
    "is_causal": (True,),
    "head_dim": (8,),
    "rope_parameters": ({"rope_type": "yarn"},),
    "to_dict": (1,),
    "attribute_map": ({"layer_norm_eps": "initializer_range"}, 1),
    "per_layer_attributes": (["layer_norm_eps"],),
    "__class__": ("x",),
    "__dict__": (1,),
    "a_field_of_tomorrow": ("../elsewhere.json", "https://example.org/x", "module.Class", ["a/b"], {"a": "b--c.D"}),
}


@pytest.mark.parametrize("name", OPENED)
@pytest.mark.parametrize("class_name", CLASSES)
def test_what_may_open_something_is_strange_and_never_given(class_name: str, name: str) -> None:
    for value in OPENED[name]:
        config = {**config_of(class_name), name: value}
        assert dict(strange_fields(class_name, config)) == {name: value}
        assert name not in known_config(class_name, config)
        [finding] = compare_config(class_name, config_of(class_name), config)
        assert finding.effect in ("opens", "unknown")


@pytest.mark.parametrize("class_name", CLASSES)
def test_a_field_of_another_type_is_strange(class_name: str) -> None:
    """For every field that Transformers would be given: none reaches it with a value of a form that is not its own."""
    checked = 0
    for name, field in FIELDS[class_name].items():
        for value in (None, True, -1, 0.5, float("inf"), "x/y", [], [[1]], {}, 10**400):
            if field.role != NOTHING and not KINDS[field.kind](value) and not value is None is field.default:
                checked += 1
                assert (name, value) in [*strange_fields(class_name, {**config_of(class_name), name: value})]
    assert checked > 30


def test_a_harmless_field_is_told_with_both_values() -> None:
    config = config_of("Dinov2Model")
    found = compare_config("Dinov2Model", config, {**config, "apply_layernorm": False, "notes": "mine", "seed": 3})
    assert [(each.field, each.ours, each.theirs, each.effect) for each in found] == [
        ("apply_layernorm", True, False, "none"),
        ("notes", None, "mine", "none"),
        ("seed", None, 3, "none"),
    ]


def test_labels_are_compared_by_what_a_class_makes_of_them() -> None:
    config = config_of("ViTForImageClassification")
    unnamed = {name: value for name, value in config.items() if name not in ("id2label", "label2id")}
    two = {**config, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}
    assert compare_config("ViTForImageClassification", two, unnamed) == ()
    three = {**two, "id2label": {**two["id2label"], "2": "LABEL_2"}, "label2id": {**two["label2id"], "LABEL_2": 2}}
    assert compare_config("ViTForImageClassification", three, {**unnamed, "num_labels": 3}) == ()
    renamed = {**config, "id2label": {"0": "a", "1": "b", "2": "d"}}
    [finding] = compare_config("ViTForImageClassification", config, renamed)
    assert (finding.field, finding.effect) == ("id2label", "outputs")


def test_roles_that_no_tensor_shows_are_few_and_named() -> None:
    assert {name for fields in FIELDS.values() for name, field in fields.items() if field.role == OUTPUTS} == {
        "num_attention_heads",
        "decoder_num_attention_heads",
        "hidden_act",
        "layer_norm_eps",
        "mask_ratio",
        "pooler_act",
        "rope_theta",
        "downsample_in_first_stage",
        "downsample_in_bottleneck",
    }
    assert "head_dim" in ASKED
