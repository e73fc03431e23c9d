"""The deletion on one host: batch after batch under the lock, locked rows once more at the end, then the proof.

It is one command of pyinfra, however many batches it takes, because pyinfra keeps every command and its output to the end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from deploy.cli import failure
from deploy.connection.message import Answer, Message
from deploy.connection.server import Server
from deploy.errors import SqlError
from deploy.execution import executor
from deploy.findings import PurgeFindings
from deploy.problems import Problem
from deploy.report.run import Run as PyinfraRun
from deploy.retention import expiry, messages
from deploy.retention.expiry import EVENTS, HEALTH, Span
from deploy.retention.messages import Current
from deploy.settings import Settings

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

_POLL = 0.5
"""Seconds between two attempts at rows that others hold; at least as long as an attempt takes."""

_LONGEST_PAUSE = 1.0
"""A batch is followed by a pause as long as it took, and at most this many seconds: the purge takes no more than half of the
disk or core that a batch can take, and replication and the writers get at the rest. The next transaction is open by then, has no
snapshot and no row, and holds the advisory lock alone."""

_TELL = 2.0
"""Seconds between two lines of progress."""

_TOO_SLOW = "57014"
"""query_canceled: `statement_timeout` has passed."""


class _Stopped(Exception):
    """The purge of this host ends early; the arguments are the lines that say why."""


def delete(
    state: State,
    host: Host,
    values: Settings,
    server: Server,
    spans: tuple[Span, ...],
    expected: Mapping[str, int],
    seen: PurgeFindings,
) -> bool:
    """The function of the command: delete what is in `spans`, on `server` alone.

    `expected` says how many rows that was, by table.
    """
    run = _Run(state, host, values, server, expected)
    lines: list[str] = []
    try:
        run.through(spans)
    except _Stopped as stopped:
        lines = [*stopped.args, run.told()]
    except TimeoutError:
        host.disconnect()
        run.lost = True
        lines = [
            "the purge took longer than its `_timeout` and was stopped; run the command again to go on, or raise it",
            run.told(),
        ]
    except Exception as error:
        host.disconnect()  # in the middle of a message nothing else is sure to free the lock
        run.lost = True
        lines = [f"internal error, please report it: {type(error).__name__}: {' '.join(str(error).split())}", run.told()]
    else:
        host.log(run.told())
    run.release()
    PyinfraRun.current(host).purged(run.findings(seen))
    return failure.print_failure(state, host, Problem("statement", lines[0]), *lines[1:]) if lines else True


class _Run:
    def __init__(self, state: State, host: Host, values: Settings, server: Server, expected: Mapping[str, int]) -> None:
        self.state, self.host, self.values, self.server, self.expected = state, host, values, server, expected
        self.deleted = dict.fromkeys(expected, 0)
        self.left = dict(expected)
        self.started = self.spoke = time.monotonic()
        self.lost = False

    def through(self, spans: tuple[Span, ...]) -> None:
        """Delete and prove: no row of the spans is left, and the current status is all there. Raises _Stopped."""
        self._begin()
        before = self._current()
        for span in spans:
            self._clear(span)
        lost = before.lost(self._current(), self.deleted.get(HEALTH, 0))
        if lost is not None:
            raise _Stopped(lost)

    def release(self) -> None:
        """End the open transaction, and the lock with it. Where the connection is lost, the server has done so."""
        if not self.lost:
            self._send(expiry.release(self.values))

    def told(self) -> str:
        rows = " and ".join(f"{messages.count(rows)} of {table}" for table, rows in self.deleted.items())
        return f"deleted {rows} in {time.monotonic() - self.started:.1f} s"

    def findings(self, seen: PurgeFindings) -> PurgeFindings:
        return replace(
            seen,
            deleted_events=self.deleted[EVENTS],
            deleted_health=self.deleted.get(HEALTH, 0),
            seconds=round(time.monotonic() - self.started, 3),
            remaining=sum(self.left.values()),
        )

    def _clear(self, span: Span) -> None:
        """Delete until no row of the span is left: once through, and then for `lock_wait` again what others held."""
        self._once_through(span)
        deadline = time.monotonic() + self.values.lock_wait / 1000
        while True:
            began = time.monotonic()
            counted = self._ask(Message(span.expired()))
            self.left[span.table] = counted.value("expired")
            if not self.left[span.table]:
                return
            rest = span.starting(counted.value("oldest"))
            if began > deadline:
                holders = self._ask(Message(rest.holders())).value("holders")
                raise _Stopped(messages.still_locked(span.table, self.left[span.table], holders))
            self._once_through(rest)
            time.sleep(max(time.monotonic() - began, _POLL))

    def _once_through(self, span: Span) -> None:
        while True:
            began = time.monotonic()
            answer = self._batch(span)
            rows = answer.value("deleted")
            self.deleted[span.table] += rows
            self.left[span.table] = max(self.left[span.table] - rows, 0)
            if rows < self.values.batch_rows:
                return
            span = span.starting(answer.value("upto"))
            self._tell(span.table)
            time.sleep(min(time.monotonic() - began, _LONGEST_PAUSE))

    def _batch(self, span: Span) -> Answer:
        """One batch; while the table itself is locked, again for `lock_wait`."""
        deadline = time.monotonic() + self.values.lock_wait / 1000
        while True:
            answer = self._send(span.batch())
            if answer.error is None:
                return answer
            if answer.error.sqlstate not in executor.BUSY or time.monotonic() > deadline:
                raise _Stopped(*explained(answer.error, self.values).lines())
            self.release()
            time.sleep(_POLL)
            self._begin()

    def _begin(self) -> None:
        begun = self._ask(expiry.begin(self.values))
        if (changed := self.server.failover_problem(Server.of(begun))) is not None:
            raise _Stopped(changed)
        if not begun.value("locked"):
            raise _Stopped(messages.busy(next((row["holder"] for row in begun.rows if "holder" in row), {})))

    def _current(self) -> Current:
        return Current(**self._ask(Message(expiry.current(self.values))).rows[-1])

    def _tell(self, table: str) -> None:
        now = time.monotonic()
        if now - self.spoke >= _TELL:
            self.spoke = now
            self.host.log(messages.progress(table, self.deleted[table], self.expected[table], now - self.started))

    def _ask(self, script: Message) -> Answer:
        answer = self._send(script)
        if answer.error is not None:
            raise _Stopped(*explained(answer.error, self.values).lines())
        return answer

    def _send(self, script: Message) -> Answer:
        script.execute(self.state, self.host, {})
        error = script.answer.error
        self.lost = error is not None and error.sqlstate is None
        return script.answer


def explained(error: SqlError, values: Settings) -> SqlError:
    """The error with the keys that would let a batch through."""
    if error.sqlstate in executor.BUSY:
        return replace(error, hint=executor.tried(values))
    if error.sqlstate == _TOO_SLOW:
        return replace(error, hint="set a smaller batch_rows, or raise statement_timeout")
    return error
