"""Every table against the recorded lists, which were derived from how both models behave (tests/fixtures/mapping)."""

from dataclasses import replace

import pytest

from dinoport.codebases.catalogue import NAMINGS, RELATIVES, UNTOLD
from dinoport.codebases.transformers.forms import CLASSES
from dinoport.mapping.encoding import encode
from tests.fixtures.mapping.cases import CASES, FOLDER, Case
from tests.mapping.recorded import entries_of, left_out_of, mutants, read, read_list, target_of

MUTANTS = {"dinov3_convnext": 60}
"""How many mutants there are at least, so that a test of none is noticed; 150 of the others."""

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

SHARED = tuple((case, family) for case in CASES for family in (case.family, *case.shared))

every_owner = pytest.mark.parametrize(("case", "family"), SHARED, ids=lambda each: getattr(each, "name", each))


def test_every_list_has_a_case_and_every_class_a_list() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == {case.path.name for case in CASES}
    assert {case.class_name for case in CASES} == CLASSES.keys()


def test_every_family_and_every_relative_has_a_list() -> None:
    own = {naming.family for naming in NAMINGS if naming.family}
    relatives = {name for names in RELATIVES.values() for name in names}
    assert {family for _, family in SHARED} == own | relatives | {*UNTOLD.values()}


@every_owner
def test_the_table_does_what_was_recorded(case: Case, family: str) -> None:
    model, listed = read(replace(case, family=family)), read_list(case)
    target = target_of(model, case.class_name)
    encoding = encode(model.tensors, target.rules)
    assert encoding.problems == ()
    assert (target.form, model.family.name) == (listed["class"], family)
    assert listed["family"] == case.family
    assert entries_of(encoding.plan, case.shapes()) == listed["entries"]
    recorded = [{key: line[key] for key in line if key != "outputs_depend_on_it"} for line in listed["left_out"]]
    assert left_out_of(encoding.plan, case.shapes()) == recorded


@cases
def test_the_config_says_what_the_list_was_recorded_with(case: Case) -> None:
    config = target_of(read(case), case.class_name).config
    expected = {field: value for field, value in case.config.items() if field != "num_labels"}
    assert {field: config.get(field) for field in expected} == expected


@cases
def test_nothing_is_left_out_that_outputs_depend_on(case: Case) -> None:
    """But for what the class computes anew from its config: rotary periods, and which biases a mask switches off."""
    depending = {line["source"] for line in read_list(case)["left_out"] if line["outputs_depend_on_it"]}
    assert {name.rpartition(".")[2] for name in depending} <= {"periods", "bias_mask"}


@cases
def test_no_mutant_of_a_table_passes(case: Case) -> None:
    """Two targets of one shape swapped, all pairs. Only the rules that differ are applied: the others give the same."""
    model, shapes = read(case), case.shapes()
    originals, listed = model.tensors, {entry["target"]: entry for entry in read_list(case)["entries"]}
    count = 0
    for mutant in mutants(target_of(model, case.class_name).rules, originals):
        sources = {rule.source.template for rule in mutant.rules if rule.source}
        encoding = encode({name: originals[name] for name in originals if name in sources}, mutant.rules)
        assert encoding.problems == ()
        assert any(entry != listed[entry["target"]] for entry in entries_of(encoding.plan, shapes)), mutant.swapped
        count += 1
    assert count >= MUTANTS.get(case.family, 150)
