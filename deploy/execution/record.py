"""Recording what is there already, with proof: the contract is held once more in the transaction that writes the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deploy.connection.message import Message
from deploy.errors import HostFailed
from deploy.execution import observe
from deploy.execution.conversation import Steps, send
from deploy.execution.outcomes import Commit
from deploy.execution.transaction import Transaction, under_lock
from deploy.execution.work import Progress, Work, prepare
from deploy.findings import Violation
from deploy.plan import contract
from deploy.plan.adoption import Adoption
from deploy.plan.catalogs import Catalog
from deploy.plan.ledger import LedgerState
from deploy.problems import Problem
from deploy.source import checks
from deploy.source.migrations import Migration
from deploy.statements import statement
from deploy.statements.columns import row_as


def write(work: Work, adoption: Adoption, major: int, progress: Progress) -> Steps[Progress]:
    """Prove and record, all in one transaction. Raises HostFailed."""
    replaced = [migration for migration in work.target.source.migrations if migration.version in adoption.replace]
    last = (*replaced, *adoption.record)[-1]
    was_there = last.version in adoption.replace

    def attempt(transaction: Transaction) -> Steps[Commit]:
        state = transaction.state
        if state.checksum != adoption.replace.get(last.version) or state.dirty is not None:
            raise HostFailed(_changed(last))
        yield from _prove(work, adoption, major, last)
        yield from prepare(work, state, progress)
        yield from _replace_checksums(work, adoption, replaced)
        yield from _record(work, adoption.record)
        lines, audited, there = [], "", progress
        for migration in (*replaced, *adoption.record):
            old = adoption.replace.get(migration.version)
            audited += work.audited(migration, "adopt" if old is None else "replace checksum", there)
            there = there.after_recording(committed=True)
            recorded = f"adopted {migration}: contract holds, recorded without running it"
            lines.append(recorded if old is None else f"replaced the checksum of {migration}; it was {old}")
        return Commit("\n".join(lines), audited)

    def already_done(state: LedgerState) -> str | None:
        done = state.shows(last) and not (was_there and state.checksum == adoption.replace[last.version])
        return f"{last}: already recorded by another process" if done else None

    outcome = yield from under_lock(work, last.version, progress, attempt, already_done=already_done)
    for line in outcome.text.splitlines():
        work.log(line)
    return progress.after_recording(committed=isinstance(outcome, Commit))


def _changed(migration: Migration) -> Problem:
    text = f"migration {migration.version}: its row changed after the plan was made"
    return Problem("ledger-changed", text, "run the command again")


def _replace_checksums(work: Work, adoption: Adoption, migrations: Iterable[Migration]) -> Steps[None]:
    for migration in migrations:
        old, new = adoption.replace[migration.version], migration.checksum.hex()
        name = "ledger/replace.sql.j2"
        sql = statement(name, ledger=work.ledger.name, owner=work.ledger.owner, version=migration.version, old=old, checksum=new)
        if not (yield from send(Message(sql))).rows:
            raise HostFailed(_changed(migration))


def _record(work: Work, migrations: Sequence[Migration]) -> Steps[None]:
    rows = [(migration.version, migration.description, migration.checksum.hex()) for migration in migrations]
    if not rows:
        return
    sql = statement("ledger/adopt.sql.j2", ledger=work.ledger.name, owner=work.ledger.owner, records=rows)
    written = {row["version"] for row in (yield from send(Message(sql))).rows if "version" in row}
    for migration in migrations:
        if migration.version not in written:
            raise HostFailed(_changed(migration))


def _prove(work: Work, adoption: Adoption, major: int, last: Migration) -> Steps[None]:
    """The contract and the checks once more, under the lock and in the transaction that writes. Raises HostFailed."""
    assert adoption.contract is not None
    answer = yield from send(
        Message(
            statement("session/spelling.sql.j2"),
            observe.look(work.target, [adoption.contract]),
            *checks.fragments(work.target.checks),
        )
    )
    catalog = next(Catalog.of(row, adoption.contract) for row in answer.rows if "unmatched" in row)
    found = [row_as(Violation, row, "session/check.sql.j2") for row in answer.rows if "check" in row]
    if violations := (*contract.compare(adoption.contract, catalog, major).violations, *found):
        text = f"{last}: not recorded, because the database changed after the plan was made"
        raise HostFailed(Problem("contract", text), *(f"violation: {violation}" for violation in violations))
