"""A connection that is lost and a table that is busy, made for real: killed sessions, a stopped server, held locks."""

from __future__ import annotations

from pathlib import Path

from support.files import write
from support.operator import Pyinfra, is_deployed, run, said
from support.project import MIGRATION
from support.servers import Database, Server
from support.sessions import OURS, holding, in_background, until_it_sleeps
from support.sqlx import LEDGER
from support.waiting import until

ONE, HEALTHY = "@postgres/one", "@postgres/healthy"


def sleeping(folder: Path) -> str:
    return str(
        write(folder, {"1_first.sql": "CREATE TABLE first ();", "2_second.sql": "CREATE TABLE second ();\nSELECT pg_sleep(60);"})
    )


def test_a_session_that_is_terminated_in_the_middle_of_a_file_fails_alone(
    pyinfra: Pyinfra, database: Database, neighbour: Database, tmp_path: Path
) -> None:
    hosts = {ONE: {**database.data, "migrations": sleeping(tmp_path / "source")}, HEALTHY: neighbour.data}
    with in_background(run, pyinfra, hosts) as running:
        until_it_sleeps(database)
        database.psql(OURS.replace("SELECT pid", "SELECT pg_terminate_backend(pid)"))
        result = running.result()

    assert said(result, ONE)[2:] == [
        f"2_second.sql: connection to 127.0.0.1:{database.server.port} lost: 57P01: FATAL: terminating connection due to "
        "administrator command; what was committed stays, run the command again"
    ]
    assert result.code == 1
    assert database.psql("SELECT version FROM _sqlx_migrations") == "1"
    assert database.psql("SELECT to_regclass('first'), to_regclass('second')") == "first|"
    assert is_deployed(neighbour)


def test_a_server_that_stops_in_the_middle_of_a_file_fails_alone(
    pyinfra: Pyinfra, server: Server, neighbour: Database, tmp_path: Path
) -> None:
    other = Server.create(server.bin)
    try:
        database = other.database("stopped")
        hosts = {ONE: {**database.data, "migrations": sleeping(tmp_path / "source")}, HEALTHY: neighbour.data}
        with in_background(run, pyinfra, hosts) as running:
            until_it_sleeps(database)
            other.stop("immediate")
            result = running.result()
        assert said(result, ONE)[2:] == [
            f"2_second.sql: connection to 127.0.0.1:{other.port} lost: server closed the connection unexpectedly; "
            "what was committed stays, run the command again"
        ]
        assert result.code == 1
        other.start()
        assert database.psql("SELECT version FROM _sqlx_migrations") == "1"
        assert database.psql("SELECT to_regclass('first'), to_regclass('second')") == "first|"
        assert is_deployed(neighbour)
    finally:
        other.remove()


def altering(folder: Path) -> str:
    return str(write(folder, {"1_busy.sql": "CREATE TABLE first ();\nALTER TABLE busy ADD seen int;"}))


def test_a_file_that_meets_a_busy_table_is_tried_again_until_it_is_free(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    database.psql("CREATE TABLE busy ()")
    data = {**database.data, "migrations": altering(tmp_path / "source"), "lock_timeout": "200ms", "lock_wait": "60s"}
    with in_background(run, pyinfra, {ONE: data}) as running:
        with holding(database, "busy"):
            until(lambda: database.server.log.read_text(errors="replace").count(f"|{database.name}|ERROR:  cancel") >= 2)
        result = running.result()

    assert result.code == 0, result.out
    assert database.psql("SELECT version FROM _sqlx_migrations; SELECT seen FROM busy") == "1"


def test_a_table_that_stays_busy_fails_its_host_when_lock_wait_has_passed(
    pyinfra: Pyinfra, database: Database, neighbour: Database, tmp_path: Path
) -> None:
    """Met by a file of another source, and by the checks, which look at the definitions of our tables."""
    database.psql("CREATE TABLE busy (); " + MIGRATION.read_text(encoding="utf-8"))
    before = database.dump()
    data = {**database.data, "lock_timeout": "100ms", "lock_wait": "1s"}
    hosts = {ONE: {**data, "migrations": altering(tmp_path / "source")}, "@postgres/two": data, HEALTHY: neighbour.data}
    with holding(database, "busy, integration_health"):
        result = run(pyinfra, hosts)

    assert said(result, ONE)[1:] == [
        "1_busy.sql: 55P03: ERROR: canceling statement due to lock timeout",
        "tried for 1 s; run the command again, or raise lock_wait",
    ]
    assert said(result, "@postgres/two") == [
        "55P03: ERROR: canceling statement due to lock timeout",
        "HINT: tried for 1 s; run the command again, or raise lock_wait",
    ]
    assert result.code == 1
    assert database.dump() == before
    assert is_deployed(neighbour)


def test_a_ledger_that_stays_busy_fails_its_host_when_lock_wait_has_passed(
    pyinfra: Pyinfra, database: Database, neighbour: Database
) -> None:
    database.psql(LEDGER)
    data = {**database.data, "lock_timeout": "100ms", "lock_wait": "1s"}
    with holding(database, "_sqlx_migrations"):
        result = run(pyinfra, {ONE: data, HEALTHY: neighbour.data})

    assert said(result, ONE)[:2] == [
        "55P03: ERROR: canceling statement due to lock timeout",
        "HINT: tried for 1 s; run the command again, or raise lock_wait",
    ]
    assert result.code == 1
    assert "integration_health" not in database.dump()
    assert is_deployed(neighbour)
