"""Checks: a file in a folder, one query, and what it may say of its rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.files import write

from deploy.errors import RunRefused
from deploy.problems import Problem
from deploy.source import checks
from deploy.source.checks import Check

QUERY = "SELECT {{ schema | literal }} AS object, '' AS expected, '' AS actual"


def test_a_file_dropped_into_the_folder_of_checks_is_a_check(tmp_path: Path) -> None:
    folder = write(tmp_path, {"mine.sql.j2": f"{QUERY};\n", "README.md": "no check"})
    (check,) = checks.load(folder, schema="a'b")
    assert check == Check("mine", "mine.sql", "SELECT 'a''b' AS object, '' AS expected, '' AS actual", about="")
    fragments = checks.fragments([check])
    assert [fragment.name for fragment in fragments] == ["mine.sql"] * 3
    assert fragments[1].sql == check.sql


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("-- about: tables\nSELECT 1", "tables"),
        ("-- What it looks at.\n-- about: around\nSELECT 1", "around"),
        ("-- What it looks at.\nSELECT 1\n-- about: tables", ""),
    ],
)
def test_its_first_comment_lines_say_what_its_rows_are_about(tmp_path: Path, text: str, about: str) -> None:
    (check,) = checks.load(write(tmp_path, {"x.sql": text}))
    assert check.about == about


def test_about_something_unknown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunRefused) as refused:
        checks.load(write(tmp_path, {"x.sql": "-- about: table\nSELECT 1"}))
    assert refused.value.problem == Problem(
        "source", f"{tmp_path / 'x.sql'}: `-- about: table` is unknown", "write one of tables, definition, around, or no such line"
    )


def test_the_packaged_checks_are_about_what_stands_around_the_tables() -> None:
    variables = dict.fromkeys(("schema", "owner", "ledger", "ledger_schema", "ledger_table", "private_schema"), "x")
    got = {check.name: check.about for check in checks.load(checks.packaged(), **variables)}
    assert got == {"owners": "around", "schema_privileges": "around", "search_path": "around"}


def test_a_check_that_renders_to_no_query_is_off(tmp_path: Path) -> None:
    folder = write(tmp_path, {"a.sql": "SELECT 1", "b.sql.j2": "-- about: around\n{% if wanted %}SELECT 2{% endif %}\n\n"})
    assert [check.name for check in checks.load(folder, wanted=False)] == ["a"]
    assert [check.name for check in checks.load(folder, wanted=True)] == ["a", "b"]
