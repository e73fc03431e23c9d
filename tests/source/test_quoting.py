"""The two filters against the server that reads what they write."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from support.servers import Database

from deploy.statements.rendering import Templates

NAMES = [
    'ba"z',
    "o'x",
    "\\",
    "\\'; DROP TABLE x; --",
    "select",
    "user",
    "Mixed Case",
    "%s %(a)s %",
    "{{ x }}",
    "$$",
    "🐘",
    "é" * 31 + "x",
    "x" * 63,
    " ",
    "a\nb",
]


@pytest.mark.parametrize("scs", ["on", "off"])
def test_every_name_and_value_comes_back_from_the_server_as_it_was(database: Database, tmp_path: Path, scs: str) -> None:
    """With standard_conforming_strings off too, where a backslash means something. (PostgreSQL 19 has no `off` any more.)"""
    (tmp_path / "x.sql.j2").write_text("SELECT {{ value | literal }} AS {{ value | ident }}")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("SET standard_conforming_strings = " + scs)
        for name in NAMES:
            cursor = connection.execute(Templates(tmp_path).render("x.sql.j2", value=name).encode())
            assert cursor.description is not None
            assert (cursor.description[0].name, cursor.fetchone()) == (name, (name,))


def test_one_byte_more_than_63_is_cut_by_the_server_which_is_why_settings_refuse_it(database: Database, tmp_path: Path) -> None:
    (tmp_path / "x.sql.j2").write_text("SELECT 1 AS {{ value | ident }}")
    with psycopg.connect(database.url) as connection:
        cursor = connection.execute(Templates(tmp_path).render("x.sql.j2", value="x" * 64).encode())
        assert cursor.description is not None
        assert cursor.description[0].name == "x" * 63
