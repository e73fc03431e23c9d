"""A connection that is lost and a table that is busy, made for real: killed sessions, a stopped server, held locks."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from bad import LEDGER, is_deployed, run, said
from conftest import MIGRATION, Pyinfra
from servers import SUPERUSER, Database, Server
from versions import one_server

ONE, HEALTHY = "@postgres/one", "@postgres/healthy"
ACTIVITY = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'integration-health-deploy'"


def sleeping(folder: Path) -> str:
    folder.mkdir()
    (folder / "1_first.sql").write_text("CREATE TABLE first ();", encoding="utf-8")
    (folder / "2_second.sql").write_text("CREATE TABLE second ();\nSELECT pg_sleep(60);", encoding="utf-8")
    return str(folder)


def until_it_sleeps(database: Database) -> None:
    deadline = time.monotonic() + 30
    while not database.psql(f"{ACTIVITY} AND query LIKE '%pg_sleep(60)%' AND state = 'active'"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def in_background(function: object, *args: object) -> Iterator[Future[object]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(function, *args)  # type: ignore[arg-type]


@contextmanager
def holding(database: Database, table: str) -> Iterator[None]:
    """Another session that holds ACCESS EXCLUSIVE on a table."""
    server = database.server
    psql = [str(server.bin / "psql"), "-Xq", "-h", "127.0.0.1", "-p", str(server.port), "-U", SUPERUSER, database.name]
    held = subprocess.Popen(psql, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=server.environment(), text=True)
    assert held.stdin is not None and held.stdout is not None
    held.stdin.write(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;\n\\echo held\n")
    held.stdin.flush()
    assert held.stdout.readline() == "held\n"
    try:
        yield
    finally:
        held.communicate("ROLLBACK;\n")


def test_a_session_that_is_terminated_in_the_middle_of_a_file_fails_alone(
    pyinfra: Pyinfra, database: Database, neighbour: Database, tmp_path: Path
) -> None:
    hosts = {ONE: {**database.data, "migrations": sleeping(tmp_path / "source")}, HEALTHY: neighbour.data}
    with in_background(run, pyinfra, hosts) as running:
        until_it_sleeps(database)
        database.psql(ACTIVITY.replace("SELECT pid", "SELECT pg_terminate_backend(pid)"))
        result = running.result()

    assert said(result, ONE)[2:] == [
        f"2_second.sql: connection to 127.0.0.1:{database.server.port} lost: 57P01: FATAL: terminating connection due to "
        "administrator command; what was committed stays, run the command again"
    ]
    assert result.code == 1
    assert database.psql("SELECT version FROM _sqlx_migrations") == "1"
    assert database.psql("SELECT to_regclass('first'), to_regclass('second')") == "first|"
    assert is_deployed(neighbour)


@one_server
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
        with suppress(subprocess.CalledProcessError):  # it is stopped
            other.stop()
        other.remove()


def altering(folder: Path) -> str:
    folder.mkdir()
    (folder / "1_busy.sql").write_text("CREATE TABLE first ();\nALTER TABLE busy ADD seen int;", encoding="utf-8")
    return str(folder)


def test_a_file_that_meets_a_busy_table_is_tried_again_until_it_is_free(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    database.psql("CREATE TABLE busy ()")
    data = {**database.data, "migrations": altering(tmp_path / "source"), "lock_timeout": "200ms", "lock_wait": "60s"}
    with in_background(run, pyinfra, {ONE: data}) as running:
        with holding(database, "busy"):
            deadline = time.monotonic() + 30
            while database.server.log.read_text(encoding="utf-8", errors="replace").count(f"|{database.name}|ERROR:  cancel") < 2:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        result = running.result()

    assert result.code == 0, result.out
    assert database.psql("SELECT version FROM _sqlx_migrations; SELECT seen FROM busy") == "1"


@one_server
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


@one_server
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
