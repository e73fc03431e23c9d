"""The table of what SQLx does with the names of files is what the real sqlx 0.8.6 does."""

from __future__ import annotations

from pathlib import Path

from support.files import write
from support.servers import Database
from support.sqlx import FATAL, IGNORED, NAMES, sqlx

FIVE = {"5_five.sql": "SELECT 1"}


def test_version_and_description_are_those_of_the_table_and_a_down_file_is_not_listed(tmp_path: Path, database: Database) -> None:
    got = {}
    for number, name in enumerate(NAMES):
        got[name] = sqlx(database, write(tmp_path / str(number), {name: "SELECT 1"}), "info").out
    want = {name: "" if kind == "down" else f"{version}/pending {about}\n" for name, (version, about, kind) in NAMES.items()}
    assert got == want


def test_sqlx_ignores_what_the_table_says(tmp_path: Path, database: Database) -> None:
    source = write(tmp_path / "s", {**FIVE, **dict.fromkeys(IGNORED, "SELECT 1")})
    assert sqlx(database, source, "info").out == "5/pending five\n"


def test_sqlx_refuses_what_the_table_says(tmp_path: Path, database: Database) -> None:
    codes = {}
    for number, name in enumerate(FATAL):
        codes[name] = sqlx(database, write(tmp_path / str(number), {**FIVE, name: "SELECT 1"}), "info").code
    assert codes == dict.fromkeys(FATAL, 1)
