"""How long an answer is waited for."""

from __future__ import annotations

import pytest
from support.operator import Pyinfra, run, said
from support.project import MIGRATION
from support.purge_data import EVENTS, SLOW, events
from support.roundtrips import proxy
from support.servers import Database
from support.sessions import holding

from deploy.connection import timeouts
from deploy.connection.message import File, Message

ONE = "@postgres/one"


@pytest.mark.everything
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


@pytest.mark.everything
def test_a_message_without_a_deadline_is_waited_for_on_its_one_connection(pyinfra: Pyinfra, database: Database) -> None:
    with proxy(database.server.port) as between:
        data = {**database.data, "postgres_port": between.port, "statement_timeout": 0}
        done = run(pyinfra, {ONE: data}, "exec", "--", "SELECT pg_sleep(12), 7 AS seven")
    assert (done.code, '"seven": 7' in done.out, len(between.links)) == (0, True, 1), done.out


def test_a_file_is_waited_for_as_long_as_all_of_its_statements_may_take() -> None:
    def waited(*parts: object, **own: int) -> float | None:
        return timeouts.message_timeout(Message(*parts, **own), 60_000)  # type: ignore[arg-type]

    assert waited("SELECT 1; SELECT 2; SELECT 3") == 70
    assert waited(File("SELECT 1; SELECT 2", "1_a.sql")) == 130
    assert waited("SELECT 1", statement_timeout=5_000) == 15
    assert waited(File("CREATE INDEX CONCURRENTLY i ON t (x)", "1_a.sql"), statement_timeout=0) is None
    assert timeouts.message_timeout(Message("SELECT 1"), 0) is None
