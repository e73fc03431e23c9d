"""One million expired rows among two million go, beside a session that queries and inserts all the time."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from support.operator import PYINFRA, inventory_file
from support.project import MIGRATION
from support.servers import Database, Server
from support.versions import programs

FILL = """INSERT INTO integration_events (integration_id, event_type, severity, message, metadata, occurred_at)
SELECT 'integration-' || n % 20, 'pricing_sync_error', 'low', 'price of night ' || n, '{{"attempt": 1}}',
    now() - make_interval(days => CASE WHEN n % 2 = 0 THEN 91 ELSE 1 END, secs => n)
FROM generate_series(1, {rows}) AS n"""
"""Every other row is expired."""

BATCH = 10_000


@pytest.fixture(scope="module")
def quiet() -> Iterator[Server]:
    """A server that logs every wait for a lock of more than 100 ms, and no statements."""
    server = Server.create(programs(), log_lock_waits="on", deadlock_timeout="100ms", max_wal_size="4GB")
    yield server
    server.remove()


def filled(server: Server, name: str, rows: int) -> Database:
    """The deployed schema with so many rows; the indexes are made after them, which is quicker."""
    database = server.database(name)
    tables, indexes = re.split(r"^(?=CREATE INDEX)", MIGRATION.read_text(encoding="utf-8"), maxsplit=1, flags=re.M)
    database.psql(f"{tables}{FILL.format(rows=rows)};\n{indexes}")
    database.psql("VACUUM ANALYZE integration_events")
    return database


@dataclass
class Measured:
    """`client_mb` is the highest resident memory of pyinfra, `server_mb` the highest private memory of its backend."""

    out: str
    seconds: float
    client_mb: float
    server_mb: float = 0.0


def purge(database: Database, folder: Path) -> Measured:
    inventory = inventory_file(folder, {"@postgres/big": database.data})
    words = [PYINFRA, "-y", str(inventory), "deploy.purge", f"batch_rows={BATCH}"]
    out = folder / "out"
    server_mb = 0.0
    started = time.monotonic()
    with out.open("wb") as file, psycopg.connect(database.url, autocommit=True) as watcher:
        process = subprocess.Popen(
            words, cwd=folder, env=database.server.environment(), stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            for (backend,) in watcher.execute(
                """SELECT pid FROM pg_stat_activity
                WHERE application_name = 'integration-health-deploy' AND datname = current_database()"""
            ):
                server_mb = max(server_mb, private_mb(backend))
            time.sleep(0.05)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = out.read_text(encoding="utf-8")
    assert process.returncode == 0, text
    return Measured(text, time.monotonic() - started, usage.ru_maxrss / 1024, server_mb)


def private_mb(pid: int) -> float:
    try:
        found = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


@dataclass
class Neighbour:
    """A session that reads and inserts without pause; a lock it would wait for longer than 100 ms is an error."""

    url: str
    slowest_ms: float = 0.0
    rounds: int = 0
    errors: list[str] = field(default_factory=list)

    def work(self, stop: threading.Event) -> None:
        with psycopg.connect(self.url, application_name="neighbour", autocommit=True) as connection:
            connection.execute("SET lock_timeout = '100ms'")
            while not stop.is_set():
                started = time.perf_counter()
                try:
                    connection.execute(
                        """INSERT INTO integration_events (integration_id, event_type, severity, occurred_at)
                        VALUES ('n', 'live', 'low', now())"""
                    )
                    connection.execute("SELECT * FROM integration_events ORDER BY occurred_at DESC LIMIT 20").fetchall()
                    connection.execute("SELECT * FROM integration_events WHERE integration_id = 'n' LIMIT 20").fetchall()
                except psycopg.Error as error:
                    self.errors.append(str(error))
                self.slowest_ms = max(self.slowest_ms, (time.perf_counter() - started) * 1000)
                self.rounds += 1
                time.sleep(0.001)


@pytest.mark.everything
@pytest.mark.server
@pytest.mark.alone
def test_a_million_rows_go_while_a_neighbour_never_waits_for_a_lock(quiet: Server, tmp_path: Path) -> None:
    """The memory of pyinfra and of its backend is that of a purge of a tenth of the rows."""
    small = purge(filled(quiet, "small", 200_000), tmp_path)
    big = filled(quiet, "big", 2_000_000)
    neighbour, stop = Neighbour(big.url), threading.Event()
    thread = threading.Thread(target=neighbour.work, args=[stop])
    thread.start()
    try:
        measured = purge(big, tmp_path)
    finally:
        stop.set()
        thread.join()
    print(f"\n{measured.out}\nsmall {small.client_mb:.1f} MB, backend {small.server_mb:.1f} MB, {small.seconds:.1f} s")
    print(f"big {measured.client_mb:.1f} MB, backend {measured.server_mb:.1f} MB, {measured.seconds:.1f} s")
    print(f"neighbour: {neighbour.rounds} rounds of 3 statements, slowest round {neighbour.slowest_ms:.0f} ms")
    assert "deleted 1,000,000 rows of integration_events in " in measured.out
    assert re.search(r"deleted [\d,]+ of 1,000,000 rows of integration_events, [\d,]+ rows/s, [\d,]+ remain", measured.out)
    assert int(big.psql("SELECT count(*) FROM integration_events WHERE integration_id <> 'n'")) == 1_000_000
    assert neighbour.errors == []
    assert neighbour.rounds > 100
    assert "still waiting for" not in quiet.log.read_text(encoding="utf-8", errors="replace")
    assert measured.client_mb < small.client_mb + 4
    assert measured.server_mb < small.server_mb + 4
