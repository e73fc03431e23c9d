"""Twelve servers: one is stopped before the run, one is paused and one restarted during it. Nine don't notice."""

from __future__ import annotations

import os
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from support.containers import DATABASE, PASSWORD, USER, Container, Start
from support.operator import Pyinfra, Result, finish, inventory_file
from support.operator import start as start_run
from support.waiting import until

pytestmark = pytest.mark.everything

TIMEOUT = 4
"""Seconds of statement_timeout; a message is given up 10 seconds after it, and the one attempt to look again after 10 more."""


def holding(server: Container) -> psycopg.Connection[object]:
    """Somebody who holds the lock of SQLx on a server, so that a run waits there until something happens to it."""
    connection = psycopg.connect(host="127.0.0.1", port=server.port, user=USER, password=PASSWORD, dbname=DATABASE, autocommit=True)
    connection.execute("SELECT pg_advisory_lock(%s::bigint)", [0x3D32AD9E * zlib.crc32(DATABASE.encode())])
    return connection


def waits(server: Container) -> bool:
    """Whether our run asks this server for the lock right now."""
    return "pg_try_advisory_xact_lock" in server.docker("logs")


@pytest.mark.alone
def test_three_hosts_fail_alone_and_the_next_run_finishes_them(start: Start, pyinfra: Pyinfra, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        servers = dict(zip((f"db{n:02}" for n in range(12)), pool.map(lambda _: start(), range(12)), strict=True))
    stopped, paused, restarted = (servers[name] for name in ("db03", "db06", "db09"))
    data = {f"@postgres/{name}": {**server.data, "statement_timeout": f"{TIMEOUT}s"} for name, server in servers.items()}
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    stopped.docker("stop", "-t", "1")
    holders = [holding(paused), holding(restarted)]

    with start_run(inventory_file(tmp_path, data), "-y", "deploy.apply", environment=environment) as run:
        until(lambda: waits(paused) and waits(restarted))
        paused.docker("pause")
        restarted.docker("restart", "-t", "1")
        happened = time.monotonic()
        done = finish(run, timeout=120)
    took = time.monotonic() - happened
    paused.docker("unpause")

    assert done.code == 1, done.out
    assert "Traceback" not in done.out
    assert took < TIMEOUT + 10 + 10 + 12, f"a paused server held the run for {took:.0f} s"
    healthy = {name for name, server in servers.items() if server not in (stopped, paused, restarted)}
    assert all(servers[name].deployed() for name in healthy)
    assert len(healthy) == 9
    assert one_sentence(done, "db03").startswith(f"can't connect to 127.0.0.1:{data['@postgres/db03']['postgres_port']}: ")
    assert one_sentence(done, "db06") == (
        f"no answer from 127.0.0.1:{paused.port} within {TIMEOUT + 10} s; the command was cancelled; "
        "run it again when the server answers"
    )
    assert "127.0.0.1" in one_sentence(done, "db09"), one_sentence(done, "db09")
    for holder in holders:
        holder.close()

    stopped.docker("start")
    until(lambda: all(server.answers() for server in (stopped, paused, restarted)))
    for name, server in servers.items():  # a container that was started again has another port
        data[f"@postgres/{name}"]["postgres_port"] = server.port
    again = pyinfra(data, "-y", "deploy.apply", environment=environment)

    assert again.code == 0, again.out
    assert all(server.deployed() for server in servers.values())
    row = next(line.split() for line in again.out.splitlines() if line.startswith("    Migrate "))
    assert row[1:] == ["12", "3", "-", "9"]


def one_sentence(done: Result, name: str) -> str:
    """What was said of a failed host, apart from pyinfra's own lines and the plan's notes."""
    told = ("Connected", "Ready: apply", "Error: executed", "new objects and ledger")
    (line,) = [line.strip() for line in done.lines(f"@postgres/{name}") if not line.strip().startswith(told)]
    return line
