"""JSON within limits; how the messages look in context is tested with the readers that use it."""

import json

import pytest

from dinoport.files import json_text
from dinoport.files.json_text import parse_object


def test_what_is_sound_is_parsed_as_the_standard_library_does():
    text = '{"a": [1, -2, 3.5e-6, true, false, null, "é\\u00e9\\n"], "b": {"c": {}}, "d": 18446744073709551616}'
    assert parse_object(text.encode()) == json.loads(text)


def test_values_are_counted_before_they_are_made(monkeypatch):
    monkeypatch.setattr(json_text, "MAX_VALUES", 5)
    assert parse_object(b'{"a": [1, 2, 3]}') == {"a": [1, 2, 3]}
    with pytest.raises(ValueError, match=r"^more than 5 values$"):
        parse_object(b'{"a": [1, 2, 3, 4, 5]}')


@pytest.mark.parametrize("number", ["1" * 65, "1." + "1" * 64, "-" + "9" * 64, "1e" + "9" * 63])
def test_numbers_of_many_digits(number):
    with pytest.raises(ValueError, match=r"^a number of 6[5-6] digits$"):
        parse_object(b'{"a": ' + number.encode() + b"}")


def test_the_name_that_stands_twice_is_told():
    with pytest.raises(ValueError, match=r"^two values of the name 'b'$"):
        parse_object(b'{"a": {"b": 1, "c": 2, "b": 3}}')


@pytest.mark.parametrize("number", ["1e309", "-1e999"])
def test_numbers_beyond_all_floats(number):
    with pytest.raises(ValueError, match=f"^the number {number}, which is beyond all floats$"):
        parse_object(b'{"a": ' + number.encode() + b"}")


def test_values_that_nest_deeper_than_they_could_be_shown():
    assert parse_object(b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}")
    for depth in (64, 900, 100_000):
        with pytest.raises(ValueError, match=r"^values that nest too deep$"):
            parse_object(b'{"a": ' + b"[" * depth + b"]" * depth + b"}")
