"""How long a server is waited for that says nothing: frozen for real, locked for real, and one that only takes its time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deploy.script import File, Script
from support.files import write
from support.operator import Pyinfra, run, said
from support.project import MIGRATION
from support.purge_data import EVENTS, SLOW, events
from support.servers import Database, Server
from support.sessions import holding, in_background, until_it_sleeps
from support.versions import programs

from deploy import patience

ONE, HEALTHY = "@postgres/one", "@postgres/healthy"


@pytest.fixture
def other() -> Iterator[Server]:
    """A server of its own, which may be frozen."""
    made = Server.create(programs())
    yield made
    made.remove()


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Every process of the server is stopped; the kernel still takes connections for it."""
    main = int((server.folder / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    backends = [int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text(encoding="utf-8").split()]
    for pid in (main, *backends):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in (*backends, main):
            os.kill(pid, signal.SIGCONT)


def test_a_server_that_freezes_under_a_no_transaction_file_is_given_up_and_a_slow_one_is_not(
    pyinfra: Pyinfra, database: Database, other: Server, tmp_path: Path
) -> None:
    sql = "-- no-transaction\nSELECT pg_sleep(15 + 0 * length('pg_sleep(60)'))"
    source = {"migrations": str(write(tmp_path / "source", {"1_slow.sql": sql}))}
    ill = other.database()
    data = {**ill.data, **source, "postgres_conninfo": "connect_timeout=2"}
    with in_background(run, pyinfra, {ONE: data, HEALTHY: {**database.data, **source}}) as running:
        until_it_sleeps(ill)
        with frozen(other):
            result = running.result()
    assert (result.code, said(result, ONE)[-2:]) == (  # type: ignore[attr-defined]
        1,
        [
            f"no answer from 127.0.0.1:{other.port} any more, which takes no new connection either; the command was cancelled; "
            "run it again when the server answers",
            "1_slow.sql: may have done a part of its work; its row in the ledger has success = false: look at the database, finish "
            "or undo what is half done, then set success to true or remove the row of version 1",
        ],
    )
    assert any(line.startswith("applied 1 slow (") for line in said(result, HEALTHY))  # type: ignore[arg-type]
    assert database.psql("SELECT success FROM _sqlx_migrations") == "t"


def test_pyinfras_timeout_holds_for_reads_probes_and_a_whole_purge(pyinfra: Pyinfra, database: Database) -> None:
    database.psql(MIGRATION.read_text(encoding="utf-8"))
    database.psql(EVENTS.format(days=300))
    data = {**database.data, "_timeout": 1}
    words = "within 1 s; the command was cancelled; run it again when the server answers"
    no_answer = f"no answer from 127.0.0.1:{database.server.port} {words}"
    assert said(run(pyinfra, {ONE: {**data, "probe_rows": 200_000}}, "-y", "deploy.verify"), ONE)[-1] == f"probe: {no_answer}"
    with holding(database, "integration_events"):
        assert said(run(pyinfra, {ONE: data}, "-y", "deploy.purge"), ONE)[-1] == no_answer
    database.psql(SLOW)
    result = run(pyinfra, {ONE: data}, "-y", "deploy.purge", "batch_rows=10")
    stopped, told = said(result, ONE)[-2:]
    assert stopped == "the purge took longer than its `_timeout` and was stopped; run the command again to go on, or raise it"
    assert told.startswith("deleted ") and 89 < events(database) < 300
    assert database.psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"


def test_a_file_is_waited_for_as_long_as_all_of_its_statements_may_take() -> None:
    def waited(*parts: object, **own: int) -> float | None:
        return patience.seconds(Script(*parts, **own), 60_000)  # type: ignore[arg-type]

    assert waited("SELECT 1; SELECT 2; SELECT 3") == 70
    assert waited(File("SELECT 1; SELECT 2", "1_a.sql")) == 130
    assert waited("SELECT 1", statement_timeout=5_000) == 15
    assert waited(File("CREATE INDEX CONCURRENTLY i ON t (x)", "1_a.sql"), statement_timeout=0) is None
    assert patience.seconds(Script("SELECT 1"), 0) is None
