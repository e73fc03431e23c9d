"""Recording what is there already, with proof: the contract is checked again in the transaction that writes the row."""

from __future__ import annotations

from deploy.connection.message import Message
from deploy.errors import HostFailed
from deploy.execution.conversation import Steps, send
from deploy.execution.outcomes import Commit
from deploy.execution.transaction import Transaction, under_lock
from deploy.execution.work import Progress, Work, prepare
from deploy.findings import Violation
from deploy.plan.adoption import Adoption
from deploy.plan.ledger import LedgerState
from deploy.problems import Problem
from deploy.source import checks
from deploy.source.migrations import Migration
from deploy.statements import statement
from deploy.statements.columns import row_as


def write(work: Work, migration: Migration, adoption: Adoption, progress: Progress) -> Steps[Progress]:
    """Prove and record. Raises HostFailed."""
    changed = Problem(
        "ledger-changed", f"migration {migration.version}: its row changed after the plan was made", "run the command again"
    )
    records = adoption.action == "record"

    def attempt(transaction: Transaction) -> Steps[Commit]:
        state = transaction.state
        if state.checksum != adoption.old or state.dirty is not None:
            raise HostFailed(changed)
        yield from _prove(work, migration)
        yield from prepare(work, state, progress)
        if not (yield from send(Message(_row(work, migration, adoption)))).rows:
            raise HostFailed(changed)
        audited = work.audited(migration, "adopt" if records else "replace checksum", progress)
        if records:
            return Commit(f"adopted {migration}: contract holds, recorded without running it", audited)
        return Commit(f"replaced the checksum of {migration}; it was {adoption.old}", audited)

    def already_done(state: LedgerState) -> str | None:
        return f"{migration}: already recorded by another process" if state.shows(migration) else None

    outcome = yield from under_lock(work, migration.version, progress, attempt, already_done=already_done)
    work.log(outcome.text)
    return progress.after_recording(committed=isinstance(outcome, Commit))


def _row(work: Work, migration: Migration, adoption: Adoption) -> str:
    if adoption.action == "record":
        return work.ledger.record(migration, execution_time=0, lock_wait=work.settings.lock_wait)
    return statement(
        "ledger/replace.sql.j2",
        ledger=work.ledger.name,
        version=migration.version,
        old=adoption.old,
        checksum=migration.checksum.hex(),
    )


def _prove(work: Work, migration: Migration) -> Steps[None]:
    """The checks once more, under the lock and in the transaction that writes. Raises HostFailed."""
    answer = yield from send(Message(*checks.fragments(work.target.checks)))
    found = [row_as(Violation, row, "session/check.sql.j2") for row in answer.rows if "check" in row]
    if found:
        text = f"{migration}: not recorded, because the database changed after the plan was made"
        raise HostFailed(Problem("contract", text), *(f"violation: {violation}" for violation in found))
