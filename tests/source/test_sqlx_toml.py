"""sqlx.toml beside a source: the ledger's name, schemas to create, characters that a checksum ignores; and what can't be read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra
from support.project import MIGRATION
from support.servers import Database
from support.sqlx import HOST, deploy, ledger, sqlx

from deploy.errors import RunRefused
from deploy.source import checks, migrations, sqlx_toml
from deploy.source.sqlx_toml import SqlxToml


def project(folder: Path, toml: str, files: dict[str, str]) -> Path:
    write(folder, {"sqlx.toml": toml})
    return write(folder / "migrations", files)


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
    got = sqlx_toml.load(write(tmp_path, {"sqlx.toml": f"[migrate]\ntable-name = '{name}'\n"}))
    assert (got.ledger_schema, got.ledger_table) == (schema, table)


def test_keys_that_are_about_other_things_are_left_alone(tmp_path: Path) -> None:
    text = "[common]\ndatabase-url-var = 'X'\n[migrate]\nmigrations-dir = 'x'\n[migrate.defaults]\nmigration-type = 'simple'\n"
    assert sqlx_toml.load(write(tmp_path, {"sqlx.toml": text})) == SqlxToml(migrations_dir="x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[migrate\n", "can't be read: "),
        ("migrate = 3", "`migrate` must be a table; write it as [migrate]"),
        ("[migrate]\ntable-name = 'a b'", "table-name: 'a b' is not a valid identifier; quote it as in SQL"),
        ("[migrate]\ntable-name = 'a; DROP TABLE b'", "table-name: 'a; DROP TABLE b' is not a valid identifier"),
        ("[migrate]\ntable-name = 3", "table-name: 3 is not a valid identifier; quote it as in SQL"),
        ("[migrate]\ncreate-schemas = ['a.b']", "create-schemas: 'a.b' is not a valid identifier; quote it as in SQL"),
        ("[migrate]\ncreate-schemas = 'a'", "create-schemas: 'a' must be a list of strings"),
        ("[migrate]\nignored-chars = ['ab']", "ignored-chars: 'ab' is not one character"),
    ],
)
def test_what_can_not_be_read_is_refused_with_file_and_key(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(RunRefused) as caught:
        sqlx_toml.load(write(tmp_path, {"sqlx.toml": text}))
    assert str(caught.value).startswith(f"{tmp_path / 'sqlx.toml'}: {reason}")


def test_ignored_characters_are_left_out_of_the_checksum_and_not_of_the_sql(tmp_path: Path) -> None:
    source = project(tmp_path, '[migrate]\nignored-chars = ["\\r", " "]\n', {"1_a.sql": "SELECT 1;\r\nSELECT 2;\r\n"})
    (got,) = migrations.load(source).migrations
    assert got.sql == "SELECT 1;\r\nSELECT 2;\r\n"
    assert got.checksum == hashlib.sha384(b"SELECT1;\nSELECT2;\n").digest()


def test_the_ledger_has_the_name_and_the_schema_of_table_name(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    """The real sqlx, with that schema first in its path, finds our ledger there and has nothing to do."""
    toml = '[migrate]\ntable-name = "service._sqlx_migrations"\ncreate-schemas = ["service", "more"]\n'
    source = project(tmp_path / "p", toml, {"1_a.sql": "CREATE TABLE public.a ()", "2_b.sql": "CREATE TABLE service.b ()"})
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert got.code == 0, got.out
    assert len(ledger(database, "service._sqlx_migrations")) == 2
    assert database.psql("SELECT to_regclass('public._sqlx_migrations'), to_regnamespace('more')") == "|more"
    assert sqlx(database, source, "info", search_path="service").out == "1/installed a\n2/installed b\n"
    assert sqlx(database, source, "run", search_path="service").out == ""
    again = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert (again.code, again.change("Migrate")) == (0, "no change")


def test_an_unqualified_table_name_is_looked_up_in_schema(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    database.psql("CREATE SCHEMA s")
    source = project(tmp_path / "p", "[migrate]\ntable-name = '\"My Ledger\"'\n", {"1_a.sql": "CREATE TABLE a ()"})
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source), schema="s").code == 0
    assert len(ledger(database, 's."My Ledger"')) == 1
    assert deploy(pyinfra, database, "deploy.revert", migrations=str(source), schema="s").code == 1


def test_the_schema_itself_may_be_one_that_sqlx_toml_creates(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = project(tmp_path / "p", '[migrate]\ncreate-schemas = ["tenant"]\n', {"1_a.sql": "CREATE TABLE a ()"})
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source), schema="tenant")
    assert got.code == 0, got.out
    assert (
        database.psql("SELECT to_regclass('tenant.a'), to_regclass('tenant._sqlx_migrations')")
        == "tenant.a|tenant._sqlx_migrations"
    )


def test_with_carriage_returns_ignored_the_checksum_is_that_of_the_other_line_ends(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    """We apply the CRLF files; the real sqlx, with the LF files, has nothing to do."""
    windows = project(tmp_path / "w", '[migrate]\nignored-chars = ["\\r"]\n', {"1_a.sql": "CREATE TABLE a ();\r\nSELECT 1;\r\n"})
    unix = write(tmp_path / "u", {"1_a.sql": "CREATE TABLE a ();\nSELECT 1;\n"})
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(windows)).code == 0
    assert sqlx(database, unix, "run").code == 0
    assert sqlx(database, windows, "run").code == 1, "0.8.6 knows no ignored-chars, so the bytes do differ"


def test_what_is_said_of_a_renamed_ledger_names_it(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    """The dirty row, and with the packaged checks its owner."""
    other = f"other_{database.name}"
    database.psql(f"CREATE SCHEMA s; CREATE ROLE {other}")
    source = project(tmp_path / "p", "[migrate]\ntable-name = '\"My Ledger\"'\n", {"1_a.sql": MIGRATION.read_text("utf-8")})
    data = {"migrations": str(source), "schema": "s", "owner": "postgres", "checks": str(checks.packaged())}
    assert deploy(pyinfra, database, "deploy.apply", **data).code == 0
    database.psql('UPDATE s."My Ledger" SET success = false')
    database.psql(f'ALTER TABLE s."My Ledger" OWNER TO {other}')
    got = deploy(pyinfra, database, "deploy.apply", **data)
    want = "migration 1 is partially applied; fix and remove row from `My Ledger` table; then run deploy.apply again"
    assert (got.code, want in got.lines(HOST)) == (1, True), got.out
    got = deploy(pyinfra, database, "deploy.verify", **data)
    assert f"violation: My Ledger: expected owner postgres, found owner {other}" in got.lines(HOST), got.out


CRATE = """[migrate]
migrations-dir = "db/migrations"
table-name = "_billing_migrations"
"""


@pytest.mark.parametrize("named", ["crate", "crate/db/migrations"])
def test_a_crate_and_its_folder_lead_to_the_ledger_that_the_crates_sqlx_toml_names(
    pyinfra: Pyinfra, database: Database, tmp_path: Path, named: str
) -> None:
    """The service has migrated with its own `table-name`: nothing is applied again, and the file that was used is named."""
    write(tmp_path / ".git", {})
    write(tmp_path / "crate", {"sqlx.toml": CRATE, "Cargo.toml": ""})
    source = write(
        tmp_path / "crate" / "db" / "migrations", {"1_a.sql": "CREATE TABLE a (n int)", "2_b.sql": "INSERT INTO a VALUES (1)"}
    )
    assert sqlx(database, source, "run").code == 0
    database.psql("ALTER TABLE _sqlx_migrations RENAME TO _billing_migrations")
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(tmp_path / named))
    assert (got.code, got.change("Migrate")) == (0, "no change"), got.out
    toml = tmp_path / "crate" / "sqlx.toml"
    assert f'{toml} names {source} and is used: its ledger is "public"."_billing_migrations"' in got.lines(HOST)
    assert database.psql("SELECT count(*) FROM a; SELECT to_regclass('_sqlx_migrations')") == "1"


def test_a_sqlx_toml_that_names_another_folder_or_stands_outside_the_repository_is_not_used(tmp_path: Path) -> None:
    table = "[migrate]\ntable-name = 'outside'\nmigrations-dir = 'repository/service/migrations'\n"
    write(tmp_path, {"sqlx.toml": table})
    write(tmp_path / "repository" / ".git", {})
    source = write(tmp_path / "repository" / "service" / "migrations", {"1_a.sql": "SELECT 1"})
    assert migrations.load(source).sqlx == SqlxToml()
    other = write(tmp_path / "repository" / "service" / "other", {"1_a.sql": "SELECT 1"})
    write(other.parent, {"sqlx.toml": "[migrate]\ntable-name = 'theirs'\nmigrations-dir = 'other'\n"})
    assert migrations.load(source).sqlx == SqlxToml(), "it names the other folder"
    assert migrations.load(other).sqlx.ledger_table == "theirs"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("3", "{toml}: migrations-dir: 3 must be the path of a folder"),
        ("'nowhere'", "{crate}/nowhere: no such folder of migrations; set `migrations` to one that exists"),
    ],
)
def test_a_crate_whose_folder_is_not_there_is_refused(tmp_path: Path, value: str, reason: str) -> None:
    crate = write(tmp_path / "crate", {"sqlx.toml": f"[migrate]\nmigrations-dir = {value}\n"})
    with pytest.raises(RunRefused) as caught:
        migrations.load(crate)
    assert str(caught.value) == reason.format(crate=crate, toml=crate / "sqlx.toml")
