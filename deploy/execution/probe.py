"""The probe: named queries and storage, tried on filled temporary tables in a transaction that is rolled back.

Our own migrations make these tables, which the real ones are like, as verification has proved before. The real tables are not
locked or read, and no query can reach them, since the search_path is pg_temp. When the client dies, the server finishes the
message it is at and rolls back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from deploy.connection.message import Answer, Message
from deploy.connection.quoting import ident
from deploy.errors import SqlError
from deploy.execution.conversation import Steps
from deploy.execution.transaction import rolled_back
from deploy.findings import Probed, QueryTiming, Violation
from deploy.plan.observation import Observation
from deploy.plan.target import Target, transaction_settings
from deploy.source.queries import Query
from deploy.statements import statement
from deploy.statements.columns import row_as

CHECKS = ("index use", "latency", "storage")
"""Names of the checks that a probe adds."""

_BATCH = 50_000
"""Rows of each table in a message: about a second, so that timeouts hold, progress shows and a dead client is noticed."""

_STATEMENT_TIMEOUT = 60_000
"""Milliseconds for one message, whatever the data says: a batch needs longer than `statement_timeout` may allow a check."""

_RUNS = 200
_SECONDS = 5
"""A query runs so often, or as long."""

_PROGRESS = 3.0
"""Seconds between two progress lines."""

_QUERY_CANCELED = "57014"
_READ_ONLY = "25006"

Log = Callable[[str], None]


def reason_not_to(target: Target, observation: Observation) -> str | None:
    """Why a host can't be probed, from what was read of it; None when it can."""
    if not target.queries:
        return "this source has no named queries"
    if observation.in_recovery:
        return "a standby takes no temporary tables; probe its primary"
    if observation.violations:
        return "a copy of tables that are not as the contract says proves nothing; repair the violations first"
    return None


def run_all(target: Target, rows: int, log: Log) -> Steps[Probed]:
    """Probe with `rows` rows in each table. No transaction is open afterwards; `log` shows a line of progress."""
    return (
        yield from rolled_back(
            transaction_settings(target.settings),
            make_tables(target),
            lambda answer: _fill_and_measure(target, rows, answer, log),
            statement_timeout=_STATEMENT_TIMEOUT,
        )
    )


def _fill_and_measure(target: Target, rows: int, begun: Answer, log: Log) -> Steps[Probed]:
    if refusal := _refusal(begun):
        return Probed(not_probed=refusal)
    if error := begun.error or (yield from _fill(rows, log)):
        return Probed(error=error)
    result = Probed(checks=CHECKS)
    for query in target.queries:
        answer = yield from _ask(time_query(query))
        if answer.error is not None and answer.error.sqlstate != _QUERY_CANCELED:
            return replace(result, error=answer.error)
        result = evaluate(result, query, rows, answer)
        if answer.error is not None:  # which ended the transaction too
            return result
    answer = yield from _ask(storage())
    found = tuple(row_as(Violation, row, "probe/storage.sql.j2") for row in answer.rows if "check" in row)
    return replace(result, violations=result.violations + found, error=answer.error)


def make_tables(target: Target) -> str:
    """Makes the temporary tables, at the beginning of a transaction; its last row has `role`, `database` and `may_create`."""
    migrations = [migration.sql for migration in target.source.migrations]
    return statement("probe/tables.sql.j2", migrations=migrations, statement_timeout=_STATEMENT_TIMEOUT)


def time_query(query: Query, runs: int = _RUNS, seconds: float = _SECONDS) -> str:
    """Its last row has `probed`: p50_ms, p95_ms, runs, plan, serves, alone."""
    return statement("probe/query.sql.j2", query=query, runs=runs, seconds=seconds)


def fill(first: int, last: int, total: int) -> str:
    return statement("probe/fill.sql.j2", first=first, last=last, total=total)


def storage() -> str:
    """Its rows are violations."""
    return statement("probe/storage.sql.j2")


def _ask(sql: str) -> Steps[Answer]:
    message = Message(sql, statement_timeout=_STATEMENT_TIMEOUT)
    yield message
    return message.answer


def _refusal(begun: Answer) -> str | None:
    if begun.error is not None:
        return "the server became a standby; probe its primary" if begun.error.sqlstate == _READ_ONLY else None
    if not begun.value("may_create"):
        role, database = ident(begun.value("role")), ident(begun.value("database"))
        return f"role {role} may not make temporary tables; run GRANT TEMPORARY ON DATABASE {database} TO {role}"
    return None


def _fill(rows: int, log: Log) -> Steps[SqlError | None]:
    started = shown = time.monotonic()
    for first in range(1, rows + 1, _BATCH):
        last = min(first + _BATCH - 1, rows)
        answer = yield from _ask(fill(first, last, rows))
        if answer.error is not None:
            return answer.error
        if time.monotonic() - shown > _PROGRESS or (last == rows and shown > started):
            shown = time.monotonic()
            log(f"probe: {last:,} of {rows:,} rows in each temporary table ({shown - started:.0f} s)")
    return (yield from _ask(statement("probe/analyze.sql.j2"))).error


def evaluate(result: Probed, query: Query, rows: int, answer: Answer) -> Probed:
    """The result with that of one more query."""
    expected = f"p95 within {query.budget_ms:g} ms"
    if answer.error is not None:
        slow = Violation("latency", query.name, expected, f"cancelled after {_STATEMENT_TIMEOUT / 1000:g} s at {rows:,} rows")
        return replace(result, violations=(*result.violations, slow))
    probed: dict[str, Any] = answer.value("probed")
    timing = QueryTiming(
        name=query.name,
        index=query.index,
        budget_ms=query.budget_ms,
        p50_ms=probed["p50_ms"],
        p95_ms=probed["p95_ms"],
        runs=probed["runs"],
        rows=rows,
        plan=probed["plan"],
    )
    found = []
    if not probed["serves"]:
        nodes = ", ".join(probed["alone"])
        found.append(Violation("index use", query.index, f"to serve {query.name} as the only index", f"a plan without it: {nodes}"))
    if not timing.within_budget:
        actual = f"p95 {timing.p95_ms:.1f} ms, p50 {timing.p50_ms:.1f} ms in {timing.runs} run(s) on {rows:,} rows"
        found.append(Violation("latency", query.name, expected, actual))
    return replace(result, violations=(*result.violations, *found), queries=(*result.queries, timing))
