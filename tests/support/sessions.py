"""Other sessions beside a run: they hold locks, look at it, and wait for what it does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from support.servers import PASSWORD, SUPERUSER, Database
from support.waiting import until

OURS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'integration-health-deploy'"
"""The backends of our own runs."""


@contextmanager
def session(database: Database, application: str = "someone") -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(
        host="127.0.0.1",
        port=database.server.port,
        user=SUPERUSER,
        password=PASSWORD,
        dbname=database.name,
        application_name=application,
        autocommit=True,
    ) as connection:
        yield connection


@contextmanager
def holding(database: Database, table: str) -> Iterator[None]:
    """Another session that holds ACCESS EXCLUSIVE on a table, or on several."""
    with session(database) as holder:
        holder.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


@contextmanager
def in_background(function: object, *args: object) -> Iterator[Future[object]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(function, *args)  # type: ignore[arg-type]


def until_found(database: Database, query: str) -> None:
    """Wait until a query gives something else than nothing or 0."""
    until(lambda: database.psql(query) not in ("", "0"))


def until_it_sleeps(database: Database) -> None:
    """Wait until a run of ours is in `pg_sleep(60)`."""
    until_found(database, f"{OURS} AND query LIKE '%pg_sleep(60)%' AND state = 'active'")


def pinned_session(database: Database) -> psycopg.Connection[tuple[object, ...]]:
    """A session whose search_path leads to nothing that was planted."""
    return psycopg.connect(database.url, autocommit=True, options="-c search_path=pg_catalog")


def log_entries(database: Database, kind: str) -> list[str]:
    """What the server logged for our own sessions in this database, of lines that begin so, each on one line."""
    prefix = f"integration-health-deploy|{database.name}|{kind}"
    log = database.server.log.read_text(encoding="utf-8", errors="replace").replace("\n\t", " ")
    return [line.removeprefix(prefix) for line in log.split("\n") if line.startswith(prefix)]
