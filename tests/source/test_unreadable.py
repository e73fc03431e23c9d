"""A source that can't be read refuses the run before anything is written, on any host."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra, ended, run
from support.servers import Database

from deploy.errors import RunRefused
from deploy.source.migrations import load

FINE = "CREATE TABLE fine ();"


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"1_a.sql.j2": "SELECT 1;\nSELECT {{ nope }};"}, "{}/1_a.sql.j2:2: template error: 'nope' is undefined"),
        ({"1_a.sql.j2": "SELECT {{ 1 / 0 }};"}, "{}/1_a.sql.j2:1: template error: division by zero"),
        (
            {"1_a.sql.j2": "SELECT 1;\n{% if %}"},
            "{}/1_a.sql.j2:2: template syntax error: Expected an expression, got 'end of statement block'",
        ),
        ({"1_a.sql.j2": "SELECT 1;\n{{ 1 | nope }}"}, "{}/1_a.sql.j2:2: template syntax error: No filter named 'nope'."),
        ({"1_a.sql.j2": b"SELECT 1;\n\xff"}, "{}/1_a.sql.j2: not valid UTF-8 at byte 10; save the file as UTF-8"),
        ({"1_a.sql": b"SELECT 1;\n\xff"}, "{}/1_a.sql: not valid UTF-8 at byte 10; save the file as UTF-8"),
        (
            {"1_a.sql": b"\xef\xbb\xbfSELECT 1;"},
            "{}/1_a.sql: starts with a byte order mark, which Postgres refuses; save the file without it",
        ),
        (
            {"1_a.sql.j2": b"\xef\xbb\xbfSELECT 1;"},
            "{}/1_a.sql.j2: starts with a byte order mark, which Postgres refuses; save the file without it",
        ),
        (
            {"1_a.sql": b"SELECT 1;\n\0SELECT 2;"},
            "{}/1_a.sql:2: holds a NUL character, at which libpq would cut the file; remove it",
        ),
        ({"1_a.sql": FINE, "001_b.sql": FINE}, "{}/1_a.sql: version 1 is also that of 001_b.sql; give one of them another version"),
        (
            {"1_a.sql": FINE, "1_b.up.sql": FINE},
            "{}/1_b.up.sql: version 1 is also that of 1_a.sql; give one of them another version",
        ),
        (
            {"1_a.sql": FINE, "1_a.sql.j2": FINE},
            "{}/1_a.sql.j2: version 1 is also that of 1_a.sql; give one of them another version",
        ),
        (
            {"1_a.sql": FINE, "foo_bar.sql": FINE},
            "{}/foo_bar.sql: 'foo' is not a version: SQLx wants a 64-bit integer before the first `_`; rename the file",
        ),
        (
            {"9223372036854775808_a.sql": FINE},
            "{}/9223372036854775808_a.sql: '9223372036854775808' is not a version: "
            "SQLx wants a 64-bit integer before the first `_`; rename the file",
        ),
        ({"1_a.sql": FINE, "2_b.sql": Path("nowhere")}, "{}/2_b.sql: symbolic link to nothing; repair or remove it"),
        (
            {"1_a.sql": FINE, "2_b\n.sql": FINE},
            "'{}/2_b\\n.sql': a file name with control characters or invalid UTF-8; rename the file",
        ),
        (
            {"1_a.sql": FINE, "2_b\udcff.sql": FINE},
            "'{}/2_b\\udcff.sql': a file name with control characters or invalid UTF-8; rename the file",
        ),
        ({}, "{}: holds no migration; SQLx wants files named VERSION_DESCRIPTION.sql"),
        ({"README.md": "none"}, "{}: holds no migration; SQLx wants files named VERSION_DESCRIPTION.sql"),
        ({"1_a.down.sql": FINE}, "{}: holds no migration; SQLx wants files named VERSION_DESCRIPTION.sql"),
    ],
)
def test_a_source_that_can_not_be_read_is_refused_with_file_and_line(
    tmp_path: Path, files: dict[str, str | bytes | Path], sentence: str
) -> None:
    folder = write(tmp_path / "source", files)
    with pytest.raises(RunRefused) as refused:
        load(folder)
    assert str(refused.value) == sentence.format(folder)


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", write(tmp_path / "source", {"1_a.sql": FINE}) / "1_a.sql"):
        with pytest.raises(RunRefused) as refused:
            load(path)
        assert str(refused.value) == f"{path}: no such folder of migrations; set `migrations` to one that exists"


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"1_a.sql": FINE, "2_b.sql.j2": "{{ nope }}"}, "{}/2_b.sql.j2:1: template error: 'nope' is undefined"),
        (None, "{}: no such folder of migrations; set `migrations` to one that exists"),
    ],
)
def test_a_host_whose_source_can_not_be_read_refuses_the_run_before_anything_is_written(
    pyinfra: Pyinfra, database: Database, neighbour: Database, tmp_path: Path, files: dict[str, str] | None, sentence: str
) -> None:
    folder = tmp_path / "source" if files is None else write(tmp_path / "source", files)
    before = database.dump(), neighbour.dump()
    hosts = {"@postgres/healthy": neighbour.data, "@postgres/one": {**database.data, "migrations": str(folder)}}

    result = run(pyinfra, hosts)

    assert (ended(result), result.code) == (sentence.format(folder), 1)
    assert (database.dump(), neighbour.dump()) == before


def test_checks_that_are_not_there_refuse_the_run_too(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = database.dump()
    for folder, sentence in {
        tmp_path / "none": "no such folder of checks; set `checks` to one that exists",
        tmp_path / "empty": "holds no check; a check is a file NAME.sql.j2 with one query",
    }.items():
        result = run(pyinfra, {"@postgres/one": database.data}, "-y", "deploy.apply", f"checks={folder}")

        assert (ended(result), result.code) == (f"{folder}: {sentence}", 1)
    assert database.dump() == before
