"""Every command on every hostile file, given for a source, a folder and a picture: one message, and nothing touched."""

from collections.abc import Mapping

import pytest

from tests.hostile.material import ENTRIES, HEADS, SOUND, Outcome, picture, unpacked
from tests.hostile.test_goldens import CONVERTED, MAX_BYTES, MAX_SECONDS, PAYLOAD

FULL = "out"
"""A sound folder, made from the sound file."""

COMMANDS: Mapping[str, list[str]] = {
    "inspect": ["inspect", "HOSTILE", *HEADS],
    "plan": ["convert", "HOSTILE", "NEW", "--dry-run", *HEADS],
    "way back": ["convert", "HOSTILE", "NEW", "--to", "original", "--verify", "exact", *HEADS],
    "verify a source": ["verify", "HOSTILE", "SOUND", "--verify", "exact"],
    "verify a file": ["verify", "FILE", "HOSTILE", "--verify", "exact", *HEADS],
    "visualize a folder": ["visualize", "HOSTILE", "PICTURE", "--out", "NEW"],
    "visualize a picture": ["visualize", "SOUND", "HOSTILE", "--out", "NEW"],
}

WRITTEN = {("way back", "ok_module_prefix.pth")}
"""All others of the sound ones have the original's names already."""

SHOWN_BY_VALUES = {"flipped_bit_in_data.pth", "meta_weight.pth", "nan.pth"}
"""What is wrong with these shows when values are read, which a plan does not."""

SAME_TENSORS = {
    "ok.safetensors", "ok_bigendian.pth", "ok_cuda_location.pth", "ok_legacy_nonzip.pth", "ok_module_prefix.pth",
    "ok_noncontiguous.pth", "ok_parameters.pth", "ok_zip.pth", "scalars_among_tensors.pth", "whole_module.pth",
}  # fmt: skip
"""As the sound file, in other containers: to torch.load too, where it opens them without running what is in them."""


@pytest.fixture(scope="module")
def outcomes(guard, tmp_path_factory) -> dict[tuple[str, str], Outcome]:
    folder = tmp_path_factory.mktemp("commands")
    guard.convert(unpacked() / SOUND, folder / "sound")
    found = {}
    for number, (command, words) in enumerate(COMMANDS.items()):
        for entry in ENTRIES:
            new, hostile = folder / f"{number}-{entry.name}", unpacked() / entry.name
            paths = {
                "HOSTILE": hostile,
                "NEW": new / "made",
                "SOUND": folder / "sound" / FULL,
                "FILE": unpacked() / SOUND,
                "PICTURE": picture(),
            }
            argv = [str(paths.get(word, word)) for word in words]
            readable = [path for path in paths.values() if str(path) in argv]
            found[command, entry.name] = guard.run(argv, hostile, new, *readable)
    return found


def of(outcomes: dict[tuple[str, str], Outcome], command: str) -> dict[str, Outcome]:
    return {name: outcome for (each, name), outcome in outcomes.items() if each == command}


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_quick_and_small_and_touches_nothing_else(outcomes, command):
    for name, outcome in of(outcomes, command).items():
        assert outcome.violations == [], name
        assert outcome.left == (["made"] if (command, name) in WRITTEN else []), name
        assert outcome.seconds < MAX_SECONDS, name
        assert outcome.peak_bytes < MAX_BYTES, name
    assert not PAYLOAD.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_refused_is_one_message(outcomes, command):
    for name, outcome in of(outcomes, command).items():
        if outcome.exit_code in (0, 3):
            assert outcome.stdout, name
            assert outcome.stderr == "", name
        else:
            assert outcome.exit_code == 1, name
            assert outcome.stdout == "", name
            assert outcome.stderr.startswith("error: "), name
            assert outcome.stderr.count("\nerror: ") == 0, name
        said = outcome.stdout + outcome.stderr
        assert "what it did not expect" not in said, name
        assert "Traceback" not in said, name
        assert all(line.isprintable() for line in said.split("\n")), name


@pytest.mark.parametrize("command", ["visualize a folder", "visualize a picture"])
def test_none_of_them_is_a_folder_or_a_picture(outcomes, command):
    assert {name: outcome.exit_code for name, outcome in of(outcomes, command).items()} == {
        entry.name: 1 for entry in ENTRIES
    }


def test_the_original_s_names_are_given_to_what_has_others_alone(outcomes):
    found = of(outcomes, "way back")
    assert {("way back", name) for name, outcome in found.items() if outcome.exit_code == 0} == WRITTEN
    refused = {name for name, outcome in found.items() if "has the original's names already" in outcome.stderr}
    assert refused >= CONVERTED - {name for _, name in WRITTEN}


def test_what_can_be_converted_can_be_planned(outcomes):
    planned = {name for name, outcome in of(outcomes, "plan").items() if outcome.exit_code == 0}
    assert planned == CONVERTED | SHOWN_BY_VALUES


def test_only_what_holds_the_same_tensors_is_called_equal(outcomes):
    equal = {name for name, outcome in of(outcomes, "verify a source").items() if outcome.exit_code == 0}
    assert equal == SAME_TENSORS
    assert "is another file than the one that was converted" not in of(outcomes, "verify a source")[SOUND].stdout
    others = [outcome.stdout for name, outcome in of(outcomes, "verify a source").items() if name in equal - {SOUND}]
    told = [" ".join(text.split()) for text in others]
    assert all("is another file than the one that was converted" in text for text in told)


def test_only_a_file_with_the_same_tensors_is_called_equal_to_a_file(outcomes):
    codes = {name: outcome.exit_code for name, outcome in of(outcomes, "verify a file").items()}
    assert {name for name, code in codes.items() if code == 0} == SAME_TENSORS
    assert {code for name, code in codes.items() if name in CONVERTED - SAME_TENSORS} == {3}
    told = " ".join(of(outcomes, "verify a file")[SOUND].stdout.split())
    assert f"only the tensors of {SOUND} and {SOUND} were compared" in told
