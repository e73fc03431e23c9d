"""Two migrators on one database."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from support.operator import Pyinfra, inventory_file
from support.project import MIGRATION, VERSION
from support.servers import Database
from support.sqlx import LEDGER
from support.waiting import until

from deploy.plan import ledger
from deploy.source import migrations

pytestmark = pytest.mark.everything

HOST = "@postgres/busy"

WAITING = """SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'integration-health-deploy' AND query LIKE 'ROLLBACK%'"""


@pytest.fixture
def migrator(database: Database) -> Iterator[psycopg.Connection]:
    """Another session, which holds SQLx's lock as SQLx's library does."""
    with psycopg.connect(database.url, application_name="night-shift", autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [ledger.lock_key(database.name)])
        yield connection


def tries(database: Database) -> int:
    return sum("pg_try_advisory_xact_lock" in statement for statement in database.statements())


def test_who_holds_the_lock_is_named_when_the_wait_is_over(
    database: Database, pyinfra: Pyinfra, migrator: psycopg.Connection
) -> None:
    started = time.monotonic()
    result = pyinfra({HOST: {**database.data, "lock_wait": "1s"}}, "-y", "deploy.apply", environment=database.server.environment())
    assert result.code == 1
    assert time.monotonic() - started < 60
    (line,) = [line for line in result.lines(HOST) if "another migrator" in line]
    assert re.fullmatch(
        r"another migrator holds the lock of this database: "
        rf"pid {migrator.info.backend_pid}, application night-shift, since \d{{4}}-\d\d-\d\dT[^;]+; "
        r"waited 1 s, run the command again when it is done, or raise lock_wait",
        line,
    )
    assert tries(database) >= 3
    assert database.psql("SELECT to_regclass('integration_health'), to_regclass('_sqlx_migrations')") == "|"
    migrator.execute("SELECT pg_advisory_unlock_all()")
    assert pyinfra({HOST: database.data}, "-y", "deploy.apply", environment=database.server.environment()).code == 0


def test_two_runs_at_once_both_end_well(database: Database, pyinfra: Pyinfra, migrator: psycopg.Connection, tmp_path: Path) -> None:
    """Both have planned to make everything, ledger included, before the first one can; one does it, the other sees it."""
    inventory = inventory_file(tmp_path, {HOST: database.data})

    def run() -> tuple[int, str]:
        result = pyinfra(str(inventory), "-y", "deploy.apply", environment=database.server.environment())
        return result.code, result.out

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run), pool.submit(run)]
        until(lambda: migrator.execute(WAITING).fetchone() == (2,))
        migrator.execute("SELECT pg_advisory_unlock_all()")
        results = [one.result() for one in runs]
    assert [code for code, _ in results] == [0, 0], results
    outputs = "\n".join(out for _, out in results)
    assert len(re.findall(rf"applied {VERSION} create integration health tables \(", outputs)) == 1
    assert len(re.findall(rf"{VERSION} create integration health tables: already applied by another process", outputs)) == 1
    assert database.psql("SELECT version FROM _sqlx_migrations") == str(VERSION)


@pytest.mark.parametrize("ledger_exists", [True, False])
def test_a_migrator_that_takes_no_lock_and_was_quicker_is_recognised(
    database: Database, pyinfra: Pyinfra, ledger_exists: bool
) -> None:
    """SQLx's CLI takes no lock in any version: it may write the row while we do, and ours then is a duplicate key."""
    (ours,) = migrations.load(migrations.packaged()).migrations
    if ledger_exists:
        database.psql(LEDGER)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database.url) as cli:
        cli.execute(LEDGER.replace("TABLE", "TABLE IF NOT EXISTS").encode())
        cli.execute(MIGRATION.read_bytes())
        row = [ours.version, ours.description, ours.checksum]
        cli.execute("INSERT INTO _sqlx_migrations VALUES (%s, %s, now(), TRUE, %s, 1)", row)
        run = pool.submit(pyinfra, {HOST: database.data}, "-y", "deploy.apply", environment=database.server.environment())
        until(lambda: database.psql("SELECT 1 FROM pg_locks WHERE NOT granted LIMIT 1") or run.done())
        cli.commit()
        result = run.result()
    assert result.code == 0, result.out
    assert f"{ours}: already applied by another process" in result.lines(HOST)
    assert database.psql("SELECT version, execution_time FROM _sqlx_migrations") == f"{VERSION}|1"
