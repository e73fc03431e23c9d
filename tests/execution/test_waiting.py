"""A file that waits for a lock says for whom, and how many wait behind it; the time to try again counts waiting alone."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from support.files import write
from support.operator import finish
from support.servers import Database
from support.sessions import OURS, session, until_found
from support.sqlx import HOST, start_deploy
from support.waiting import until

pytestmark = pytest.mark.everything


@pytest.mark.parametrize("header", ["", "-- no-transaction\n"], ids=["transaction", "no transaction"])
def test_whom_a_file_waits_for_and_who_queues_behind_it_is_said(database: Database, tmp_path: Path, header: str) -> None:
    """Another source has no `lock_timeout`, as under SQLx."""
    database.psql("CREATE TABLE t (n int)")
    source = write(tmp_path / "migrations", {"1_a.sql": f"{header}ALTER TABLE t ADD m int"})
    with session(database, "forgotten") as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("BEGIN; SELECT FROM t")
        pid = holder.info.backend_pid
        process = start_deploy(tmp_path / "deploy", database, "deploy.apply", migrations=str(source))
        until_found(database, f"{OURS} AND wait_event_type = 'Lock'")
        reader = pool.submit(database.psql, "SELECT count(*) FROM t")
        until(lambda: reader.running())
        until_found(database, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'relation' AND query LIKE 'SELECT count%'")
        time.sleep(6)  # until it has looked
        holder.execute("ROLLBACK")
        got = finish(process)
        assert reader.result() == "0"
    assert got.code == 0, got.out
    said = [line for line in got.lines(HOST) if "waits for" in line]
    assert len(said) == 1, got.out
    assert re.fullmatch(
        rf"1_a\.sql: waits for pid {pid} \(application forgotten, idle in transaction, in a transaction since "
        r"\d{4}-[^)]*\); 1 session waits behind it",
        said[0],
    )


def test_the_work_of_a_file_does_not_count_as_waiting(database: Database, tmp_path: Path) -> None:
    """Three times 1.5 seconds of work and 0.1 for the lock, with a `lock_wait` of two seconds."""
    database.psql("CREATE TABLE t (n int)")
    source = write(tmp_path / "migrations", {"1_a.sql": "SELECT pg_sleep(1.5); ALTER TABLE t ADD m int"})
    values = {"migrations": str(source), "lock_timeout": "100ms", "lock_wait": "2s"}
    with psycopg.connect(database.url) as holder:
        holder.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        process = start_deploy(tmp_path / "deploy", database, "deploy.apply", **values)
        log = f"|{database.name}|ERROR:  canceling statement due to lock timeout"
        until(lambda: database.server.log.read_text(encoding="utf-8", errors="replace").count(log) >= 3)
        holder.rollback()
    got = finish(process)
    assert got.code == 0, got.out
