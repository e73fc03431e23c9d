"""sqlx.toml beside a source: names are read as Postgres reads them, and what can't be read is refused with file and key."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from deploy import migrations, sqlx_toml
from deploy.errors import Refused
from deploy.sqlx_toml import SqlxToml


def write(folder: Path, text: str) -> Path:
    (folder / "sqlx.toml").write_text(text, encoding="utf-8")
    return folder


def test_without_a_file_the_defaults_are_those_of_sqlx(tmp_path: Path) -> None:
    got = sqlx_toml.load(tmp_path)
    assert got == SqlxToml(ledger_schema=None, ledger_table="_sqlx_migrations", create_schemas=(), ignored_chars="")


@pytest.mark.parametrize(
    ("name", "schema", "table"),
    [
        ("_migrations", None, "_migrations"),
        ("Foo.Bar", "foo", "bar"),
        ('foo."Ba""r"', "foo", 'Ba"r'),
        ('"a.b" . c', "a.b", "c"),
    ],
)
def test_a_table_name_is_read_as_postgres_reads_it(tmp_path: Path, name: str, schema: str | None, table: str) -> None:
    got = sqlx_toml.load(write(tmp_path, f"[migrate]\ntable-name = '{name}'\n"))
    assert (got.ledger_schema, got.ledger_table) == (schema, table)


def test_keys_that_are_about_other_things_are_left_alone(tmp_path: Path) -> None:
    text = "[common]\ndatabase-url-var = 'X'\n[migrate]\nmigrations-dir = 'x'\n[migrate.defaults]\nmigration-type = 'simple'\n"
    assert sqlx_toml.load(write(tmp_path, text)) == SqlxToml()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[migrate\n", "can't be read: "),
        ("migrate = 3", "`migrate` is no table; write it as [migrate]"),
        ("[migrate]\ntable-name = 'a b'", "table-name: 'a b' is no name that Postgres can read; quote it as in SQL"),
        ("[migrate]\ntable-name = 'a; DROP TABLE b'", "table-name: 'a; DROP TABLE b' is no name that Postgres can read"),
        ("[migrate]\ntable-name = 3", "table-name: 3 is no name that Postgres can read; quote it as in SQL"),
        ("[migrate]\ncreate-schemas = ['a.b']", "create-schemas: 'a.b' is no name that Postgres can read; quote it as in SQL"),
        ("[migrate]\ncreate-schemas = 'a'", "create-schemas: 'a' is no list of texts"),
        ("[migrate]\nignored-chars = ['ab']", "ignored-chars: 'ab' is not one character"),
    ],
)
def test_what_can_not_be_read_is_refused_with_file_and_key(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        sqlx_toml.load(write(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path / 'sqlx.toml'}: {reason}")


def test_ignored_characters_are_left_out_of_the_checksum_and_not_of_the_sql(tmp_path: Path) -> None:
    write(tmp_path, '[migrate]\nignored-chars = ["\\r", " "]\n')
    source = tmp_path / "migrations"
    source.mkdir()
    (source / "1_a.sql").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
    (got,) = migrations.load(source).migrations
    assert got.sql == "SELECT 1;\r\nSELECT 2;\r\n"
    assert got.checksum == hashlib.sha384(b"SELECT1;\nSELECT2;\n").digest()
