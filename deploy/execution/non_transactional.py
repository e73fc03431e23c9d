"""How a `-- no-transaction` file runs: alone in its message, outside a transaction, under a lock of the session.

A row with `success = false` marks it before; the row is flipped after it, or goes when the file failed and left nothing
behind. A crash in between is seen by both tools. SQLx writes no such row, but refuses to go on when it finds one.

The lock is not waited for, and let go when somebody waits for it: a waiter inside pg_advisory_lock, as SQLx's library, holds a
snapshot that CREATE INDEX CONCURRENTLY waits for. One that comes meanwhile makes a deadlock; if we are its victim we start over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from deploy.connection.message import File, Message
from deploy.errors import HostFailed, SqlError, StatementFailed
from deploy.execution.conversation import Steps, send
from deploy.execution.outcomes import Again, Commit, CommitMarker
from deploy.execution.transaction import Transaction, in_one_message, under_lock
from deploy.execution.work import Progress, Work, check_row, prepare
from deploy.plan import invalid_indexes, target
from deploy.plan.invalid_indexes import InvalidIndex
from deploy.plan.ledger import LedgerState
from deploy.problems import Problem
from deploy.source.migrations import Migration
from deploy.statements import statement
from deploy.statements.columns import row_as

Action = Literal["apply", "revert"]

_DONE: dict[Action, str] = {"apply": "applied", "revert": "reverted"}

_DEADLOCK = "40P01"


@dataclass(frozen=True)
class _Job:
    """`file` runs, and `up` is the migration whose row follows: the same one, or that which a down file reverts."""

    work: Work
    file: Migration
    up: Migration
    action: Action
    progress: Progress

    def is_done(self, state: LedgerState) -> bool:
        return state.shows(self.up) if self.action == "apply" else state.checksum is None

    @property
    def repairs(self) -> bool:
        return self.work.settings.repair_invalid_indexes


@dataclass(frozen=True)
class _Before:
    """What was there before the file: all INVALID indexes, those of the file, and whether the file's row was marked already."""

    invalid: Sequence[InvalidIndex]
    old: Sequence[InvalidIndex]
    marked: bool


def apply(work: Work, migration: Migration, progress: Progress) -> Steps[Progress]:
    """Apply one file and record it. Raises HostFailed."""
    committed = yield from _run(_Job(work, migration, migration, "apply", progress))
    return progress.after_recording(committed=committed)


def revert(work: Work, up: Migration, down: Migration, progress: Progress) -> Steps[Progress]:
    """Run one down file and remove the row of its version. Raises HostFailed."""
    committed = yield from _run(_Job(work, down, up, "revert", progress))
    return progress.after_reverting(committed=committed)


def _run(job: _Job) -> Steps[bool]:
    """Whether it was done here. What is busy is tried again unless a part of the work is done."""
    work, file = job.work, job.file

    def attempt(transaction: Transaction) -> Steps[CommitMarker | Again]:
        state = transaction.state
        if job.action == "apply":
            check_row(work, job.up, state, resumes=job.repairs)
        elif state.dirty is not None:
            raise HostFailed(work.dirty_problem(state.dirty))
        invalid = yield from _invalid()
        old = invalid_indexes.of_file(file.sql, invalid) if job.action == "apply" else ()
        if any(one.busy for one in old) and not transaction.deadline.passed:
            return Again()
        if old and not job.repairs:
            raise HostFailed(invalid_indexes.in_the_way(file, old[0]))
        yield from prepare(work, state, job.progress)
        before = _Before(invalid, old, marked=state.dirty == job.up.version)
        return CommitMarker(_mark(job), target.session_settings(work.settings), rest=partial(_outside, job, before))

    def already_done(state: LedgerState) -> str | None:
        return f"{job.up}: already {_DONE[job.action]} by another process" if job.is_done(state) else None

    def format_error(error: SqlError) -> HostFailed:
        named = error if error.name is not None else replace(error, name=file.file, line=None, column=None, text=None)
        return HostFailed.of(named)

    outcome = yield from under_lock(
        work,
        job.up.version,
        job.progress,
        attempt,
        already_done=already_done,
        format_error=format_error,
        own_session=file,
    )
    work.log(outcome.text)
    return isinstance(outcome, Commit)


def _mark(job: _Job) -> str:
    return statement(
        "no_transaction/mark.sql.j2",
        ledger=job.work.ledger.name,
        version=job.file.version,
        description=job.file.description,
        checksum=job.file.checksum.hex(),
        action=job.action,
        owner=job.work.ledger.owner,
    )


def _outside(job: _Job, before: _Before) -> Steps[str]:
    """Remove what an earlier attempt left, run the file, and record it unless it left something behind.

    Raises StatementFailed when the file did nothing, else HostFailed.
    """
    work, file = job.work, job.file
    try:
        for one in before.old:
            yield from _drop(one)
            work.log(f"dropped INVALID index {one.index}")
    except StatementFailed:
        if not before.marked:
            yield from _finish(job, 0, succeeded=False)
        raise
    started = time.perf_counter_ns()
    message = Message(File(file.sql, file.file), statement_timeout=0, keep_session=True)
    yield message
    error = message.answer.error
    left = yield from _left(job, before, error)
    elapsed = time.perf_counter_ns() - started
    if error is None and not left:
        yield from _finish(job, elapsed, succeeded=True)
        return f"{_DONE[job.action]} {job.up} ({elapsed / 1e6:.0f} ms)"
    if error is not None and error.sqlstate == _DEADLOCK:
        for one in left:
            yield from _drop(one)
        left = ()
    if left or error is None or _may_have_committed(file):
        raise _half_done(file, error, left)
    yield from _finish(job, elapsed, succeeded=False)
    raise StatementFailed(error)


def _drop(index: InvalidIndex) -> Steps[None]:
    yield from send(Message(index.drop, statement_timeout=0, keep_session=True))


def _left(job: _Job, before: _Before, error: SqlError | None) -> Steps[Sequence[InvalidIndex]]:
    """INVALID indexes that the file has left; with IF NOT EXISTS it may have left them without an error."""
    file = job.file
    if error is not None and error.sqlstate is None:
        raise HostFailed.of(error, _marked(file))
    try:
        after = yield from _invalid()
    except StatementFailed as failed:
        raise HostFailed.of(failed.error, _marked(file)) from None
    mine = invalid_indexes.of_file(file.sql, after)
    if error is None:
        return mine
    known = {one.index for one in before.invalid} - {one.index for one in before.old}
    return [one for one in after if one in mine or (one.index not in known and not one.busy)]


def _invalid() -> Steps[Sequence[InvalidIndex]]:
    answer = yield from send(Message(statement("indexes/list_invalid.sql.j2"), keep_session=True))
    return [row_as(InvalidIndex, one, "indexes/invalid.sql.j2") for one in answer.value("invalid_indexes")]


def _finish(job: _Job, elapsed: int, *, succeeded: bool) -> Steps[None]:
    """The ledger as the file left things: done, or as before. Raises HostFailed."""
    work, up = job.work, job.up
    finish = statement(
        "no_transaction/finish.sql.j2",
        ledger=work.ledger.name,
        version=up.version,
        action=job.action,
        succeeded=succeeded,
        execution_time=elapsed,
        owner=work.ledger.owner,
    )
    recorded = yield from in_one_message(
        work,
        up.version,
        finish,
        work.audited(up, job.action, job.progress) if succeeded else "",
        already_done=lambda state: succeeded and job.is_done(state),
        format_error=lambda error: HostFailed.of(error, _marked(up)),
    )
    if not recorded:
        text = f"{up.file}: its row vanished from the ledger while it ran"
        raise HostFailed(Problem("ledger-changed", text, "run the command again"))


def _may_have_committed(file: Migration) -> bool:
    """Outside a transaction block procedures and DO can commit a part of their work before they fail."""
    return re.search(r"\b(COMMIT|CALL)\b", file.sql, re.IGNORECASE) is not None


def _half_done(file: Migration, error: SqlError | None, left: Sequence[InvalidIndex]) -> HostFailed:
    if not left:
        assert error is not None
        return HostFailed.of(error, _marked(file))
    names = ", ".join(one.index for one in left)
    reason = "IF NOT EXISTS found it there" if error is None else "it failed half-way"
    next_step = invalid_indexes.next_step(left, file.version)
    problem = Problem("invalid-index", f"{file.file}: left INVALID index {names}, because {reason}: {next_step}")
    return HostFailed(problem) if error is None else HostFailed.of(error, str(problem))


def _marked(file: Migration) -> str:
    return (
        f"{file.file}: may have done a part of its work; its row in the ledger has success = false: look at the database, "
        f"finish or undo what is half done, then set success to true or remove the row of version {file.version}"
    )
