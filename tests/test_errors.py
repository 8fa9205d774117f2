"""How an error is shown, whatever the file that it quotes has put into it."""

from dinoport.errors import MAX_LINE_CHARACTERS, CheckpointError, PlanError, printable


def test_the_parts_in_order_and_those_that_are_missing_left_out():
    error = CheckpointError("what", where="here", expected="this", found="that", cause="why", next_step=("do", "this"))
    assert str(error) == (
        "what\n  where: here\n  expected: this\n  found: that\n  likely cause: why\n  try: do\n       this"
    )
    assert str(CheckpointError("what", found="that")) == "what\n  found: that"
    assert str(CheckpointError("what")) == "what"


def test_problems_are_listed():
    error = PlanError("what", ["one", "two\x1b"], next_step="do")
    assert str(error) == "what\n  - one\n  - two\\x1b\n  try: do"


def test_hundreds_of_problems_are_counted():
    many = PlanError("what", [str(place) for place in range(300)], next_step="do")
    *_, last, left, step = str(many).split("\n")
    assert (last, left, step) == ("  - 23", "  - and 276 more", "  try: do")
    assert len(many.problems) == 300


def test_nothing_that_moves_a_cursor_or_hides_text_gets_through():
    hostile = "a\x1b[2J\rb\nc\x07\x9b\u202e\u200b\ud800\x7f"
    assert printable(hostile) == r"a\x1b[2J\rb\nc\x07\x9b\u202e\u200b\ud800\x7f"
    error = CheckpointError(hostile, where=hostile, expected=hostile, found=hostile, cause=hostile)
    assert all(line.isprintable() for line in str(error).split("\n"))
    assert len(str(error).split("\n")) == 5


def test_what_people_write_is_left_as_it_is():
    text = "blocks.{0…11}.norm1 ≤ 日本 'é' C:\\models"
    assert printable(text) == text


def test_a_line_has_an_end():
    assert printable("a" * 10**6) == "a" * MAX_LINE_CHARACTERS + " …"
