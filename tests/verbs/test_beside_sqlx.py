"""Either tool follows the other: sqlx 0.8.6, the library of SQLx 0.9 and this one, on one ledger."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra
from support.project import MIGRATION, ROOT, VERSION
from support.servers import Database
from support.sqlx import HOST, deploy, large_source, ledger, library, sqlx

SMALL = {
    "1_users.sql": "CREATE TABLE users (id int PRIMARY KEY);",
    "2_names.up.sql": "ALTER TABLE users ADD name text;",
    "2_names.down.sql": "ALTER TABLE users DROP name;",
    "3_index.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY users_name ON users (name)",
}


def test_after_us_sqlx_has_nothing_to_do_and_can_revert(pyinfra: Pyinfra, database: Database) -> None:
    """Our own migration, from the committed folder: tables and ledger are what sqlx makes."""
    assert deploy(pyinfra, database, "deploy.apply").code == 0
    theirs = database.server.database()
    assert sqlx(theirs, ROOT / "migrations", "run").code == 0
    before = (database.dump(), ledger(database))
    assert before == (theirs.dump(), ledger(theirs))
    assert sqlx(database, ROOT / "migrations", "info").out == f"{VERSION}/installed create integration health tables\n"
    assert sqlx(database, ROOT / "migrations", "run").out == ""
    assert library(database, ROOT / "migrations").code == 0
    assert (database.dump(), ledger(database)) == before
    reverted = sqlx(database, ROOT / "migrations", "revert")
    assert reverted.code == 0, reverted.out
    assert database.psql("SELECT to_regclass('integration_health'), to_regclass('integration_events')") == "|"
    assert ledger(database) == []


@pytest.mark.parametrize("tool", [lambda d, s: sqlx(d, s, "run"), library], ids=["cli 0.8.6", "library 0.9"])
def test_after_sqlx_we_have_nothing_to_do(tool, pyinfra: Pyinfra, database: Database) -> None:  # type: ignore[no-untyped-def]
    assert tool(database, ROOT / "migrations").code == 0
    everything = "SELECT * FROM _sqlx_migrations"
    before = (database.dump(), database.psql(everything))
    got = deploy(pyinfra, database, "deploy.apply")
    assert (got.code, got.change("Migrate"), got.change("Verify")) == (0, "no change", "no change")
    assert (database.dump(), database.psql(everything)) == before


def test_the_down_file_is_rendered_beside_the_migration(pyinfra: Pyinfra, tmp_path: Path) -> None:
    assert pyinfra("@local", "-y", "deploy.render", "out=rendered").code == 0
    down = MIGRATION.with_name(MIGRATION.name.replace(".sql", ".down.sql"))
    for path in (MIGRATION, down):
        assert (tmp_path / "rendered" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("files", [30, pytest.param(300, marks=pytest.mark.everything)])
def test_the_same_source_applied_by_each_gives_equal_dumps_and_equal_ledgers(
    pyinfra: Pyinfra, database: Database, tmp_path: Path, files: int
) -> None:
    """Files of real shape; the second run of either tool, on the other's database, has nothing to do."""
    source = large_source(tmp_path / "migrations", files)
    theirs = database.server.database()
    assert sqlx(theirs, source, "run").code == 0
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert got.code == 0, got.out
    assert len([line for line in got.lines(HOST) if line.startswith("applied ")]) == files
    assert ledger(database) == ledger(theirs)
    assert database.dump() == theirs.dump()

    assert sqlx(database, source, "run").out == ""
    assert library(database, source).code == 0
    again = deploy(pyinfra, theirs, "deploy.apply", migrations=str(source))
    assert (again.code, again.change("Migrate")) == (0, "no change")


def test_small_files_of_every_kind_go_from_hand_to_hand(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    """The CLI applies the first, we an out-of-order one and the rest, the library nothing, the CLI reverts."""
    folder = tmp_path / "migrations"
    write(folder, {"1_users.sql": SMALL["1_users.sql"], "9_last.sql": "CREATE TABLE last ();"})
    assert sqlx(database, folder, "run").code == 0
    write(folder, SMALL)
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(folder))
    assert got.code == 0, got.out
    assert [line.rpartition(" (")[0] for line in got.lines(HOST) if line.startswith("applied ")] == [
        "applied 2 names",
        "applied 3 index",
    ]
    assert library(database, folder).code == 0
    assert sqlx(database, folder, "info").out.count("installed") == 4
    assert sqlx(database, folder, "revert").code == 0
    assert [row.partition("|")[0] for row in ledger(database)] == ["1", "3", "9"]


def test_execution_time_is_in_nanoseconds_and_written_once(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {"1_slow.sql": "SELECT pg_sleep(0.3)"})
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source)).code == 0
    assert 300_000_000 < int(database.psql("SELECT execution_time FROM _sqlx_migrations")) < 5_000_000_000
    assert not [text for text in database.statements() if re.search(r"\bUPDATE \S*_sqlx_migrations", text)]


def test_a_row_without_a_file_is_refused_in_the_words_of_sqlx(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": "SELECT 1", "2_b.sql": "SELECT 1"})
    assert sqlx(database, source, "run").code == 0
    (source / "1_a.sql").unlink()
    words = "migration 1 was previously applied but is missing in the resolved migrations"
    assert words in sqlx(database, source, "run").out
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert got.code == 1
    assert words in got.out
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source), ignore_missing=True).code == 0
