"""How a file is applied in a transaction: together with its ledger row."""

from __future__ import annotations

from dataclasses import replace

from deploy.connection.message import File, Fragment, Message
from deploy.errors import HostFailed, StatementFailed
from deploy.execution.conversation import Steps, send
from deploy.execution.outcomes import Commit
from deploy.execution.transaction import Transaction, under_lock
from deploy.execution.work import Progress, Work, check_row, prepare
from deploy.plan.ledger import LedgerState
from deploy.plan.target import own_path
from deploy.problems import Problem
from deploy.source.migrations import Migration

_NO_SUCH_TABLE = "42P01"


def apply(work: Work, migration: Migration, progress: Progress) -> Steps[Progress]:
    """Apply one file and record it. Raises HostFailed."""
    ledger_table = work.target.source.sqlx.ledger_table

    def attempt(transaction: Transaction) -> Steps[Commit]:
        state = transaction.state
        check_row(work, migration, state)
        yield from prepare(work, state, progress)
        yield from run_file(work, migration)
        elapsed = transaction.elapsed
        lock_wait = work.settings.lock_wait
        record = Message(deferred(migration), work.ledger.record(migration, execution_time=elapsed, lock_wait=lock_wait))
        yield record
        error = record.answer.error
        ledger_went_with_it = error is not None and error.sqlstate == _NO_SUCH_TABLE and not state.ledger_exists
        if ledger_went_with_it or (error is None and not record.answer.rows):
            raise HostFailed(ended_transaction(migration, "recorded"))
        if error is not None:
            raise StatementFailed(replace(error, name=None) if error.table == ledger_table else error)
        audited = work.audited(migration, "apply", progress)
        return Commit(f"applied {migration} ({elapsed / 1e6:.0f} ms)", audited, migration.file)

    def already_done(state: LedgerState) -> str | None:
        return f"{migration}: already applied by another process" if state.shows(migration) else None

    outcome = yield from under_lock(work, migration.version, progress, attempt, already_done=already_done)
    work.log(outcome.text)
    return progress.after_recording(committed=isinstance(outcome, Commit))


def run_file(work: Work, migration: Migration) -> Steps[None]:
    """Run a file under the search_path of the schema. Raises StatementFailed.

    PostgreSQL 18 reports that path when the file is done, in the encoding that the file has set: a name that such an encoding may
    not have is reported ahead of it.
    """
    path = own_path(work.settings)
    if not path.isascii():
        yield from send(Message(path))
        path = ""
    yield from send(Message(path, File(migration.sql, migration.file)))


def deferred(migration: Migration) -> Fragment:
    """What a file has put off to the end of its transaction, under its own role and search_path, ahead of what is ours."""
    return Fragment("SET CONSTRAINTS ALL IMMEDIATE;\n", migration.file)


def ended_transaction(migration: Migration, verb: str) -> Problem:
    return Problem(
        "transaction-ended",
        f"{migration.file}: ends the transaction it runs in, so it was not {verb} and what it committed stays",
        "remove COMMIT, ROLLBACK and the like from the file",
    )
