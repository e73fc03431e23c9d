"""What a purge would delete on one host, as it is read there before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from deploy.connection.message import Answer, Message
from deploy.connection.server import Server
from deploy.errors import HostFailed, SqlError, StatementFailed
from deploy.execution import observe
from deploy.execution.conversation import Steps
from deploy.execution.transaction import retry_hint
from deploy.findings import PurgeFindings
from deploy.retention import expiry, messages
from deploy.retention.expiry import Cutoffs, Span
from deploy.retention.messages import Expired
from deploy.settings import Settings

_TOO_SLOW = "57014"
"""query_canceled: `statement_timeout` has passed."""


@dataclass(frozen=True)
class Plan:
    """What is to go: `spans`, on `server` and in `schema` alone, and how many rows. On a standby there is nothing to do."""

    settings: Settings
    server: Server
    database: str
    schema: str = ""
    cutoffs: Cutoffs | None = None
    spans: tuple[Span, ...] = ()
    expired: tuple[Expired, ...] = ()

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.expired)

    def findings(self, host: str) -> PurgeFindings:
        """Those of a host before anything is deleted."""
        if self.cutoffs is None:
            return PurgeFindings(host, note="standby")
        return PurgeFindings(host, self.cutoffs.events, self.cutoffs.health, remaining=self.rows)


def read(
    values: Settings,
    cutoffs: Cutoffs | None,
    check_server: Callable[[Server], None],
    reached: Callable[[str, str, Server], None],
) -> Steps[Plan]:
    """Look whether a purge may begin, and count. Cut-offs that were taken already stay. Raises HostFailed.

    `check_server` refuses another server than the run has seen before; `reached` hears database, version and server.
    """
    found = yield from _ask(expiry.preflight(values, cutoffs), values)
    server = Server.of(found)
    check_server(server)
    database = found.value("database")
    reached(database, found.value("server_version"), server)
    if server.in_recovery:
        return Plan(values, server, database)
    if (problem := messages.problem(found)) is not None:
        raise HostFailed(problem)
    if found.value("role") != values.owner:
        values = replace(values, owner=None)
    cutoffs = Cutoffs(found.value("events_before"), found.value("health_before"))
    schema = found.value("table_schema")
    spans = expiry.spans(values, schema, cutoffs)
    counted = yield from _ask(expiry.snapshot(values, [span.expired() for span in spans]), values)
    along = {row["table"]: tuple(row["along"]) for row in found.rows if "along" in row}
    expired = tuple(
        Expired(span.table, span.before, row["expired"], row["oldest"], row["newest"], along[span.table])
        for span, row in zip(spans, counted.rows, strict=True)
    )
    return Plan(values, server, database, schema, cutoffs, spans, expired)


def _ask(message: Message, values: Settings) -> Steps[Answer]:
    try:
        return (yield from observe.ask(message, values))
    except StatementFailed as failed:
        raise HostFailed.of(explained(failed.error, values)) from None


def explained(error: SqlError, values: Settings) -> SqlError:
    """The error with the keys that would let a batch through."""
    if error.is_busy:
        return replace(error, hint=retry_hint(values))
    if error.sqlstate == _TOO_SLOW:
        return replace(error, hint="set a smaller batch_rows, or raise statement_timeout")
    return error
