"""A synchronous standby that is down: what is committed here without its word is said to be just that."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import versions
from support.files import write
from support.operator import Pyinfra
from support.project import MIGRATION
from support.purge_data import EVENTS
from support.servers import Database, Server
from support.sessions import OURS
from support.sqlx import HOST, deploy, ledger
from support.waiting import until

pytestmark = [pytest.mark.server, pytest.mark.everything]

WARNING = "WARNING: canceling wait for synchronous replication due to user request"
UNCONFIRMED = f"committed on this server, but no synchronous standby has confirmed it ({WARNING}); what was done stays, "


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server.create(versions.programs("embedded"), log_statement="all")
    yield made
    made.remove()


@pytest.fixture
def lonely(server: Server) -> Iterator[Database]:
    """A database with our tables and 1,000 events past retention, whose server then waits for a standby that is not there."""
    database = server.database()
    database.psql(MIGRATION.read_text(encoding="utf-8") + EVENTS.format(days=1089))
    database.psql("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
    database.psql("SELECT pg_reload_conf()")
    until(lambda: database.psql("SHOW synchronous_standby_names") == "absent")
    yield database
    database.psql("ALTER SYSTEM RESET synchronous_standby_names")
    database.psql("SELECT pg_reload_conf()")


def test_a_migration_that_is_committed_and_not_confirmed_fails_with_the_servers_warning(
    pyinfra: Pyinfra, lonely: Database, tmp_path: Path
) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": "CREATE TABLE a ()", "2_b.sql": "CREATE TABLE b ()"})
    got = deploy(pyinfra, lonely, "deploy.apply", migrations=str(source), statement_timeout="500ms")
    assert got.code == 1
    assert any(line.startswith(f"1_a.sql: {UNCONFIRMED}") for line in got.lines(HOST)), got.out
    assert "already applied" not in got.out
    assert len(ledger(lonely)) == 1


def test_so_does_one_whose_wait_somebody_cancels(pyinfra: Pyinfra, lonely: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": "CREATE TABLE a ()"})
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(deploy, pyinfra, lonely, "deploy.apply", migrations=str(source))
        cancel = OURS.replace("SELECT pid", "SELECT pg_cancel_backend(pid)")
        until(lambda: lonely.psql(f"{cancel} AND wait_event = 'SyncRep'") == "t")
        got = run.result()
    assert got.code == 1
    assert any(line.startswith(f"1_a.sql: {UNCONFIRMED}") for line in got.lines(HOST)), got.out


def test_a_purge_counts_what_is_deleted_and_not_confirmed(pyinfra: Pyinfra, lonely: Database) -> None:
    got = deploy(pyinfra, lonely, "deploy.purge", statement_timeout="500ms")
    assert got.code == 1
    assert any(UNCONFIRMED in line for line in got.lines(HOST)), got.out
    assert any(line.startswith("deleted 1,000 rows of integration_events") for line in got.lines(HOST)), got.out
    assert lonely.psql("SELECT count(*) FROM integration_events") == "89"
