"""SQLx's lock, shared: with another deploy, with the real library, and with the real CLI, which takes none."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra, finish, inventory_file, start
from support.servers import Database
from support.sessions import OURS, session, until_found
from support.sqlx import HOST, ledger, locks, start_deploy, start_library, start_sqlx
from support.waiting import until

from deploy.plan.ledger import lock_key

pytestmark = pytest.mark.everything

ROUNDS = 20
FILES = {
    f"{n}_step.sql": f"CREATE TABLE t_{n} (id int PRIMARY KEY); SELECT pg_sleep(0.04);"
    f"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT {n}'; DROP FUNCTION f();"
    for n in range(1, 13)
}


@pytest.mark.everything
@pytest.mark.timeout(900)
def test_two_deploys_the_library_and_two_clis_at_once_twenty_rounds(database: Database, tmp_path: Path) -> None:
    """Every one of ours ends well; the two CLIs may lose their own race; each row is there once, and no lock remains."""
    source = write(tmp_path / "migrations", FILES)
    randomly = random.Random(22_1)
    want: list[str] | None = None
    met = 0
    for number in range(ROUNDS):
        one = database.server.database()
        ours = [start_deploy(tmp_path / f"deploy{n}", one, "deploy.apply", migrations=str(source)) for n in range(2)]
        until_found(one, OURS)
        time.sleep(randomly.uniform(0, 0.5))
        others: list[subprocess.Popen[str]] = []
        starts = [
            lambda one=one: start_library(one, source),
            lambda one=one: start_sqlx(one, source, "run"),
            lambda one=one: start_sqlx(one, source, "run"),
        ]
        randomly.shuffle(starts)
        for begin in starts:
            others.append(begin())
            time.sleep(randomly.uniform(0, 0.3))
        results = [finish(process, timeout=120) for process in ours]
        theirs = [finish(process, timeout=120) for process in others]
        for result in results:
            assert result.code == 0, f"round {number}: {result.out}"
            assert "Traceback" not in result.out
        met += sum("already applied by another process" in result.out for result in results)
        got = ledger(one)
        want = want or got
        assert len(got) == len(FILES), f"round {number}: {[result.out for result in theirs]}"
        assert got == want, f"round {number}"
        assert locks(one) == "0"
        one.drop()
    assert met, "in no round did two of them meet"


def test_a_type_with_the_ledgers_name_that_goes_away_is_waited_for(database: Database, tmp_path: Path) -> None:
    """As when someone else's CREATE TABLE is committed between two look-ups of ours: the table is not seen, its type is."""
    source = write(tmp_path / "migrations", {"1_a.sql": "SELECT 1"})
    database.psql("CREATE DOMAIN _sqlx_migrations AS int")
    process = start_deploy(tmp_path / "deploy", database, "deploy.apply", migrations=str(source))
    with session(database) as look:
        refused = f'|{database.name}|ERROR:  type "_sqlx_migrations" already exists'
        until(lambda: refused in database.server.log.read_text(encoding="utf-8", errors="replace"))
        look.execute("DROP DOMAIN _sqlx_migrations")
    got = finish(process, timeout=60)
    assert got.code == 0, got.out


def test_the_lock_is_waited_for(database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": "SELECT 1"})
    with session(database) as other:
        other.execute(f"SELECT pg_advisory_lock({lock_key(database.name)})")
        process = start_deploy(tmp_path / "d", database, "deploy.apply", migrations=str(source))
        time.sleep(2.5)
        assert process.poll() is None
        assert other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,), "polled, not blocked in"
    assert finish(process).code == 0


def test_the_victim_of_a_deadlock_tries_again(database: Database, tmp_path: Path) -> None:
    database.psql("CREATE TABLE a (); CREATE TABLE b ()")
    source = write(
        tmp_path / "migrations", {"1_a.sql": "SET LOCAL deadlock_timeout = 10; LOCK TABLE a; SELECT pg_sleep(2); LOCK TABLE b;"}
    )
    with session(database) as other:
        other.execute("SET deadlock_timeout = '30s'; BEGIN; LOCK TABLE b")
        process = start_deploy(tmp_path / "d", database, "deploy.apply", migrations=str(source))
        until(lambda: other.execute("SELECT count(*) FROM pg_locks WHERE relation = 'a'::regclass").fetchone() != (0,))
        other.execute("LOCK TABLE a")
        other.execute("COMMIT")
    result = finish(process)
    assert result.code == 0, result.out
    assert "40P01" in database.server.log.read_text() or "deadlock detected" in database.server.log.read_text()


def test_after_an_sql_error_the_ledger_is_read_again_before_judging(database: Database, tmp_path: Path) -> None:
    """The CLI, which takes no lock, records the file while ours waits for a table of it."""
    database.psql("CREATE TABLE gate ()")
    source = write(tmp_path / "migrations", {"1_a.sql": "CREATE TABLE a (); LOCK TABLE gate;"})
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with session(database) as gate:
        gate.execute("BEGIN; LOCK TABLE gate")
        theirs = start_sqlx(database, source, "run")
        until(lambda: database.psql(waiting) == "1")
        process = start_deploy(tmp_path / "d", database, "deploy.apply", migrations=str(source))
        until(lambda: database.psql(waiting) == "2")
    ours = finish(process)
    assert finish(theirs).code == 0
    assert ours.code == 0, ours.out
    assert "1 a: already applied by another process" in ours.lines(HOST)
    assert len(ledger(database)) == 1


def test_a_lock_is_released_on_every_path(database: Database, tmp_path: Path) -> None:
    """Looked at while the connections are still open: the inventory has one more host, which is slow."""
    bad = ("SELEC", "COMMIT", "-- no-transaction\nCREATE INDEX CONCURRENTLY ON nowhere (a)")
    failing = [database.server.database() for _ in bad]
    slow = write(tmp_path / "slow", {"1_a.sql": "SELECT pg_sleep(8)"})
    hosts = {"@postgres/slow": {**database.data, "migrations": str(slow)}}
    for number, (one, sql) in enumerate(zip(failing, bad, strict=True)):
        hosts[f"@postgres/{number}"] = {**one.data, "migrations": str(write(tmp_path / str(number), {"1_a.sql": sql}))}
    running = start(inventory_file(tmp_path, hosts), "-y", "deploy.apply", environment=database.server.environment())
    until_found(database, f"{OURS} AND state = 'active' AND query LIKE '%pg_sleep%'")
    for one in failing:
        until_found(one, f"{OURS} AND state = 'idle'")
    time.sleep(1)
    assert running.poll() is None
    assert [locks(one) for one in failing] == ["0"] * len(bad)
    result = finish(running)
    assert (result.code, [result.lines(f"@postgres/{number}") != [] for number in range(len(bad))]) == (1, [True] * len(bad))


def schema_hosts(database: Database, count: int, **data: object) -> dict[str, dict[str, object]]:
    database.psql(" ".join(f"CREATE SCHEMA IF NOT EXISTS s_{n};" for n in range(count)))
    return {f"@postgres/s_{n}": {**database.data, "schema": f"s_{n}", **data} for n in range(count)}


def test_hosts_that_are_schemas_of_one_database_wait_for_each_other_beyond_lock_wait(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    """Each file takes as long as `lock_wait` allows to wait for others."""
    source = write(tmp_path / "migrations", {"1_a.sql": "CREATE TABLE t (); SELECT pg_sleep(0.4)"})
    hosts = schema_hosts(database, 12, migrations=str(source), lock_wait="400ms")
    got = pyinfra(hosts, "-y", "deploy.apply", environment=database.server.environment())
    assert got.code == 0, got.out
    assert all(len(ledger(database, f"s_{n}._sqlx_migrations")) == 1 for n in range(12))


def test_they_wait_for_somebody_else_together_and_not_one_after_another(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": "CREATE TABLE t ()"})
    hosts = schema_hosts(database, 6, migrations=str(source), lock_wait="5s")
    with session(database, "night-shift") as holder:
        holder.execute(f"SELECT pg_advisory_lock({lock_key(database.name)})".encode())
        started = time.monotonic()
        got = pyinfra(hosts, "-y", "deploy.apply", environment=database.server.environment())
        assert time.monotonic() - started < 25
    assert got.code == 1
    assert all(any("application night-shift" in line for line in got.lines(host)) for host in hosts), got.out
