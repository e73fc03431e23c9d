"""deploy.purge beside other sessions: its locks, theirs, and another purge."""

from __future__ import annotations

import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from support.operator import Pyinfra, finish, inventory_file, start
from support.project import MIGRATION
from support.purge_data import ADVISORY, EVENTS, HOST, SLOW, Purge, events, scans
from support.servers import Database
from support.waiting import until

from deploy.retention.expiry import LOCK_KEY

pytestmark = pytest.mark.everything


def test_only_row_locks_are_taken_and_only_the_index_is_read(aged: Database, purge: Purge) -> None:
    """Sampled all the time from a second session; a trigger makes each batch long enough to be seen."""
    aged.psql(SLOW)
    scanned = scans(aged)
    modes: set[str] = set()
    with ThreadPoolExecutor(1) as pool, psycopg.connect(aged.url, autocommit=True) as watcher:
        run = pool.submit(purge, "batch_rows=50")
        while not run.done():
            time.sleep(0.02)
            modes |= {
                mode
                for (mode,) in watcher.execute(
                    """SELECT DISTINCT l.mode FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                    WHERE a.application_name = 'integration-health-deploy' AND a.datname = current_database()
                      AND l.relation IN ('integration_events'::regclass, 'integration_health'::regclass)"""
                )
            }
        assert run.result().code == 0, run.result().out
    assert "RowExclusiveLock" in modes
    assert modes <= {"AccessShareLock", "RowShareLock", "RowExclusiveLock"}
    used = {"idx_integration_events_occurred_at"}
    until(lambda: scans(aged)["idx_integration_events_occurred_at"] > scanned["idx_integration_events_occurred_at"] + 4)
    got = scans(aged)
    assert {key for key in got if got[key] > scanned[key]} - {"integration_events_pkey"} == used


def test_a_second_purge_says_who_is_at_it(aged: Database, purge: Purge, night_shift: psycopg.Connection) -> None:
    """In no moment of the first can another session take the lock, and when it has ended nothing is locked.

    A row that the night shift holds keeps the first one going, batch after batch, until it is released.
    """
    night_shift.execute("SELECT FROM integration_events ORDER BY occurred_at LIMIT 1 FOR UPDATE")
    tried = taken = 0
    with ThreadPoolExecutor(2) as pool, psycopg.connect(aged.url, autocommit=True) as other:
        run = pool.submit(purge, "batch_rows=2")
        until(lambda: other.execute(ADVISORY).fetchone() != (0,))
        late = pool.submit(purge)
        while tried < 500 or not late.done():
            time.sleep(0.001)
            with other.transaction():
                got = other.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK_KEY]).fetchone()
            tried, taken = tried + 1, taken + (got == (True,))
        night_shift.rollback()
        first, second = run.result(), late.result()
    assert first.code == 0, first.out
    assert second.code == 1, second.out
    (line,) = [line for line in second.lines(HOST) if line.startswith("another")]
    assert re.fullmatch(
        r"another purge is at work on this database: pid \d+, application integration-health-deploy, "
        r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; run again when it is done",
        line,
    )
    assert taken == 0
    assert aged.psql(ADVISORY) == "0"
    assert (events(aged), aged.psql("SELECT count(*) FROM integration_health")) == (89, "203")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_purge_that_was_killed_leaves_no_lock_and_the_next_one_goes_on(
    aged: Database, purge: Purge, tmp_path: Path, how: signal.Signals
) -> None:
    aged.psql(SLOW)
    inventory = inventory_file(tmp_path, {HOST: aged.data})
    process = start(inventory, "-y", "deploy.purge", "batch_rows=20", environment=aged.server.environment())
    until(lambda: events(aged) < 300)
    process.send_signal(how)
    finish(process)
    until(lambda: aged.psql(ADVISORY) == "0")
    left = events(aged)
    assert 89 < left < 300
    aged.psql("DROP TRIGGER slow ON integration_events")
    result = purge()
    assert any(f"deleted {left - 89} rows" in line for line in result.lines(HOST)), result.out
    assert events(aged) == 89


def test_a_purge_whose_session_is_terminated_says_what_stays(aged: Database, purge: Purge) -> None:
    aged.psql(SLOW)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(purge, "batch_rows=20")
        until(lambda: events(aged) < 300)
        aged.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'integration-health-deploy'")
        result = run.result()
    lost, told = [line for line in result.lines(HOST) if line.startswith(("connection", "deleted"))][-2:]
    assert lost.startswith("connection to 127.0.0.1:") and lost.endswith("; what was committed stays, run the command again")
    assert told.startswith(f"deleted {300 - events(aged)} rows of integration_events ")
    assert result.code == 1


def test_a_long_purge_tells_how_far_it_is(aged: Database, purge: Purge) -> None:
    aged.psql(SLOW)
    result = purge("batch_rows=20")
    told = [line for line in result.lines(HOST) if re.fullmatch(r"deleted \d+ of 211 rows of .*, \d+ rows/s, \d+ remain", line)]
    assert told, result.out


def test_rows_that_others_hold_are_skipped_and_named_at_the_end(
    aged: Database, purge: Purge, night_shift: psycopg.Connection
) -> None:
    night_shift.execute("SELECT FROM integration_events ORDER BY occurred_at LIMIT 12 FOR UPDATE")
    result = purge("lock_wait=1s", "batch_rows=10")
    assert result.code == 1, result.out
    pid = night_shift.info.backend_pid
    assert f"12 rows still locked by pid {pid} (application night-shift) in integration_events; run again" in result.lines(HOST)
    assert any(line.startswith("deleted 199 rows of integration_events in ") for line in result.lines(HOST))
    assert (events(aged), aged.psql(ADVISORY)) == (101, "0")


def test_holders_that_share_a_lock_are_named_too(aged: Database, purge: Purge, night_shift: psycopg.Connection) -> None:
    """Two sharing lockers stand in a row as one multixact, which is no transaction that pg_locks knows."""
    share = "SELECT FROM integration_events ORDER BY occurred_at LIMIT 1 FOR SHARE"
    night_shift.execute(share)
    night_shift.execute("CREATE TEMPORARY TABLE gives_a_transaction_id ()")
    with psycopg.connect(aged.url, application_name="day-shift") as other:
        other.execute(share)
        result = purge("lock_wait=0")
    assert result.code == 1
    (line,) = [line for line in result.lines(HOST) if "still locked" in line]
    assert line.startswith("1 row still locked by pid ") and "application night-shift" in line and "application day-shift" in line


def test_rows_released_within_lock_wait_go_too(aged: Database, purge: Purge, night_shift: psycopg.Connection) -> None:
    night_shift.execute("SELECT FROM integration_events ORDER BY occurred_at LIMIT 12 FOR UPDATE")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(purge)
        until(lambda: events(aged) == 101)
        time.sleep(0.7)
        night_shift.rollback()
        assert run.result().code == 0, run.result().out
    assert events(aged) == 89


def test_a_table_that_is_locked_as_a_whole_is_tried_again(aged: Database, purge: Purge, night_shift: psycopg.Connection) -> None:
    night_shift.execute("LOCK TABLE integration_events IN SHARE MODE")
    result = purge("lock_wait=1s", "lock_timeout=200ms")
    assert result.code == 1
    assert any("55P03: ERROR: canceling statement due to lock timeout" in line for line in result.lines(HOST)), result.out
    assert "HINT: tried for 1 s; run the command again, or raise lock_wait" in result.lines(HOST)
    assert (events(aged), aged.psql(ADVISORY)) == (300, "0")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(purge, "lock_timeout=200ms")
        time.sleep(2)
        night_shift.rollback()
        assert run.result().code == 0, run.result().out
    assert events(aged) == 89


def test_hosts_that_are_schemas_of_one_database_are_purged_one_after_another(pyinfra: Pyinfra, database: Database) -> None:
    hosts = {}
    for n in range(12):
        database.psql(f"CREATE SCHEMA s_{n}; SET search_path = s_{n}; {MIGRATION.read_text()}; {EVENTS.format(days=95)}; {SLOW}")
        hosts[f"@postgres/s_{n}"] = {**database.data, "schema": f"s_{n}"}
    got = pyinfra(hosts, "-y", "deploy.purge", environment=database.server.environment())
    assert got.code == 0, got.out
    assert all(database.psql(f"SELECT count(*) FROM s_{n}.integration_events") == "89" for n in range(12))  # noqa: S608
