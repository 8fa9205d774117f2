import json
from pathlib import Path

import pytest

from dinoport.codebases.transformers import labels
from dinoport.codebases.transformers.labels import imagenet_1k, read_labels
from dinoport.errors import SettingError
from dinoport.request import Request

SPOT_CHECKS = {
    0: "tench, Tinca tinca",
    1: "goldfish, Carassius auratus",
    65: "sea snake",
    134: "crane",
    151: "Chihuahua",
    207: "golden retriever",
    281: "tabby, tabby cat",
    285: "Egyptian cat",
    388: "giant panda, panda, panda bear, coon bear, Ailuropoda melanoleuca",
    404: "airliner",
    517: "crane",
    638: "maillot",
    639: "maillot, tank suit",
    817: "sports car, sport car",
    920: "traffic light, traffic signal, stoplight",
    954: "banana",
    999: "toilet tissue, toilet paper, bathroom tissue",
}


def test_imagenet_has_its_thousand_names_in_order() -> None:
    names = imagenet_1k()
    assert len(names) == 1000
    assert {index: names[index] for index in SPOT_CHECKS} == SPOT_CHECKS
    assert len(set(names)) == 999
    assert all(name and name == name.strip() for name in names)


def test_imagenet_by_name() -> None:
    names = read_labels("imagenet-1k", 1000)
    assert list(names) == list(range(1000))
    assert names[999] == SPOT_CHECKS[999]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.json"


def refusal(path: Path | str, classes: int) -> str:
    with pytest.raises(SettingError) as caught:
        read_labels(str(path), classes)
    return str(caught.value)


def message(path: Path | str, expected: str, found: str) -> str:
    return (
        f"{path} does not name the classes of this classifier\n"
        f"  expected: {expected}\n"
        f"  found: {found}\n"
        "  try: give `labels='imagenet-1k'`, or a JSON list with one name a class"
    )


@pytest.mark.parametrize(
    "content",
    [
        ["cat", "dog", "été"],
        {"0": "cat", "1": "dog", "2": "été"},
        {"2": "été", "0": "cat", "1": "dog"},
        {"cat": 0, "dog": 1, "été": 2},
        {"model_type": "vit", "id2label": {"0": "cat", "1": "dog", "2": "été"}, "label2id": {"x": 0}},
        {"model_type": "vit", "label2id": {"cat": 0, "dog": 1, "été": 2}},
    ],
)
def test_every_form_of_a_file(content: object, path: Path) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    assert read_labels(str(path), 3) == {0: "cat", 1: "dog", 2: "été"}
    assert list(read_labels(str(path), 3)) == [0, 1, 2]
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    assert read_labels(str(path), 3)[2] == "été"


def test_names_that_look_like_numbers(path: Path) -> None:
    path.write_text(json.dumps(["1", "0"]))
    assert read_labels(str(path), 2) == {0: "1", 1: "0"}
    path.write_text(json.dumps({"0": "1", "1": "2"}))
    assert read_labels(str(path), 2) == {0: "1", 1: "2"}
    path.write_text(json.dumps({"1": 0, "2": 1}))
    assert read_labels(str(path), 2) == {0: "1", 1: "2"}


ALL = "one name for each class, 0 to 1"
FORM = "a list of names, or an object from class index to name"
INDEX = "a whole number as the index of each class"


@pytest.mark.parametrize(
    ("content", "expected", "found"),
    [
        ('["cat"]', ALL, "1 name"),
        ('["cat", "dog", "cow"]', ALL, "3 names"),
        ("[]", ALL, "0 names"),
        ("{}", ALL, "0 names"),
        ('{"0": "cat", "2": "dog"}', ALL, "no name for class 1, but one for class 2"),
        ('{"1": "cat", "2": "dog"}', ALL, "no name for class 0, but one for class 2"),
        ('{"cat": 0, "dog": 5}', ALL, "no name for class 1, but one for class 5"),
        ('{"0": "cat", "0": "dog"}', ALL, "class 0 more than once"),
        ('{"1": "cat", "01": "dog"}', ALL, "class 1 more than once"),
        ('{"cat": 1, "dog": 1}', ALL, "class 1 more than once"),
        ('["cat", "cat"]', "a name of its own for each class", "more than one class named cat"),
        ('{"cat": 0, "cat": 1}', "a name of its own for each class", "more than one class named cat"),
        ('["cat", 5]', "a name in words for class 1", "5"),
        ('["cat", null]', "a name in words for class 1", "null"),
        ('["cat", "\\ud800"]', "a name in words for class 1", '"\\ud800"'),
        ('["cat", "\\u001b[2J"]', "a name in words for class 1", '"\\u001b[2J"'),
        ("[" + "[]," * 500_000 + "[]]", "imagenet-1k, or a JSON file", "more than 500000 values"),
        ('["cat", " "]', "a name in words for class 1", '" "'),
        ('{"0": "cat", "1": ["dog"]}', "a name in words for class 1", '["dog"]'),
        ('{"cat": 0, "dog": true}', INDEX, '"cat"'),
        ('{"cat": -1, "dog": 0}', INDEX, '"cat"'),
        ('{"cat": 0.0, "dog": 1.0}', INDEX, '"cat"'),
        ('{"a": "cat", "b": "dog"}', INDEX, '"a"'),
        ('{"٠": "cat", "١": "dog"}', INDEX, '"٠"'),
        ('{"' + "1" * 5000 + '": "cat"}', INDEX, '"' + "1" * 59),
        ('"cat"', FORM, '"cat"'),
        ("null", FORM, "null"),
        ("[" * 100_000, FORM, "deep nesting"),
    ],
)
def test_what_does_not_name_each_class_once(content: str, expected: str, found: str, path: Path) -> None:
    path.write_text(content, encoding="utf-8")
    assert refusal(path, 2) == message(path, expected, found)


def test_many_missing_classes_are_not_all_listed(path: Path) -> None:
    path.write_text(json.dumps({str(index): f"name {index}" for index in range(10, 20)}))
    found = "no name for class 0, 1, 2, 3, 4, and 5 more, but one for class 10, 11, 12, 13, 14, and 5 more"
    assert refusal(path, 10) == message(path, "one name for each class, 0 to 9", found)


def test_unreadable_files(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    either = "imagenet-1k, or a JSON file"
    assert refusal("imagenet-21k", 2) == message("imagenet-21k", either, "no such file")
    assert f"expected: {either}\n  found: {tmp_path} cannot be read: Is a directory" in refusal(tmp_path, 2)
    path.write_text("cat\ndog\n")
    assert refusal(path, 2) == message(path, either, "Expecting value: line 1 column 1 (char 0)")
    path.write_bytes(b'["caf\xe9", "dog"]')
    assert "codec can't decode byte 0xe9" in refusal(path, 2)
    monkeypatch.setattr(labels, "MAX_FILE_BYTES", 10)
    path.write_text('["cat", "dog"]')
    assert refusal(path, 2) == message(path, either, "a file of more than 10 bytes")


def test_imagenet_for_another_count() -> None:
    assert refusal("imagenet-1k", 10) == message("imagenet-1k", "one name for each class, 0 to 9", "1000 names")


def test_imagenets_two_cranes_are_let_through_in_a_file_too(path: Path) -> None:
    path.write_text(json.dumps({"id2label": dict(enumerate(imagenet_1k()))}))
    assert read_labels(str(path), 1000) == dict(enumerate(imagenet_1k()))


def test_a_file_of_names_may_be_given_as_a_path(tmp_path: Path) -> None:
    """And is written into the report as the text that it is."""
    path = tmp_path / "names.json"
    path.write_text(json.dumps(["one", "two", "three"]))
    assert read_labels(path, 3) == read_labels(str(path), 3) == {0: "one", 1: "two", 2: "three"}
    assert Request(labels=path).to_dict() == Request(labels=str(path)).to_dict() == {"labels": str(path)}
    assert json.dumps(Request(labels=path, checkpoint_key="teacher").to_dict())
