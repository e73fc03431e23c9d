"""Error positions in a message of several parts, and answers on their way through pyinfra's text output."""

from __future__ import annotations

import json

import pytest

from deploy.connection.message import Answer, Fragment, Message, locate
from deploy.errors import SqlError

PARTS = (
    Fragment("BEGIN;\n"),
    Fragment("SELECT 1;\nSELECT é, wrong;\r\n", "a.sql"),
    Fragment("", "empty.sql"),
    Fragment("COMMIT", "b.sql"),
)
WHOLE = "".join(part.sql for part in PARTS)


@pytest.mark.parametrize(
    ("word", "want"),
    {
        "BEGIN": (None, 1, 1, "BEGIN;"),
        "SELECT 1": ("a.sql", 1, 1, "SELECT 1;"),
        "SELECT é": ("a.sql", 2, 1, "SELECT é, wrong;"),
        "wrong": ("a.sql", 2, 11, "SELECT é, wrong;"),
        "COMMIT": ("b.sql", 1, 1, "COMMIT"),
    }.items(),
)
def test_a_position_is_given_in_the_part_that_holds_it(word: str, want: object) -> None:
    assert locate(PARTS, WHOLE.index(word) + 1) == want


def test_a_position_at_the_end_of_input_is_in_the_last_part() -> None:
    assert locate(PARTS, len(WHOLE) + 1) == ("b.sql", 1, 7, "COMMIT")


def test_a_script_is_one_message_of_its_parts() -> None:
    script = Message("BEGIN;\n", Fragment("SELECT 1;", "a.sql"))
    assert script.get_raw_value() == "BEGIN;\nSELECT 1;"
    assert script.answer.error == SqlError("not run yet")


@pytest.mark.parametrize(
    "answer",
    [Answer(), Answer(rows=({"a": 1, "b": None}, {"a": "é"})), Answer(error=SqlError("no", "42P01", line=1, column=2, text="x"))],
)
def test_an_answer_survives_its_way_through_text(answer: Answer) -> None:
    assert Answer.from_json(json.dumps(answer.to_json())) == answer


def test_a_column_is_that_of_the_last_row_that_has_it() -> None:
    answer = Answer(rows=({"a": 1}, {"a": 2}, {"b": 3}))
    assert answer.value("a") == 2
    with pytest.raises(KeyError):
        answer.value("c")


def test_an_error_is_shown_with_its_place_the_line_and_a_caret() -> None:
    error = SqlError("ERROR: no", "42703", "why", "try\nthis", name="a.sql", line=2, column=11, text="SELECT\té, wrong;")
    assert error.lines() == [
        "a.sql:2:11: 42703: ERROR: no",
        "    SELECT é, wrong;",
        "              ^",
        "DETAIL: why",
        "HINT: try this",
    ]


def test_a_long_line_is_shown_around_its_column() -> None:
    error = SqlError("ERROR: no", "42703", line=1, column=1001, text="x" * 1000 + "y" + "x" * 1000)
    _, shown, caret = error.lines()
    assert len(shown) <= 104
    assert shown[caret.index("^")] == "y"
