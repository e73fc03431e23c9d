"""How down files run: each in a transaction under the lock that also removes its ledger row, and loses no rows unasked."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.connection.message import Message
from deploy.errors import HostFailed
from deploy.execution.conversation import Steps, send
from deploy.execution.outcomes import Commit
from deploy.execution.transaction import Transaction, under_lock
from deploy.execution.transactional import deferred, ended_transaction, run_file
from deploy.execution.work import Progress, Work
from deploy.plan.ledger import LedgerState
from deploy.problems import Problem
from deploy.source.migrations import Migration
from deploy.statements import statement

DataLoss = tuple[str, int, int]
"""What a down file did (`drop`, `empty`, `drop column`), to which table (oid), and to which column (number, else 0)."""


def revert(work: Work, up: Migration, down: Migration, progress: Progress, *, allow_data_loss: bool) -> Steps[Progress]:
    """Run one down file and remove the row of its version. Raises HostFailed."""

    def attempt(transaction: Transaction) -> Steps[Commit]:
        if transaction.state.dirty is not None:
            raise HostFailed(work.dirty_problem(transaction.state.dirty))
        yield from send(Message(statement("revert/remember.sql.j2")))
        removed = yield from _run(work, down)
        if removed and not allow_data_loss:
            yield from _refuse_loss(work, down, removed)
            again = yield from _run(work, down)
            if not set(again) <= set(removed):
                text = f"{down.file}: removed different data on its second run; nothing was reverted"
                raise HostFailed(Problem("data-loss", text, "run the command again"))
        elapsed = transaction.elapsed
        ledger = work.ledger
        forget = statement("revert/forget.sql.j2", ledger=ledger.name, owner=ledger.owner, version=up.version)
        if not (yield from send(Message(forget))).rows:
            text = f"migration {up}: its row vanished from the ledger while it was reverted"
            raise HostFailed(Problem("ledger-changed", text, "run the command again"))
        return Commit(f"reverted {up} ({elapsed / 1e6:.0f} ms)", work.audited(up, "revert", progress))

    def already_done(state: LedgerState) -> str | None:
        return f"{up}: already reverted by another process" if state.checksum is None else None

    outcome = yield from under_lock(work, up.version, progress, attempt, already_done=already_done)
    work.log(outcome.text)
    return progress.after_reverting(committed=isinstance(outcome, Commit))


def _run(work: Work, down: Migration) -> Steps[list[DataLoss]]:
    """Run the down file; what it took away."""
    yield from run_file(work, down)
    removed = statement("revert/removed.sql.j2", version=down.version, owner=work.ledger.owner)
    answer = yield from send(Message(deferred(down), removed))
    if not answer.value("same_transaction"):
        raise HostFailed(ended_transaction(down, "taken from the ledger"))
    return [(how, table, column) for how, table, column in answer.value("removed")]


def _refuse_loss(work: Work, down: Migration, removed: Sequence[DataLoss]) -> Steps[None]:
    """Back to before the down file, which is about to run again unless it takes rows away, or a column with values."""
    answer = yield from send(Message(statement("revert/not_empty.sql.j2", removed=removed, owner=work.ledger.owner)))
    not_empty: dict[str, list[str]] = {}
    for how, name in answer.value("not_empty"):
        not_empty.setdefault(how, []).append(name)
    if not_empty:
        taken = " and ".join(f"{how} {', '.join(names)}" for how, names in not_empty.items())
        raise HostFailed(
            Problem(
                "data-loss",
                f"{down.file}: would {taken}, which holds rows",
                "it was rolled back: save the rows elsewhere and empty the table, or pass allow_data_loss=true",
            )
        )
