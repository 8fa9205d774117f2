"""Files that are made to exhaust memory, time or the stack: refused within limits, with the reason."""

import pytest

from tests.hostile import attacks

MAX_SECONDS = 10.0
MAX_BYTES = 200_000_000

FOUND = {
    "many_sets": "more than 500000 objects at byte",
    "many_floats": "more than 1000000 objects at once at byte",
    "wide_text": "a str",
    "copied_text": "more than 500000 objects at byte",
    "copied_by_OrderedDict": "an instruction that does not fit its arguments (ValueError) at byte",
    "copied_by_set": "more than 500000 objects at byte",
    "copied_by_Size": "an instruction that does not fit its arguments (ValueError) at byte",
    "copied_by_Counter": "an instruction that does not fit its arguments (ValueError) at byte",
    "long_arguments": "an instruction that does not fit its arguments (TypeError) at byte",
    "doubled_key": "a tuple of more than 32 parts as a key at byte",
    "doubled_shape": "shape (((...), (...)), ((...), (...))), strides (4, 1), offset 0",
    "doubled_storage": "a reference that names no storage: (((...), (...)), ((...), (...)))",
    "doubled_storage_name": "a storage without a name or a size: ('storage', ",
    "doubled_tree": "a dict with the keys 'state_dict'",
    "colliding_integers": "a number of more than 64 bits as a key at byte",
    "colliding_tuples": "more than 2000 tuples as keys at byte",
    "colliding_memo": "a memo of 2.31e+18 entries at byte",
    "colliding_pairs": "an instruction that does not fit its arguments (ValueError) at byte",
    "deep_lists": "a list",
    "deep_objects": "an object of class module.Class",
    "list_within_itself": "a dict with the keys 'state_dict'",
    "endless_shape": "shape (4611686018427387904, ",
    "long_numbers": "a text line without an end at byte 2",
    "many_tensors": "more than 500000 objects at byte",
    "shared_tensor": "49001 tensors of 822100361216 bytes in a file of ",
    "shared_module": "modules that nest too deep or share too much",
    "module_within_itself": "modules that nest too deep or share too much",
    "many_paths": "1 tensor: w",
    "long_names": "an impossible name: 'bbbbbbbbbbbb",
    "many_lists": "in its header, more than 500000 values",
    "many_dicts": "in its header, more than 500000 values",
    "many_numbers": "in its header, more than 500000 values",
    "many_texts": "in its header, more than 500000 values",
    "many_values_within_limits": "an entry a without dtype, shape and data_offsets",
    "many_names": "450000 tensors",
    "long_integer": "in its header, a number of 15000000 digits",
    "long_float": "in its header, a number of 15000002 digits",
    "wide_name": "an impossible name: '🦕aaaaaaaaaaaaa",
    "escapes": "an impossible name: 'AAAAAAAAAAAAA",
    "deep_dicts": "in its header, values that nest too deep",
    "doubled_names": "in its header, two values of the name '0'",
}


@pytest.mark.parametrize("name", FOUND)
def test_it_is_refused_within_limits(guard, tmp_path, name):
    source = tmp_path / "file.pth"
    source.write_bytes(attacks.FILES[name]())
    outcome = guard.convert(source, tmp_path / "target")
    assert outcome.exit_code == 1
    assert outcome.violations == []
    assert outcome.left == []
    assert outcome.seconds < MAX_SECONDS
    assert outcome.peak_bytes < MAX_BYTES
    assert f"  found: {FOUND[name]}" in outcome.stderr


def test_every_attack_is_tried():
    assert set(FOUND) == set(attacks.FILES)


def test_pairs_of_one_hash_are_that():
    assert len({hash(pair) for pair in attacks.pairs_of_one_hash(50)}) == 1
