"""The deletion on one host: batch after batch under a lock, locked rows once more at the end, then the proof.

A batch commits and opens the next transaction in the same message (purge/batch.sql.j2): the lock is never free in between, and
a batch costs one round trip. So a purge begins, goes on and ends by messages of its own, here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from deploy.connection.message import Answer, Message
from deploy.connection.server import Server
from deploy.errors import HostFailed, StatementFailed
from deploy.execution.conversation import Steps, send
from deploy.execution.deadline import Deadline
from deploy.execution.transaction import retry_while_busy
from deploy.findings import PurgeFindings
from deploy.problems import Problem
from deploy.retention import expiry, messages
from deploy.retention.expiry import EVENTS, HEALTH, Span
from deploy.retention.messages import Current
from deploy.retention.plan import Plan, explained

_POLL = 0.5
"""Seconds between two attempts at rows that others hold; at least as long as an attempt takes."""

_LONGEST_PAUSE = 1.0
"""A batch is followed by a pause as long as it took, and at most this many seconds: the purge takes no more than half of the
disk or core that a batch can take, and replication and the writers get at the rest. The next transaction is open by then, has no
snapshot and no row, and holds the advisory lock alone."""

_PROGRESS = 2.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True)
class Purged:
    """What became of a plan. `summary` is a sentence; `failed` says why the purge ended early, None when it did not.

    `interrupted`: it ended in the middle of a message, and nothing but closing the connection is sure to free the lock.
    """

    findings: PurgeFindings
    summary: str
    failed: HostFailed | None = None
    interrupted: bool = False


class PurgeStopped(HostFailed):
    """The purge of this host ends early."""


def delete(plan: Plan, host: str, log: Callable[[str], None]) -> Steps[Purged]:
    """Delete, and prove that no row of the spans is left and that the current status is all there; `log` shows progress."""
    deletion = _Deletion(plan, log)
    failed: HostFailed | None = None
    interrupted = False
    try:
        yield from deletion.purge()
    except PurgeStopped as stopped:
        failed = stopped
    except StatementFailed as stopped:
        failed = HostFailed.of(explained(stopped.error, plan.settings))
    except TimeoutError:
        interrupted = True
        text = "the purge took longer than its `_timeout` and was stopped"
        failed = PurgeStopped(Problem("statement", text, "run the command again to go on, or raise it"))
    except Exception as error:
        interrupted = True
        text = f"internal error, please report it: {type(error).__name__}: {' '.join(str(error).split())}"
        failed = PurgeStopped(Problem("internal", text))
    findings, summary = deletion.add_to(plan.findings(host)), deletion.summary
    if not interrupted:
        yield from deletion.end()
    return Purged(findings, summary, failed, interrupted)


class _Deletion:
    """One that is going on: how much is deleted, and how much is left, as far as known."""

    def __init__(self, plan: Plan, log: Callable[[str], None]) -> None:
        self._plan, self._log = plan, log
        self._expected = {table.table: table.rows for table in plan.expired}
        self._deleted = dict.fromkeys(self._expected, 0)
        self._left = dict(self._expected)
        self._started = self._shown = time.monotonic()
        self._open = False

    def purge(self) -> Steps[None]:
        """Delete and prove. Raises PurgeStopped and StatementFailed."""
        yield from self._begin()
        before = yield from self._current()
        for span in self._plan.spans:
            yield from self._drain(span)
        after = yield from self._current()
        if (problem := before.rows_lost(after, self._deleted.get(HEALTH, 0))) is not None:
            raise PurgeStopped(problem)

    def end(self) -> Steps[None]:
        """End the open transaction, and the lock with it."""
        if self._open:
            self._open = False
            yield expiry.unlock(self._plan.settings)

    @property
    def summary(self) -> str:
        others = {table.table: table.with_others for table in self._plan.expired}
        rows = " and ".join(
            f"{messages.n_rows(rows)} of {table}{others[table] if rows else ''}" for table, rows in self._deleted.items()
        )
        return f"deleted {rows} in {time.monotonic() - self._started:.1f} s"

    def add_to(self, findings: PurgeFindings) -> PurgeFindings:
        return replace(
            findings,
            deleted_events=self._deleted[EVENTS],
            deleted_health=self._deleted.get(HEALTH, 0),
            seconds=round(time.monotonic() - self._started, 3),
            remaining=sum(self._left.values()),
        )

    def _drain(self, span: Span) -> Steps[None]:
        """Delete until no row of the span is left: one pass, and then for `lock_wait` again what others held."""
        yield from self._pass(span)
        deadline = Deadline(self._plan.settings.lock_wait)
        while True:
            began, last = time.monotonic(), deadline.passed
            counted = yield from self._ask(Message(span.expired()))
            self._left[span.table] = counted.value("expired")
            if not self._left[span.table]:
                return
            rest = span.after(counted.value("oldest"))
            if last:
                holders = (yield from self._ask(Message(rest.holders()))).value("holders")
                raise PurgeStopped(messages.still_locked(span.table, self._left[span.table], holders))
            yield from self._pass(rest)
            time.sleep(max(time.monotonic() - began, _POLL))

    def _pass(self, span: Span) -> Steps[None]:
        """Once through the span, batch after batch."""
        while True:
            began = time.monotonic()
            try:
                answer = yield from self._batch(span)
            except StatementFailed as failed:
                if failed.error.is_unconfirmed:
                    self._count(span.table, Answer(failed.rows).value("deleted"))
                raise
            rows = answer.value("deleted")
            self._count(span.table, rows)
            if rows < self._plan.settings.batch_rows:
                return
            span = span.after(answer.value("upto"))
            self._progress(span.table)
            time.sleep(min(time.monotonic() - began, _LONGEST_PAUSE))

    def _count(self, table: str, rows: int) -> None:
        self._deleted[table] += rows
        self._left[table] = max(self._left[table] - rows, 0)

    def _batch(self, span: Span) -> Steps[Answer]:
        """One batch; while the table itself is locked, again for `lock_wait`."""

        def attempt() -> Steps[Answer]:
            try:
                if not self._open:
                    yield from self._begin()
                return (yield from self._ask(span.batch()))
            except StatementFailed:
                yield from self.end()
                raise

        return (yield from retry_while_busy(attempt, Deadline(self._plan.settings.lock_wait, _POLL)))

    def _begin(self) -> Steps[None]:
        self._open = True
        begun = yield from self._ask(expiry.begin(self._plan.settings))
        if (problem := self._plan.server.failover_problem(Server.of(begun))) is not None:
            raise PurgeStopped(problem)
        if not begun.value("locked"):
            raise PurgeStopped(messages.already_purging(begun.value("holder") or {}))

    def _current(self) -> Steps[Current]:
        answer = yield from self._ask(Message(expiry.current(self._plan.settings, self._plan.schema)))
        return Current(**answer.rows[-1])

    def _progress(self, table: str) -> None:
        now = time.monotonic()
        if now - self._shown >= _PROGRESS:
            self._shown = now
            self._log(messages.progress(table, self._deleted[table], self._expected[table], now - self._started))

    def _ask(self, message: Message) -> Steps[Answer]:
        try:
            return (yield from send(message))
        except StatementFailed as failed:
            if failed.error.sqlstate is None:
                self._open = False  # the connection is lost, and the server has ended it
            raise
