"""The tables of known fields of relatives' classes, against the genuine configs: names and defaults."""

import json

import pytest

from dinoport.codebases.transformers.class_fields import FIELDS, MODEL_TYPE
from tests.transformers_target.genuine_classes import CONFIGS

transformers = pytest.importorskip("transformers")

CLASSES = tuple(name for name in FIELDS if name not in CONFIGS)


@pytest.mark.parametrize("class_name", CLASSES)
def test_fields_and_defaults_are_the_genuine_ones(class_name: str) -> None:
    if not hasattr(transformers, class_name):
        pytest.skip("a class of Transformers 5")
    config_class = getattr(transformers, class_name).config_class
    assert config_class.model_type == MODEL_TYPE[class_name]
    theirs = json.loads(json.dumps(config_class().to_dict(), default=str))
    common = transformers.PretrainedConfig().to_dict().keys()
    beyond = {name for name, field in FIELDS[class_name].items() if field.role != "nothing"} - theirs.keys()
    assert not beyond, "fields that the class has not"
    for name, field in FIELDS[class_name].items():
        if name in theirs and None not in (field.default, theirs[name]):
            assert theirs[name] == field.default, name
    unknown = theirs.keys() - FIELDS[class_name].keys() - common - {"model_type", "transformers_version"}
    assert not unknown, "fields that are not known here"
