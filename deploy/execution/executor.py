"""How files are applied: each in a transaction under SQLx's lock that also holds its ledger row.

Another migrator may be at work at any time, with the lock (SQLx's library, another deploy) or without it (SQLx's CLI). So the
ledger is read again under the lock, and after every error before anything is said about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pyinfra import host
from pyinfra.api.command import PyinfraCommand

from deploy.connection.message import Answer, Commands, File, Fragment, Message
from deploy.connection.server import Server
from deploy.errors import HostFailed, SqlError, StatementFailed
from deploy.plan import history as audit
from deploy.plan import ledger, target
from deploy.plan.ledger import LedgerHandle, LedgerState
from deploy.plan.observation import Observation
from deploy.plan.pending import Plan
from deploy.plan.target import Target
from deploy.problems import Problem
from deploy.settings import Settings
from deploy.source.migrations import Migration

POLL = 0.2
"""Seconds between two attempts to take the lock, or to get at a busy table."""

DEADLOCK = "40P01"
BUSY = {"55P03", DEADLOCK, "40001"}
"""SQLSTATEs that another attempt may not meet: lock_timeout, a deadlock's victim, a serialization failure."""

_NO_SUCH_TABLE = "42P01"

T = TypeVar("T")
Steps = Generator[PyinfraCommand, None, T]


@dataclass
class Run:
    """The work on one host. `ledger_exists` and `schemas` (those to create) follow what was seen or done."""

    wanted: Target
    place: LedgerHandle
    server: Server
    ledger_exists: bool
    schemas: Sequence[str]
    history: str | None = None
    creates_history: bool = False
    started: int = field(default_factory=time.perf_counter_ns)

    @classmethod
    def of(cls, wanted: Target, planned: Plan, seen: Observation) -> Run:
        place = LedgerHandle(
            planned.ledger, target.session_settings(wanted.settings), wanted.settings.owner, ledger.lock_key(seen.database)
        )
        schemas, history, creates_history = planned.create_schemas, planned.history, planned.creates_history
        return cls(wanted, place, seen.server, not planned.creates_ledger, schemas, history, creates_history)

    @property
    def elapsed(self) -> int:
        """Nanoseconds since the transaction in work began."""
        return time.perf_counter_ns() - self.started

    def expects(self, state: LedgerState) -> bool:
        """Whether the server is the one that was looked at, and the ledger is there or not as expected."""
        return self.server.failover_problem(state.server) is None and state.ledger_exists == self.ledger_exists

    def audited(self, migration: Migration, action: str) -> str:
        """The statements that put this into the audit trail, in the same transaction; empty when none is wanted."""
        if self.history is None:
            return ""
        settings = self.wanted.settings
        row = audit.record(self.history, migration, action, audit.without_secrets(settings.variables, settings.secret_variables))
        return (audit.create(self.history) if self.creates_history else "") + row

    def dirty_problem(self, version: int) -> Problem:
        return ledger.dirty_problem(self.wanted.source.sqlx.ledger_table, version)

    def deadline(self) -> float:
        return time.monotonic() + self.wanted.settings.lock_wait / 1000


def send(script: Message) -> Steps[Answer]:
    """Run a script; its answer has no error. Raises StatementFailed."""
    yield script
    if script.answer.error is not None:
        raise StatementFailed(script.answer.error)
    return script.answer


def apply(run: Run, migration: Migration) -> Commands:
    """Apply one file and record it. Raises HostFailed."""

    def attempt(state: LedgerState) -> Steps[str]:
        check_row(run, migration, state)
        if state.checksum is not None:
            yield Message("ROLLBACK")
            return f"{migration}: applied meanwhile by someone else"
        yield from prepare(run)
        yield from send(Message(File(migration.sql, migration.file)))
        elapsed = run.elapsed
        wait = run.wanted.settings.lock_wait
        record = Message(run.place.record(migration, execution_time=elapsed, lock_wait=wait))
        yield record
        error = record.answer.error
        ledger_went_with_it = error is not None and error.sqlstate == _NO_SUCH_TABLE and not run.ledger_exists
        if ledger_went_with_it or (error is None and not record.answer.rows):
            yield Message("ROLLBACK;\n", ledger.reset())
            raise HostFailed(ended_transaction(migration, "recorded"))
        if error is not None:
            raise StatementFailed(error)
        yield from send(Message(run.audited(migration, "apply"), Fragment("COMMIT;\n", migration.file), ledger.reset()))
        run.ledger_exists, run.schemas, run.creates_history = True, (), False
        return f"applied {migration} ({elapsed / 1e6:.0f} ms)"

    def settled(state: LedgerState) -> str | None:
        return f"{migration}: applied meanwhile by someone else" if is_applied(migration, state) else None

    host.log((yield from under_lock(run, migration.version, attempt, settled)))


def under_lock(
    run: Run, version: int, attempt: Callable[[LedgerState], Steps[str]], settled: Callable[[LedgerState], str | None]
) -> Steps[str]:
    """Do `attempt` in a transaction under the lock; see retry_while_busy."""

    def locked(deadline: float) -> Steps[str]:
        state = yield from begin(run, version, deadline)
        return (yield from attempt(state))

    return (yield from retry_while_busy(run, version, locked, settled))


def retry_while_busy(
    run: Run,
    version: int,
    attempt: Callable[[float], Steps[str]],
    settled: Callable[[LedgerState], str | None],
    told: Callable[[SqlError], Sequence[str]] = SqlError.lines,
) -> Steps[str]:
    """Do `attempt`, which gets the deadline, again while something is busy, for at most lock_wait; give what it gives.

    After an SQL error `settled` tells from the ledger whether the work was done all the same.
    Raises HostFailed with what is `told`.
    """
    deadline = run.deadline()
    while True:
        try:
            return (yield from attempt(deadline))
        except StatementFailed as failed:
            error = failed.error
        again = yield from reread(run, version)
        done = settled(again) if again is not None else None
        if done is not None:
            return done
        if not may_retry(error):
            raise HostFailed(*told(error))
        if time.monotonic() > deadline:
            raise HostFailed(*told(error), tried(run.wanted.settings))
        time.sleep(POLL)


def ask(read: Callable[[], Answer], settings: Settings) -> Answer:
    """The answer of `read`, which is called again while a table is locked as a whole, for at most lock_wait."""
    deadline = time.monotonic() + settings.lock_wait / 1000
    while True:
        answer = read()
        if answer.error is None or answer.error.sqlstate not in BUSY or time.monotonic() > deadline:
            return answer
        time.sleep(POLL)


def begin(run: Run, version: int, deadline: float) -> Steps[LedgerState]:
    """Open the transaction of one version under the lock and give the ledger's state. Raises HostFailed and StatementFailed."""
    while True:
        run.started = time.perf_counter_ns()
        answer = yield from send_begin(run, Message(run.place.begin(version, ledger_exists=run.ledger_exists)))
        if answer is None:
            continue
        state = LedgerState.of(answer)
        if answer.value("locked") and run.expects(state):
            return state
        yield Message("ROLLBACK")
        check_lock(run, state, deadline, locked=answer.value("locked"))


def send_begin(run: Run, script: Message) -> Steps[Answer | None]:
    """The answer; None when the ledger vanished, which is looked for again."""
    try:
        return (yield from send(script))
    except StatementFailed as failed:
        if failed.error.sqlstate != _NO_SUCH_TABLE or not run.ledger_exists:
            raise
        run.ledger_exists = False
        return None


def check_lock(run: Run, state: LedgerState, deadline: float, *, locked: bool) -> None:
    """Why the server, the lock or the ledger were not as expected: wait a little, or raise HostFailed."""
    if (problem := run.server.failover_problem(state.server)) is not None:
        raise HostFailed(problem)
    if state.ledger_exists != run.ledger_exists:
        run.ledger_exists = state.ledger_exists
    elif not locked or state.waiters:
        if time.monotonic() > deadline:
            raise HostFailed(_locked(state, run.wanted))
        time.sleep(POLL)


def check_row(run: Run, migration: Migration, state: LedgerState) -> None:
    """Raise HostFailed when the ledger, read under the lock, forbids to go on; the connector rolls back with the next message."""
    if state.dirty is not None:
        raise StatementFailed(SqlError(str(run.dirty_problem(state.dirty)), kind="ledger-dirty"))
    if state.checksum is not None and state.checksum != migration.checksum.hex():
        raise StatementFailed(
            SqlError(f"migration {migration.version} was recorded meanwhile with another checksum; run the command again")
        )


def is_applied(migration: Migration, state: LedgerState) -> bool:
    return bool(state.success) and state.checksum == migration.checksum.hex()


def prepare(run: Run) -> Steps[None]:
    """Create the ledger and the schemas of sqlx.toml when they are not there."""
    if not run.ledger_exists or run.schemas:
        sql = ledger.create(run.place.name, schemas=run.schemas, create_table=not run.ledger_exists)
        yield from send(Message(sql))


def reread(run: Run, version: int) -> Steps[LedgerState | None]:
    """The ledger's state after an error, on a session without leftovers; None when it can't be read there any more."""
    for exists in (run.ledger_exists, not run.ledger_exists):
        script = Message("ROLLBACK;\n", run.place.reread(version, ledger_exists=exists))
        yield script
        if script.answer.error is None:
            state = LedgerState.of(script.answer)
            if run.server.failover_problem(state.server) is not None:
                return None
            if state.ledger_exists == exists:
                run.ledger_exists = exists
                return state
        elif script.answer.error.sqlstate is None:
            return None  # a server that doesn't answer is not asked a second time
    return None


def ended_transaction(migration: Migration, verb: str) -> str:
    return (
        f"{migration.file}: ends the transaction it runs in, so it was not {verb} and what it committed stays; "
        "remove COMMIT, ROLLBACK and the like from the file"
    )


def may_retry(error: SqlError) -> bool:
    """Whether another attempt may not meet this error.

    Someone else may have made the ledger at the same time: IF NOT EXISTS does not see what is not committed yet.
    """
    return error.sqlstate in BUSY or (error.name is None and error.sqlstate in ("23505", "42P07", "42P06", "42710"))


def tried(settings: Settings) -> str:
    return f"tried for {settings.lock_wait / 1000:g} s; run the command again, or raise lock_wait"


def _locked(state: LedgerState, wanted: Target) -> str:
    holder = state.holder
    return (
        f"another migrator holds the lock of this database: pid {holder.get('pid', 'unknown')}, "
        f"application {holder.get('application') or 'unknown'}, since {holder.get('since') or 'unknown'}; "
        f"waited {wanted.settings.lock_wait / 1000:g} s, run the command again when it is done, or raise lock_wait"
    )
