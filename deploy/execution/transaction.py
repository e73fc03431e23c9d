"""The one owner of a transaction: it begins, commits and rolls back, resets the session, and tries again what is busy.

An attempt is a generator of messages that runs between BEGIN and COMMIT. It returns `Commit`, `Skip` or another outcome, or
raises; it sends no transaction control itself. Every path ends here, with nothing of the transaction left in the session.

Another migrator may be at work at any time, with SQLx's lock (its library, another deploy) or without it (its CLI). So the lock
is tried and never waited for, the ledger is read under it, and once more after every error before anything is said about it.

Only a purge goes from one transaction into the next by itself, in one message with each batch: see purge/batch.sql.j2.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from deploy.connection.message import Answer, Fragment, Message
from deploy.errors import HostFailed, SqlError, StatementFailed
from deploy.execution.conversation import Steps, send
from deploy.execution.deadline import Deadline
from deploy.execution.outcomes import Again, Commit, CommitMarker, Skip
from deploy.execution.work import Progress, Work, check_lock
from deploy.plan.ledger import LedgerState
from deploy.plan.pending import pooled_problem
from deploy.plan.target import transaction_settings
from deploy.settings import Settings
from deploy.source.migrations import Migration
from deploy.statements import statement

_SNAPSHOT = "TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SCRATCH = "TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE"
"""READ WRITE: a role may default to read only, which forbids temporary tables too."""
_COMMIT = "COMMIT;\n"
_ROLLBACK = "ROLLBACK;\n"

_LOCK_TIMEOUT = "55P03"
_NO_SUCH_TABLE = "42P01"
_EXISTS_ALREADY = ("23505", "42P07", "42P06", "42710")

T = TypeVar("T")


@dataclass(frozen=True)
class Transaction:
    """One that is open, under the lock, on the server of the plan: what the ledger says, and when it began."""

    state: LedgerState
    deadline: Deadline
    started: int

    @property
    def elapsed(self) -> int:
        """Nanoseconds since BEGIN was sent."""
        return time.perf_counter_ns() - self.started


def retry_hint(settings: Settings) -> str:
    return f"tried for {settings.lock_wait / 1000:g} s; run the command again, or raise lock_wait"


def retry_while_busy(
    attempt: Callable[[], Steps[T]],
    deadline: Deadline,
    *,
    already_done: Callable[[], Steps[T | None]] | None = None,
    may_retry: Callable[[SqlError], bool] = lambda error: error.is_busy,
) -> Steps[T]:
    """What `attempt` gives, which is made again while something is busy. Raises the last StatementFailed.

    `already_done` is asked after each error, on a session without a transaction; what it gives counts, unless it is None.
    """
    while True:
        try:
            return (yield from attempt())
        except StatementFailed as failed:
            if failed.error.is_unconfirmed:
                raise  # done, and by us
            last = failed
        if already_done is not None and (done := (yield from already_done())) is not None:
            return done
        if not may_retry(last.error) or deadline.passed:
            raise last
        deadline.pause()


def under_lock(
    work: Work,
    version: int,
    progress: Progress,
    attempt: Callable[[Transaction], Steps[Commit | CommitMarker | Skip | Again]],
    *,
    already_done: Callable[[LedgerState], str | None],
    format_error: Callable[[SqlError], HostFailed] = HostFailed.of,
    own_session: Migration | None = None,
) -> Steps[Commit | Skip]:
    """Make the attempt for one version of the ledger in a transaction under the lock, again while something is busy.

    Hosts of this run take turns. Where the ledger shows that another process has done it, `already_done` gives the text, and
    there is no attempt. The lock is the transaction's; with `own_session`, the file that needs it, it is the session's.
    Raises HostFailed.
    """
    exists, began = progress.ledger_exists, time.monotonic()

    def transact(deadline: Deadline) -> Steps[Commit | Skip]:
        nonlocal exists, began
        while True:
            transaction = yield from _take_lock(work, version, exists, deadline, own_session)
            began = time.monotonic()
            exists = transaction.state.ledger_exists
            done = already_done(transaction.state)
            outcome = Skip(done) if done is not None else (yield from attempt(transaction))
            if isinstance(outcome, Commit):
                yield from send(Message(outcome.sql, Fragment(_COMMIT, outcome.file), _reset()))
                return outcome
            if isinstance(outcome, CommitMarker):
                yield from send(Message(outcome.sql, _COMMIT, outcome.session_settings, keep_session=True))
                exists = True
                return Commit((yield from outcome.rest()))
            yield _rollback()
            if isinstance(outcome, Skip):
                return outcome
            deadline.pause()

    def ends_clean(deadline: Deadline) -> Steps[Commit | Skip]:
        try:
            return (yield from transact(deadline))
        except StatementFailed as failed:
            if failed.error.sqlstate == _LOCK_TIMEOUT and work.settings.lock_timeout:
                deadline.extend(time.monotonic() - began - work.settings.lock_timeout / 1000)
            raise  # the connection has rolled back; the session is reset when the ledger is read again
        except Exception:
            yield _rollback()
            raise

    def look() -> Steps[Skip | None]:
        nonlocal exists
        state = yield from _reread(work, version, exists)
        if state is None:
            return None
        exists = state.ledger_exists
        done = already_done(state)
        return Skip(done) if done is not None else None

    try:
        with work.queue.turn() as waited:
            deadline = Deadline(work.settings.lock_wait - waited)
            return (yield from retry_while_busy(lambda: ends_clean(deadline), deadline, already_done=look, may_retry=_may_retry))
    except StatementFailed as failed:
        raise _host_failed(failed.error, work, format_error) from None


def in_one_message(
    work: Work,
    version: int,
    *sql: str,
    already_done: Callable[[LedgerState], bool],
    format_error: Callable[[SqlError], HostFailed],
) -> Steps[bool]:
    """A whole transaction in one message, which resets the session too, again while something is busy. Raises HostFailed.

    Whether it returned a row with `version`, or the ledger shows that it was committed all the same.
    """

    def transact() -> Steps[bool]:
        answer = yield from send(Message(_begin_work(work), *sql, _COMMIT, _reset()))
        return any("version" in row for row in answer.rows)

    def look() -> Steps[bool | None]:
        state = yield from _reread(work, version, ledger_exists=True)
        return True if state is not None and already_done(state) else None

    deadline = Deadline(work.settings.lock_wait)
    try:
        return (yield from retry_while_busy(transact, deadline, already_done=look, may_retry=_may_retry))
    except StatementFailed as failed:
        raise _host_failed(failed.error, work, format_error) from None


def rolled_back(settings: str, sql: str, attempt: Callable[[Answer], Steps[T]], *, statement_timeout: int) -> Steps[T]:
    """What `attempt` gives, in a transaction that leaves nothing behind; `sql` goes before it, in the message that begins.

    The attempt sees errors in answers; after one the connection has rolled back already.
    """
    message = Message(_begin_reading(settings, _SCRATCH), sql, statement_timeout=statement_timeout)
    yield message
    steps = attempt(message.answer)
    try:
        while True:
            message = next(steps)
            yield message
    except StopIteration as done:
        result: T = done.value
    except Exception:
        yield Message(_ROLLBACK)
        raise
    if message.answer.error is None:
        yield Message(_ROLLBACK)
    return result


def snapshot(settings: str, *queries: Fragment | str) -> Message:
    """Queries in one snapshot and one message, a whole transaction that only reads; `settings` are its SET LOCAL statements."""
    return Message(_begin_reading(settings, _SNAPSHOT), *queries, _COMMIT)


def _take_lock(
    work: Work, version: int, ledger_exists: bool, deadline: Deadline, own_session: Migration | None
) -> Steps[Transaction]:
    """Open the transaction and take the lock, in turn with others. Raises HostFailed and StatementFailed.

    A session that keeps the lock for a file of its own must be the one that was logged into, and nobody may wait for the lock:
    see non_transactional.py.
    """
    strangers = 0
    while True:
        started = time.perf_counter_ns()
        pid = None if own_session is None else work.login_pid() or 0
        lock = work.ledger.lock(version, ledger_exists=ledger_exists, session_pid=pid)
        try:
            answer = yield from send(Message(_begin_work(work), lock, keep_session=own_session is not None))
        except StatementFailed as failed:
            if failed.error.sqlstate != _NO_SUCH_TABLE or not ledger_exists:
                raise
            ledger_exists = False  # it was dropped
            continue
        state = LedgerState.of(answer)
        locked = answer.value("locked") and (own_session is None or not state.waiters)
        as_expected = state.ledger_exists == ledger_exists
        if locked and as_expected and work.server.failover_problem(state.server) is None:
            return Transaction(state, deadline, started)
        # one stranger is a connection that was opened again; the next is asked on the same, which another host must not get
        strangers = 0 if answer.value("direct") else strangers + 1
        if own_session is not None and strangers > 1:
            raise HostFailed(pooled_problem(own_session))
        check_lock(work, state, in_time=locked or not as_expected or not deadline.passed)
        yield _rollback(keep_session=strangers == 1)
        if as_expected:
            deadline.pause()
        ledger_exists = state.ledger_exists


def _reread(work: Work, version: int, ledger_exists: bool) -> Steps[LedgerState | None]:
    """What the ledger says after an error, on a session without leftovers; None when it can't be read there any more."""
    for exists in (ledger_exists, not ledger_exists):
        sql = work.ledger.state(version, ledger_exists=exists)
        message = Message(_ROLLBACK, _reset(), _begin_work(work, "READ ONLY"), sql, _COMMIT)
        yield message
        if message.answer.error is None:
            state = LedgerState.of(message.answer)
            if work.server.failover_problem(state.server) is not None:
                return None
            if state.ledger_exists == exists:
                return state
        elif message.answer.error.sqlstate is None:
            return None  # a server that doesn't answer is not asked a second time
    return None


def _begin_work(work: Work, mode: str = "") -> str:
    return _begin(transaction_settings(work.settings), mode, work.settings.owner)


def _begin_reading(settings: str, mode: str) -> str:
    """A database may set how its catalogs are spelt; what is read is to be the same everywhere."""
    return _begin(settings + statement("session/spelling.sql.j2"), mode)


def _begin(settings: str, mode: str, owner: str | None = None) -> str:
    return statement("transaction/begin.sql.j2", mode=mode, settings=settings, owner=owner)


def _rollback(*, keep_session: bool = False) -> Message:
    return Message(_ROLLBACK, _reset(), keep_session=keep_session)


def _reset() -> str:
    """Gives the session back as it was after login, without locks."""
    return statement("session/reset.sql.j2")


def _may_retry(error: SqlError) -> bool:
    """Someone else may have made the ledger at the same time: IF NOT EXISTS does not see what is not committed yet."""
    return error.is_busy or (error.name is None and error.sqlstate in _EXISTS_ALREADY)


def _host_failed(error: SqlError, work: Work, format_error: Callable[[SqlError], HostFailed]) -> HostFailed:
    failed = format_error(error)
    return HostFailed(failed.problem, *failed.details, *([retry_hint(work.settings)] if _may_retry(error) else []))
