"""What `make fuzz` says of a target in one line; the process that fuzzes is libFuzzer's own."""

import re
from pathlib import Path

from tests.fuzz.targets import TARGETS
from tests.fuzz.watch import verdict

ROOT = Path(__file__).parents[2]

STATISTICS = """\
stat::number_of_executed_units: 16458
stat::average_exec_per_sec:     1371
stat::new_units_added:          91
stat::slowest_unit_time_sec:    0
stat::peak_rss_mb:              60
"""

CRASH = """\
 === Uncaught Python exception: ===
KeyError: 'a'
Test unit written to .fuzz/zip-crash-da39a3ee
Base64: AA==
"""


def test_success_is_told_in_figures():
    assert verdict("zip", 0, STATISTICS) == "16458 executions, 91 new inputs, 60 MB at most"


def test_a_failure_names_the_file_that_makes_it_again():
    again = "FAILED; again with: .venv-fuzz/bin/python -m tests.fuzz.run zip .fuzz/zip-crash-da39a3ee"
    assert verdict("zip", 77, CRASH) == again


def test_a_target_that_does_not_start_names_its_log():
    found = verdict("zip", 1, "ModuleNotFoundError: No module named 'dinoport'\n")
    assert found == "FAILED with exit code 1, before any input was kept; see .fuzz/zip.log"


def test_make_fuzzes_every_target():
    found = re.search(r"^FUZZ_TARGETS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    assert found[1].split() == list(TARGETS)
