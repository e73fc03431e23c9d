"""deploy.revert: the newest, all above a version, or all; nothing without a down file; no rows lost unasked."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra, finish
from support.project import MIGRATION, VERSION
from support.servers import Database
from support.sessions import session, until_found
from support.sqlx import HOST, deploy, ledger, library, locks, sqlx, start_deploy
from support.versions import every_version, two_versions

FILES = {
    "1_a.up.sql": "CREATE TABLE a (x int)",
    "1_a.down.sql": "DROP TABLE a",
    "2_b.sql": "CREATE TABLE b (x int)",
    "2_b.down.sql": "DROP TABLE b",
    "3_c.up.sql": "CREATE TABLE c (x int)",
    "3_c.down.sql": "DROP TABLE c",
}


def applied(database: Database) -> list[str]:
    return [row.partition("|")[0] for row in ledger(database)]


@two_versions
def test_our_own_migration_goes_back_and_forth(pyinfra: Pyinfra, database: Database) -> None:
    empty = database.dump()
    assert deploy(pyinfra, database, "deploy.apply").code == 0
    full = database.dump()
    got = deploy(pyinfra, database, "deploy.revert")
    assert (got.code, got.change("Revert")) == (0, "success")
    assert applied(database) == []
    database.psql("DROP TABLE _sqlx_migrations")
    assert database.dump() == empty
    assert deploy(pyinfra, database, "deploy.apply").code == 0
    assert database.dump() == full


@pytest.mark.parametrize(("words", "left"), [([], ["1", "2"]), (["to=1"], ["1"]), (["to=0"], []), (["to=3"], ["1", "2", "3"])])
def test_the_newest_or_all_above_a_version_or_all(
    words: list[str], left: list[str], pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    source = write(tmp_path / "migrations", FILES)
    assert sqlx(database, source, "run").code == 0
    got = deploy(pyinfra, database, "deploy.revert", *words, migrations=str(source))
    assert got.code == 0, got.out
    assert applied(database) == left
    assert sqlx(database, source, "run").code == 0, "sqlx applies again what is gone"
    assert applied(database) == ["1", "2", "3"]


def test_newest_first_and_a_dry_run_shows_it_and_does_nothing(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", FILES)
    assert sqlx(database, source, "run").code == 0
    before = database.dump(), ledger(database)
    hosts = {HOST: {**database.data, "migrations": str(source)}}
    got = pyinfra(hosts, "--dry", "--diff", "deploy.revert", "to=0", environment=database.server.environment())
    assert got.code == 0
    assert [line for line in got.lines(HOST) if line.startswith("to revert")] == [
        "to revert: 3 c",
        "to revert: 2 b",
        "to revert: 1 a",
    ]
    assert "  DROP TABLE c" in got.out
    assert (database.dump(), ledger(database)) == before


def test_an_applied_migration_without_a_down_file_refuses_before_anything_runs(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    """SQLx steps over it and reverts an older one."""
    source = write(tmp_path / "migrations", FILES)
    (source / "2_b.down.sql").unlink()
    assert sqlx(database, source, "run").code == 0
    got = deploy(pyinfra, database, "deploy.revert", "to=0", migrations=str(source))
    assert got.code == 1
    assert (
        f"migration 2 b has no down file, so nothing was reverted; add 2_b.down.sql to {source}, "
        "or revert to a version above it with to=VERSION"
    ) in got.lines(HOST)
    assert applied(database) == ["1", "2", "3"]


def test_the_service_stops_first_and_its_older_release_starts_after_the_revert(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    """As the runbook says; a service that ignores missing migrations need not wait."""
    own = {"1_service.sql": "CREATE TABLE service ()"}
    older, newer = write(tmp_path / "older", own), write(tmp_path / "newer", {**own, MIGRATION.name: MIGRATION.read_text()})
    assert library(database, newer).code == 0
    refused = library(database, older)
    assert refused.code == 1
    assert f"migration {VERSION} was previously applied but is missing in the resolved migrations" in refused.out
    assert sqlx(database, older, "run", "--ignore-missing").code == 0
    assert deploy(pyinfra, database, "deploy.revert").code == 0
    assert library(database, older).code == 0
    assert library(database, newer).code == 0
    assert database.psql("SELECT to_regclass('integration_events')") == "integration_events", "made again"


def test_a_version_that_nobody_knows_is_refused(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", FILES)
    assert sqlx(database, source, "run").code == 0
    got = deploy(pyinfra, database, "deploy.revert", "to=20260111", migrations=str(source))
    assert got.code == 1
    assert f"to=20260111: no such version, neither in {source} nor in the ledger; to=0 reverts all" in got.lines(HOST)
    soon = deploy(pyinfra, database, "deploy.revert", "to=soon", migrations=str(source))
    assert soon.code == 1
    assert "deploy.revert: invalid value 'soon' for argument 'to': expected an integer" in soon.out
    assert applied(database) == ["1", "2", "3"]


def test_migrations_of_others_in_the_ledger_stay(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {**FILES, "99999999999999_service.sql": "CREATE TABLE service ()"})
    assert sqlx(database, source, "run").code == 0
    assert deploy(pyinfra, database, "deploy.apply").code == 0
    got = deploy(pyinfra, database, "deploy.revert", "to=0")
    assert got.code == 0, got.out
    assert applied(database) == ["1", "2", "3", "99999999999999"]


@every_version
def test_a_table_that_holds_rows_is_not_dropped_unasked(pyinfra: Pyinfra, database: Database) -> None:
    assert deploy(pyinfra, database, "deploy.apply").code == 0
    database.psql(
        "INSERT INTO integration_events (integration_id, event_type, severity, occurred_at) VALUES ('a', 'b', 'c', now())"
    )
    before = database.dump(), ledger(database)
    got = deploy(pyinfra, database, "deploy.revert")
    assert got.code == 1
    assert (
        "20260111030835_create_integration_health_tables.down.sql: would drop public.integration_events, which holds rows; "
        "it was rolled back: save the rows elsewhere and empty the table, or pass allow_data_loss=true"
    ) in got.lines(HOST)
    assert (database.dump(), ledger(database)) == before
    assert database.psql("SELECT count(*) FROM integration_events") == "1"
    assert locks(database) == "0"
    assert deploy(pyinfra, database, "deploy.revert", "allow_data_loss=true").code == 0
    assert applied(database) == []


def test_rows_that_arrive_while_the_down_file_waits_are_not_lost(database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", FILES)
    assert sqlx(database, source, "run").code == 0
    with session(database) as writer:
        writer.execute("BEGIN; INSERT INTO c VALUES (1)")
        process = start_deploy(tmp_path / "d", database, "deploy.revert", migrations=str(source))
        until_found(database, "SELECT count(*) FROM pg_locks WHERE NOT granted")
        writer.execute("COMMIT")
    got = finish(process)
    assert got.code == 1
    assert "would drop public.c, which holds rows" in got.out
    assert database.psql("SELECT count(*) FROM c") == "1"


@pytest.mark.parametrize(
    "down", ["ALTER TABLE c RENAME TO d; DROP TABLE d", "DROP SCHEMA s CASCADE", "DROP TABLE c; CREATE TABLE c (x int)"]
)
def test_whatever_the_way_a_table_with_rows_goes(down: str, pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    up = 'CREATE SCHEMA s; CREATE TABLE c (x int); INSERT INTO c VALUES (1); CREATE TABLE s."C d" AS SELECT 1;'
    source = write(tmp_path / "migrations", {"1_c.up.sql": up, "1_c.down.sql": down})
    assert sqlx(database, source, "run").code == 0
    before = database.dump()
    got = deploy(pyinfra, database, "deploy.revert", migrations=str(source))
    assert got.code == 1
    assert "which holds rows; it was rolled back" in got.out
    assert database.dump() == before


@pytest.mark.parametrize(
    ("down", "taken"),
    [
        ("DO $$ BEGIN EXECUTE 'TRUNCATE c, \"C d\"'; END $$; DROP TABLE gone", 'empty public."C d", public.c'),
        ('ALTER TABLE c DROP COLUMN "Y z" CASCADE, ADD COLUMN "Y z" int', 'drop column public.c."Y z"'),
        ("TRUNCATE parted; ALTER TABLE c DROP COLUMN x", "drop column public.c.x and empty public.part"),
    ],
)
def test_a_down_file_that_would_empty_a_table_or_drop_values_is_rolled_back(
    down: str, taken: str, pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    up = """
        CREATE TABLE c (x int, "Y z" int, bare int); INSERT INTO c VALUES (1, 2);
        CREATE TABLE "C d" AS SELECT 1; CREATE TABLE gone ();
        CREATE TABLE parted (k int) PARTITION BY LIST (k); CREATE TABLE part PARTITION OF parted DEFAULT;
        INSERT INTO parted VALUES (1)"""
    source = write(tmp_path / "migrations", {"1_c.up.sql": up, "1_c.down.sql": down})
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source)).code == 0
    before = database.dump(), database.psql('TABLE c; TABLE "C d"; TABLE parted'), ledger(database)
    got = deploy(pyinfra, database, "deploy.revert", migrations=str(source))
    assert got.code == 1
    assert (
        f"1_c.down.sql: would {taken}, which holds rows; it was rolled back: save the rows elsewhere and empty the table, "
        "or pass allow_data_loss=true"
    ) in got.lines(HOST), got.out
    assert (database.dump(), database.psql('TABLE c; TABLE "C d"; TABLE parted'), ledger(database)) == before


@every_version
def test_a_down_file_that_takes_no_value_away_runs(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    """Rows that are written anew, an empty table that is emptied, a column without values, and one that was dropped before."""
    files = {
        "1_c.up.sql": "CREATE TABLE c (x int, bare int, old int); INSERT INTO c VALUES (1); "
        "ALTER TABLE c DROP old; CREATE TABLE d ()",
        "1_c.down.sql": "ALTER TABLE c ALTER x TYPE bigint; TRUNCATE d; ALTER TABLE c DROP COLUMN bare; ALTER TABLE d RENAME TO e",
    }
    source = write(tmp_path / "migrations", files)
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source)).code == 0
    got = deploy(pyinfra, database, "deploy.revert", migrations=str(source))
    assert got.code == 0, got.out
    assert database.psql("TABLE c; SELECT pg_typeof(x) FROM c") == "1\nbigint"


def test_a_down_file_that_fails_or_ends_its_transaction_leaves_the_row(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    source = write(tmp_path / "migrations", {**FILES, "3_c.down.sql": "DROP TABLE c;\nDROP TABLE nowhere;"})
    assert sqlx(database, source, "run").code == 0
    got = deploy(pyinfra, database, "deploy.revert", migrations=str(source))
    assert got.code == 1
    assert '3_c.down.sql: 42P01: ERROR: table "nowhere" does not exist' in got.lines(HOST)
    assert database.psql("SELECT to_regclass('c')") == "c"
    (source / "3_c.down.sql").write_text("SELECT 1; COMMIT;")
    got = deploy(pyinfra, database, "deploy.revert", migrations=str(source))
    assert got.code == 1
    assert "3_c.down.sql: ends the transaction it runs in, so it was not taken from the ledger" in got.out
    assert applied(database) == ["1", "2", "3"]


def test_a_no_transaction_down_file_needs_the_flag(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    files = {
        "1_a.sql": "CREATE TABLE a (x int)",
        "2_i.up.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON a (x)",
        "2_i.down.sql": "-- no-transaction\nDROP INDEX CONCURRENTLY i",
    }
    source = write(tmp_path / "migrations", files)
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source)).code == 0
    got = deploy(pyinfra, database, "deploy.revert", migrations=str(source))
    assert got.code == 1
    assert (
        "2_i.down.sql: a `-- no-transaction` down file can't be taken back when it drops rows, so nothing was reverted; "
        "pass allow_data_loss=true to run it all the same"
    ) in got.lines(HOST)
    assert deploy(pyinfra, database, "deploy.revert", "allow_data_loss=true", migrations=str(source)).code == 0
    assert applied(database) == ["1"]
    assert database.psql("SELECT to_regclass('i')") == ""
    assert locks(database) == "0"
