"""Databases of one server share roles: two files that make or alter the same one collide, and the loser is run again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from support.files import write
from support.operator import Pyinfra
from support.servers import Database
from support.sessions import OURS, until_found
from support.sqlx import HOST, deploy, ledger

pytestmark = pytest.mark.everything

MAKE = "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{r}') THEN CREATE ROLE {r}; END IF; END $$;"


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    name = f"shared_{database.name}"
    yield name
    database.psql(f"DROP ROLE IF EXISTS {name}")


@pytest.mark.parametrize(
    ("before", "other", "file"),
    [
        ("SELECT 1", "CREATE ROLE {r}", MAKE),
        ("CREATE ROLE {r}", "ALTER ROLE {r} CONNECTION LIMIT 5", "ALTER ROLE {r} CONNECTION LIMIT 6;"),
    ],
    ids=["the same role is made, 23505", "the same role is altered, XX000"],
)
def test_who_loses_on_a_shared_catalog_is_rolled_back_and_tried_again(
    pyinfra: Pyinfra, database: Database, tmp_path: Path, role: str, before: str, other: str, file: str
) -> None:
    """The other session commits once our file waits for it."""
    source = write(tmp_path / "migrations", {"1_a.sql": f"CREATE TABLE t (); {file.format(r=role)}"})
    database.psql(before.format(r=role))
    with psycopg.connect(database.url) as connection, ThreadPoolExecutor(1) as pool:
        connection.execute(other.format(r=role).encode())
        running = pool.submit(deploy, pyinfra, database, "deploy.apply", migrations=str(source))
        until_found(database, f"{OURS} AND wait_event_type = 'Lock'")
        connection.commit()
        got = running.result()
    assert got.code == 0, got.out
    assert len(ledger(database)) == 1


def test_a_duplicate_in_a_table_of_the_users_is_not_tried_again(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": "CREATE TABLE t (n int UNIQUE); INSERT INTO t VALUES (1), (1)"})
    started = time.monotonic()
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source), lock_wait="100s")
    assert (got.code, time.monotonic() - started < 60) == (1, True)
    assert "23505" in " ".join(got.lines(HOST))


@pytest.mark.everything
def test_twelve_databases_of_one_server_make_one_role(pyinfra: Pyinfra, database: Database, tmp_path: Path, role: str) -> None:
    source = str(write(tmp_path / "migrations", {"1_a.sql": MAKE.format(r=role)}))
    made: list[Callable[[], None]] = []
    try:
        hosts = {}
        for n in range(12):
            one = database.server.database()
            made.append(one.drop)
            hosts[f"@postgres/{n}"] = {**one.data, "migrations": source, "max_connections_per_server": 12}
        got = pyinfra(hosts, "-y", "deploy.apply", environment=database.server.environment())
        assert got.code == 0, got.out
    finally:
        for drop in made:
            drop()
