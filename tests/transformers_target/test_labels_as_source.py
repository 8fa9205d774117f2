"""The names of classes in the config.json of a folder that is a source."""

import json
from pathlib import Path

import pytest

from dinoport import api
from dinoport.errors import SettingError
from tests.codebases.test_folders_of_relatives import saved


def test_labels_whose_indices_are_words_are_taken(tmp_path: Path) -> None:
    """As the examples of Transformers for image classification write them."""
    folder = saved(tmp_path / "vit", "ViTForImageClassification", num_labels=3)
    config = json.loads((folder / "config.json").read_text())
    names = {"0": "crane", "1": "heron", "2": "crane"}
    words = {**config, "id2label": names, "label2id": {"crane": "2", "heron": "1"}}
    (folder / "config.json").write_text(json.dumps(words))
    api.convert(folder, tmp_path / "out", dtype="float32", level="exact")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (written["id2label"], written["label2id"]) == (names, {"crane": 2, "heron": 1})
    (folder / "config.json").write_text(json.dumps({**words, "label2id": {"crane": "1", "heron": "2"}}))
    with pytest.raises(SettingError, match="asks for what a ViT"):
        api.plan(folder, to="original")


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c", "d"]])
def test_labels_of_another_count_are_refused(names: list[str], tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "ViTForImageClassification", num_labels=3)
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SettingError, match="does not compute") as raised:
        api.plan(folder, to="original")
    assert 'found: id2label = {"0": "a", "1": "b"' in str(raised.value)


def test_an_index_that_no_class_has_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "ViTForImageClassification", num_labels=2)
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "crane", "9" * 5000: "heron"}, "label2id": {"crane": 0, "heron": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SettingError, match="asks for what a ViT"):
        api.plan(folder, to="original")
