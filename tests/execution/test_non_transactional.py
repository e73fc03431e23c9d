"""`-- no-transaction` files: marked while they run, what CONCURRENTLY leaves is named and repaired, deadlocks are survived."""

from __future__ import annotations

import time
from pathlib import Path

from support.files import write
from support.operator import Pyinfra, finish
from support.servers import PASSWORD, Database
from support.sessions import session, until_found
from support.sqlx import HOST, deploy, ledger, library, locks, sqlx, start_deploy, start_library
from support.versions import every_version

from deploy.plan.ledger import lock_key

TABLE = "CREATE TABLE t (x int); INSERT INTO t SELECT generate_series(1, 1000);"
DOUBLE = "CREATE TABLE t (x int); INSERT INTO t VALUES (1), (1);"
UNIQUE = "-- no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY t_x ON t (x)"
DROP = "run `DROP INDEX CONCURRENTLY IF EXISTS public.t_x;`"
REPAIR = "deploy.apply repair_invalid_indexes=true, which does so and builds it again"


def valid(database: Database) -> str:
    return database.psql("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('t_x')")


INDEX_IN_WORK = "SELECT to_regclass('t_x')"
WAITER = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def test_it_runs_outside_a_transaction_without_timeouts_and_is_recorded_as_by_sqlx(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    files = {
        "1_t.sql": TABLE,
        "2_x.sql": UNIQUE,
        "3_seen.sql": "-- no-transaction\nCREATE TABLE seen AS SELECT current_setting('lock_timeout') AS l,"
        " current_setting('statement_timeout') AS s, current_schema() AS c, current_setting('timezone') AS z",
    }
    source = write(tmp_path / "migrations", files)
    got = deploy(
        pyinfra,
        database,
        "deploy.apply",
        migrations=str(source),
        schema="public",
        lock_timeout="2s",
        statement_timeout="60s",
    )
    assert got.code == 0, got.out
    assert valid(database) == "t"
    assert database.psql("TABLE seen") == "0|0|public|UTC"
    theirs = database.server.database()
    assert sqlx(theirs, source, "run").code == 0
    assert ledger(database) == ledger(theirs)
    assert sqlx(database, source, "run").out == ""
    assert locks(database) == "0"


def test_a_marker_is_there_while_it_runs_and_a_crash_is_seen_by_both_tools(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    database.psql(TABLE)
    source = write(tmp_path / "migrations", {"1_t.sql": "SELECT 1", "2_x.sql": UNIQUE})
    with session(database) as writer:
        writer.execute("BEGIN; INSERT INTO t VALUES (5000)")
        process = start_deploy(tmp_path / "d", database, "deploy.apply", migrations=str(source))
        until_found(database, INDEX_IN_WORK)
        assert ledger(database)[1].startswith("2|x|f|")
        process.kill()
        finish(process)
        database.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE '%CONCURRENTLY t_x%' AND pid <> pg_backend_pid()"
        )
    words = "migration 2 is partially applied; fix and remove row from `_sqlx_migrations` table"
    assert words in sqlx(database, source, "run").out
    assert words in library(database, source).out
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert got.code == 1
    (line,) = [line for line in got.lines(HOST) if words in line]
    assert line == (
        f"{words}; then run deploy.apply again; it left INVALID index public.t_x: {DROP} and remove the row of version 2 "
        f"from the ledger, or {REPAIR}"
    )
    repaired = deploy(pyinfra, database, "deploy.apply", "repair_invalid_indexes=true", migrations=str(source))
    assert repaired.code == 0, repaired.out
    assert "dropped INVALID index public.t_x" in repaired.lines(HOST)
    assert valid(database) == "t"
    assert sqlx(database, source, "run").out == ""


def test_a_statement_that_left_nothing_behind_leaves_no_marker_either(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(
        tmp_path / "migrations", {"1_t.sql": TABLE, "2_x.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY t_x ON t (y)"}
    )
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert got.code == 1
    assert '2_x.sql: 42703: ERROR: column "y" does not exist' in got.lines(HOST)
    assert len(ledger(database)) == 1
    (source / "2_x.sql").write_text(UNIQUE)
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source)).code == 0


def test_what_may_have_committed_a_part_keeps_its_marker(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    text = "-- no-transaction\nDO $$ BEGIN CREATE TABLE half (); COMMIT; RAISE 'no'; END $$"
    source = write(tmp_path / "migrations", {"1_t.sql": TABLE, "2_x.sql": text})
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert got.code == 1
    assert "2_x.sql: may have done a part of its work; its row in the ledger has success = false: " in got.out
    assert ledger(database)[1].startswith("2|x|f|")
    assert database.psql("SELECT to_regclass('half')") == "half"


def test_an_invalid_index_is_named_with_the_statement_that_removes_it_and_repaired(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    source = write(tmp_path / "migrations", {"1_t.sql": DOUBLE, "2_x.sql": UNIQUE})
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert got.code == 1
    assert (
        f"2_x.sql: left INVALID index public.t_x, because it failed half-way: {DROP} and remove the row of version 2 from the "
        f"ledger, or {REPAIR}"
    ) in got.lines(HOST)
    assert '2_x.sql: 23505: ERROR: could not create unique index "t_x"' in got.lines(HOST)
    database.psql("DELETE FROM t")
    repaired = deploy(pyinfra, database, "deploy.apply", migrations=str(source), repair_invalid_indexes=True)
    assert repaired.code == 0, repaired.out
    assert valid(database) == "t"
    assert [row.split("|")[2] for row in ledger(database)] == ["t", "t"]


def test_the_offered_statement_and_the_removed_row_are_enough(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {"1_t.sql": DOUBLE, "2_x.sql": UNIQUE})
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source)).code == 1
    database.psql("DROP INDEX CONCURRENTLY IF EXISTS public.t_x;")
    database.psql("DELETE FROM _sqlx_migrations WHERE version = 2; DELETE FROM t")
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source)).code == 0


def test_an_invalid_index_left_by_sqlx_is_repaired_too(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    """SQLx leaves no row, and its next run fails because the index exists."""
    source = write(tmp_path / "migrations", {"1_t.sql": DOUBLE, "2_x.sql": UNIQUE})
    assert sqlx(database, source, "run").code == 1
    database.psql("DELETE FROM t")
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert got.code == 1
    assert f"2_x.sql: INVALID index public.t_x is in the way; {DROP}, or {REPAIR}" in got.lines(HOST)
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source), repair_invalid_indexes=True).code == 0
    assert valid(database) == "t"


def test_an_invalid_index_of_somebody_else_is_left_alone(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    database.psql("CREATE TABLE other (x int); INSERT INTO other VALUES (1), (1)")
    database.server.client("psql", "-Xqc", "CREATE UNIQUE INDEX CONCURRENTLY other_x ON other (x)", database.name, check=False)
    source = write(tmp_path / "migrations", {"1_t.sql": TABLE, "2_x.sql": UNIQUE})
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source), repair_invalid_indexes=True).code == 0
    assert database.psql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'other_x'::regclass") == "f"


@every_version
def test_a_waiter_in_the_lock_goes_first(database: Database, tmp_path: Path) -> None:
    """A service that blocks in the lock holds a snapshot: CONCURRENTLY, under our lock, would wait for it for ever."""
    source = write(tmp_path / "migrations", {"1_t.sql": TABLE, "2_x.sql": UNIQUE})
    with session(database) as first:
        first.execute(f"SELECT pg_advisory_lock({lock_key(database.name)})")
        service = start_library(database, source)
        until_found(database, WAITER)
        ours = start_deploy(tmp_path / "d", database, "deploy.apply", migrations=str(source))
        time.sleep(2)
    results = finish(service), finish(ours)
    assert [result.code for result in results] == [0, 0], results
    assert valid(database) == "t"
    assert len(ledger(database)) == 2


@every_version
def test_the_victim_of_a_library_that_starts_meanwhile_drops_the_index_and_tries_again(database: Database, tmp_path: Path) -> None:
    """The library blocks in our lock while CONCURRENTLY waits for a writer, and has the snapshot that it then waits for."""
    database.psql(TABLE)
    source = write(tmp_path / "migrations", {"2_x.sql": UNIQUE})
    with session(database) as writer:
        writer.execute("BEGIN; INSERT INTO t VALUES (5000)")
        ours = start_deploy(tmp_path / "d", database, "deploy.apply", migrations=str(source))
        until_found(database, INDEX_IN_WORK)
        service = start_library(database, source)
        until_found(database, WAITER)
        time.sleep(1.5)  # the library has looked for a deadlock, after deadlock_timeout, and found none
        writer.execute("COMMIT")
    results = finish(ours), finish(service)
    assert [result.code for result in results] == [0, 0], results
    log = database.server.log.read_text(errors="replace")
    assert f"integration-health-deploy|{database.name}|ERROR:  deadlock detected" in log
    assert valid(database) == "t"
    assert [row.split("|")[2] for row in ledger(database)] == ["t"]
    assert locks(database) == "0"


def test_two_deploys_at_once_wait_for_each_other(database: Database, tmp_path: Path) -> None:
    """The second one's plan meets the marker of the first, which is at work: no reason to refuse."""
    database.psql(TABLE)
    source = write(tmp_path / "migrations", {"2_x.sql": UNIQUE})
    with session(database) as writer:
        writer.execute("BEGIN; INSERT INTO t VALUES (5000)")
        first = start_deploy(tmp_path / "d1", database, "deploy.apply", migrations=str(source))
        until_found(database, INDEX_IN_WORK)
        second = start_deploy(tmp_path / "d2", database, "deploy.apply", migrations=str(source))
        polls = "application_name = 'integration-health-deploy' AND query LIKE '%ROLLBACK%' AND datname = current_database()"
        until_found(database, f"SELECT count(*) FROM pg_stat_activity WHERE {polls}")  # noqa: S608
        writer.execute("COMMIT")
    results = finish(first), finish(second)
    assert [result.code for result in results] == [0, 0], results
    assert "2 x: already applied by another process" in results[1].lines(HOST)
    assert valid(database) == "t"


def test_a_role_that_acts_as_the_owner_needs_no_more_than_that(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    """Both kinds of file and their reversal, with a login role that is only a member of the owner."""
    owner, login = f"owner_{database.name}", f"login_{database.name}"
    database.psql(f"CREATE ROLE {owner}; CREATE ROLE {login} LOGIN PASSWORD $${PASSWORD}$$ IN ROLE {owner}")
    database.psql(f"CREATE SCHEMA app AUTHORIZATION {owner}")
    files = {
        "1_t.up.sql": TABLE,
        "1_t.down.sql": "DROP TABLE t",
        "2_x.up.sql": UNIQUE,
        "2_x.down.sql": "-- no-transaction\nDROP INDEX CONCURRENTLY t_x",
    }
    data = {"postgres_user": login, "owner": owner, "schema": "app", "migrations": str(write(tmp_path / "migrations", files))}
    got = deploy(pyinfra, database, "deploy.apply", **data)
    assert got.code == 0, got.out
    query = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'app'::regnamespace"
    assert database.psql(query) == owner
    back = deploy(pyinfra, database, "deploy.revert", "to=0", "allow_data_loss=true", **data)
    assert back.code == 0, back.out
    assert ledger(database, "app._sqlx_migrations") == []


def test_a_ledger_that_is_busy_before_the_file_runs_is_tried_again_within_lock_wait(database: Database, tmp_path: Path) -> None:
    """Another session holds the ledger so that it can be read and not written: the marker has to wait for it."""
    database.psql(TABLE)
    source = write(tmp_path / "migrations", {"1_t.sql": "SELECT 1"})
    assert sqlx(database, source, "run").code == 0
    write(tmp_path / "migrations", {"2_x.sql": UNIQUE})
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with session(database) as other:
        other.execute("BEGIN; LOCK TABLE _sqlx_migrations IN EXCLUSIVE MODE")
        patient = start_deploy(
            tmp_path / "d", database, "deploy.apply", migrations=str(source), lock_timeout="300ms", lock_wait="60s"
        )
        until_found(database, waits)
        time.sleep(1.5)
        other.execute("COMMIT")
    got = finish(patient)
    assert got.code == 0, got.out
    assert valid(database) == "t"
    assert locks(database) == "0"
    with session(database) as other:
        other.execute("BEGIN; LOCK TABLE _sqlx_migrations IN EXCLUSIVE MODE")
        write(tmp_path / "migrations", {"3_y.sql": UNIQUE.replace("t_x", "t_y")})
        hasty = start_deploy(tmp_path / "e", database, "deploy.apply", migrations=str(source), lock_timeout="300ms", lock_wait="1s")
        got = finish(hasty)
        other.execute("COMMIT")
    lines = got.lines(HOST)
    assert got.code == 1
    assert "3_y.sql: 55P03: ERROR: canceling statement due to lock timeout" in lines, got.out
    assert "tried for 1 s; run the command again, or raise lock_wait" in lines
    assert database.psql("SELECT max(version) FROM _sqlx_migrations") == "2"


def test_a_down_file_drops_the_invalid_index_that_is_there(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    files = {
        "1_t.sql": TABLE,
        "2_x.up.sql": UNIQUE,
        "2_x.down.sql": "-- no-transaction\nDROP INDEX CONCURRENTLY t_x",
    }
    source = write(tmp_path / "migrations", files)
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source)).code == 0
    database.psql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_x'::regclass")
    got = deploy(pyinfra, database, "deploy.revert", "allow_data_loss=true", migrations=str(source))
    assert (got.code, valid(database)) == (0, ""), got.out
    assert database.psql("SELECT version, success FROM _sqlx_migrations") == "1|t"
