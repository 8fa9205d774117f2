"""Every hostile file gets the outcome that is expected of it, as a user sees it, and touches nothing on the way.

`messages.txt` holds each refusal in full, to be read. After a change of wording:

    python -m tests.hostile.record
"""

from pathlib import Path

import numpy as np
import pytest

from tests import formula
from tests.hostile.material import ENTRIES, GOLDEN, MESSAGES, Outcome, entry_named, messages, unpacked

PAYLOAD = Path("/tmp/pwned-by-pickle")  # noqa: S108  # the name in the fixture

CONVERTED = {entry.name for entry in ENTRIES if entry.expected == "convert"} | {
    "four_input_channels.pth",  # with num_channels 4
    "mixed_dtypes.pth",  # and says so
    "scalars_among_tensors.pth",  # after leaving them out
    "whole_module.pth",  # its tensors opened as data
}

REMARKS = {
    "mixed_dtypes.pth": "weights of mixed dtypes are kept as they are (float16, float32)",
    "ok_module_prefix.pth": "prefix 'module.' stripped from 30 names",
}

MAX_SECONDS = 10.0
MAX_BYTES = 200_000_000


@pytest.fixture(scope="module")
def outcomes(guard, tmp_path_factory) -> dict[str, Outcome]:
    """What came of each file, in one go: a few hundredths of a second each."""
    folder = tmp_path_factory.mktemp("outcomes")
    return {entry.name: guard.convert(unpacked() / entry.name, folder / entry.name) for entry in ENTRIES}


@pytest.mark.parametrize("name", [entry.name for entry in ENTRIES])
def test_it_is_quick_and_small_and_touches_nothing_else(outcomes, name):
    outcome = outcomes[name]
    assert outcome.violations == []
    assert outcome.seconds < MAX_SECONDS
    assert outcome.peak_bytes < MAX_BYTES
    assert not PAYLOAD.exists()


@pytest.mark.parametrize("name", sorted(entry.name for entry in ENTRIES if entry.name not in CONVERTED))
def test_it_is_refused_with_one_message_and_leaves_nothing(outcomes, name):
    outcome = outcomes[name]
    assert "refuse" in entry_named(name).expected
    assert outcome.exit_code == 1
    assert outcome.stdout == ""
    assert outcome.left == []
    assert outcome.stderr == messages(MESSAGES.read_text())[name]


@pytest.mark.parametrize("name", sorted(CONVERTED))
def test_it_is_converted(outcomes, name):
    outcome = outcomes[name]
    assert "convert" in entry_named(name).expected
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.left == ["out"]
    assert outcome.stdout.startswith("verdict     transported exactly")
    assert REMARKS.get(name, "") in " ".join(outcome.stdout.split())


@pytest.mark.parametrize("name", sorted(entry.name for entry in ENTRIES if entry.golden))
def test_the_genuine_code_s_outputs_are_met(outcomes, name):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.ViTModel.from_pretrained(outcomes[name].folder / "out", attn_implementation="eager").float()
    with torch.no_grad():
        tokens = model(torch.from_numpy(formula.pixel_values(224, 224))).last_hidden_state.numpy()
    rounded = "tokens_weights_rounded_to_float16" if name == "ok_float16.pth" else "tokens"
    with np.load(unpacked() / GOLDEN) as golden:
        np.testing.assert_allclose(tokens, golden[f"224x224/{rounded}"], rtol=0, atol=1e-5)


def test_four_channels_stay_four(outcomes):
    config = (outcomes["four_input_channels.pth"].folder / "out" / "config.json").read_text()
    assert '"num_channels": 4' in config


def test_an_aliased_tensor_is_written_under_both_names(outcomes):
    from safetensors.numpy import load_file

    state = load_file(outcomes["ok_aliased.pth"].folder / "out" / "model.safetensors")
    first, second = (state[f"encoder.layer.{block}.layernorm_before.weight"] for block in (0, 1))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, formula.tensor("blocks.0.norm1.weight", (16,)))


def test_every_refusal_is_listed_and_every_payload_is_named():
    listed = messages(MESSAGES.read_text())
    assert sorted(listed) == sorted(entry.name for entry in ENTRIES if entry.name not in CONVERTED)
    named = {name: text for name, text in listed.items() if "which no checkpoint needs" in text}
    assert sorted(named) == sorted(entry.name for entry in ENTRIES if "/tmp/pwned" in entry.expected)  # noqa: S108  # the name in the fixture
    for name, text in named.items():
        assert ("eval" if "eval" in name else "posix.system") in text
