"""What deploy.purge does to a host: look, say what is past its retention, and hand it to the loop that deletes.

It isn't named `purge`: a module of that name would replace the verb of that name in the package.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyinfra import host, state
from pyinfra.api import FunctionCommand, operation

from deploy.cli import failure
from deploy.connection.message import Answer, Commands, Message
from deploy.connection.server import Server
from deploy.errors import HostFailed
from deploy.execution import executor, failover
from deploy.facts import QueryAnswer
from deploy.findings import PurgeFindings
from deploy.problems import Problem
from deploy.report.run import Run
from deploy.retention import batches, expiry, messages
from deploy.retention.expiry import Cutoffs, Span
from deploy.retention.messages import Expired
from deploy.settings import Settings


@operation()
@failure.isolates_host
def purge(**arguments: Any) -> Commands:
    """Delete events past `retention_days`, and with `health_retention_days` old rows of the status, never the newest of each.

    `arguments` are keys of deploy.settings that win over the host's data. On a standby nothing is done.
    """
    values = Run.current(host).target(**arguments).settings
    looked = _ask(values, expiry.look(values, _cutoffs(values)))
    if looked.error is not None:
        raise HostFailed.of(looked.error)
    server = Server.of(looked)
    Run.current(host).check_same_server(server)
    if server.in_recovery:
        _nothing(["standby: left alone, its primary is the one to purge"], PurgeFindings(host.name, note="standby"))
        return
    if (problem := messages.problem(looked)) is not None:
        yield from failure.fail(Problem("privilege", problem))
        return
    if looked.value("role") != values.owner:
        values = replace(values, owner=None)
    cutoffs = Cutoffs(looked.value("events_before"), looked.value("health_before"))
    _cutoffs(values, cutoffs)
    spans = expiry.spans(values, cutoffs)
    counted = _ask(values, expiry.read(values, [span.expired() for span in spans]))
    if counted.error is not None:
        raise HostFailed.of(counted.error)
    expired = [
        Expired(span.table, span.before, row["expired"], row["oldest"], row["newest"])
        for span, row in zip(spans, counted.rows, strict=True)
    ]
    seen = PurgeFindings(host.name, cutoffs.events, cutoffs.health, remaining=sum(table.rows for table in expired))
    if not seen.remaining:
        _nothing([str(table) for table in expired], seen)
        return
    Run.current(host).purged(seen)
    _announce(spans, expired)
    failover.before_writing(server)
    yield FunctionCommand(batches.delete, (values, server, spans, {table.table: table.rows for table in expired}, seen), {})


def _ask(values: Settings, script: Message) -> Answer:
    answer = executor.ask(lambda: host.get_fact(QueryAnswer, script=script), values)
    return answer if answer.error is None else Answer(error=batches.explained(answer.error, values))


def _cutoffs(values: Settings, taken: Cutoffs | None = None) -> Cutoffs | None:
    """The cut-offs of this host, which are taken once: its execution deletes what its plan has shown."""
    kept = Run.current(host).cutoffs
    key = (values.retention_days, values.health_retention_days)
    if taken is not None:
        kept.setdefault(key, taken)
    return kept.get(key)


def _nothing(lines: list[str], findings: PurgeFindings) -> None:
    Run.current(host).purged(findings)
    for line in lines:
        host.log(line)
    host.noop("nothing to purge")


def _announce(spans: tuple[Span, ...], expired: list[Expired]) -> None:
    """While planning: what would go; with --diff or -vv the SQL of a first batch too (with -y, when it is about to run)."""
    planning = not state.is_executing
    if planning:
        for table in expired:
            host.log(f"would delete {table}" if table.rows else str(table))
    if (state.config.DIFF and (planning or not state.should_check_for_changes())) or (planning and state.print_input):
        for span in spans:
            for line in str(span.batch()).splitlines():
                host.log(f"  {line}")
