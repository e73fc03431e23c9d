"""What is past its retention on a host, and the statements that count and delete it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from deploy.connection.message import Message
from deploy.execution import transaction
from deploy.plan import target
from deploy.settings import Settings
from deploy.statements import statement

LOCK_KEY = 0x696E746567507267
"""Advisory lock of a purge: the bytes `integPrg`. The server keeps advisory locks for each database apart."""

EVENTS, HEALTH = "integration_events", "integration_health"

TIME = {EVENTS: "occurred_at", HEALTH: "last_checked"}
"""The column that says how old a row is."""


@dataclass(frozen=True)
class Cutoffs:
    """Rows older than these go. Texts of timestamptz in UTC, from the server's clock; None keeps everything."""

    events: str
    health: str | None


@dataclass(frozen=True)
class Span:
    """Where rows are deleted: those of `table` in `schema` from `since` until just before `before`."""

    settings: Settings
    schema: str
    table: str
    before: str
    since: str = "-infinity"

    def after(self, time: str) -> Span:
        """What of the span is left once all rows before that time are gone."""
        return replace(self, since=time)

    def batch(self) -> Message:
        """Delete up to `batch_rows` rows, commit, and open the next transaction under the lock."""
        values = self.settings
        return _message(values, "batch", rows=values.batch_rows, schema=values.schema, **self._names())

    def expired(self) -> str:
        """A row with `expired`, `oldest` and `newest`: count and times of the rows that would go."""
        return statement("purge/expired.sql.j2", owner=self.settings.owner, **self._names())

    def holders(self) -> str:
        """A row with `holders`, a list of objects with `pid`, `application`, `prepared`."""
        return statement("purge/holders.sql.j2", owner=self.settings.owner, **self._names())

    def _names(self) -> dict[str, Any]:
        return {
            "table": target.qualified(self.schema, self.table),
            "column": TIME[self.table],
            "keeps_newest": self.table == HEALTH,
            "since": self.since,
            "before": self.before,
        }


def spans(values: Settings, schema: str, cutoffs: Cutoffs) -> tuple[Span, ...]:
    """One for each table that has a retention; `schema` is where they were found."""
    events = Span(values, schema, EVENTS, cutoffs.events)
    return (events,) if cutoffs.health is None else (events, Span(values, schema, HEALTH, cutoffs.health))


def preflight(values: Settings, cutoffs: Cutoffs | None) -> Message:
    """Server, tables and cut-offs; those that were taken already stay. `role` is the one that acts."""
    query = statement(
        "purge/preflight.sql.j2",
        schema=values.schema,
        owner=values.owner,
        cutoffs=cutoffs,
        days=values.retention_days,
        health_days=values.health_retention_days,
    )
    return snapshot(replace(values, owner=None), [query, statement("session/server.sql.j2")])


def snapshot(values: Settings, queries: Sequence[str]) -> Message:
    """Queries in one snapshot and one message."""
    return transaction.snapshot(_settings(values), *queries)


def current(values: Settings, schema: str) -> str:
    """A row with `rows`, `integrations` and `newest` of integration_health."""
    return statement("purge/current.sql.j2", table=target.qualified(schema, HEALTH), owner=values.owner)


def begin(values: Settings) -> Message:
    """Open the first transaction: `locked` says whether it has the lock, `holder` who else."""
    return _message(values, "begin")


def unlock(values: Settings) -> Message:
    """End the open transaction, and the lock with it."""
    return _message(values, "unlock")


def _settings(values: Settings) -> str:
    return statement("purge/settings.sql.j2", settings=target.transaction_settings(values), owner=values.owner)


def _message(values: Settings, name: str, **variables: Any) -> Message:
    sql = statement(
        f"purge/{name}.sql.j2",
        settings=target.transaction_settings(values),
        owner=values.owner,
        key=LOCK_KEY,
        key_high=LOCK_KEY >> 32,
        key_low=LOCK_KEY & 0xFFFFFFFF,
        **variables,
    )
    return Message(sql)
