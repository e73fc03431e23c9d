"""How down files run: each in a transaction under the lock that also removes its ledger row, and loses no rows unasked."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import host

from deploy.connection.message import Commands, File, Message
from deploy.errors import HostFailed
from deploy.execution import non_transactional
from deploy.execution.executor import Run, Steps, ended_transaction, send, under_lock
from deploy.plan import ledger
from deploy.plan.ledger import LedgerState
from deploy.source.migrations import Migration
from deploy.statements import statement

DataLoss = tuple[str, int, int]
"""What a down file did (`drop`, `empty`, `drop column`), to which table (oid), and to which column (number, else 0)."""


def revert(run: Run, up: Migration, down: Migration, *, allow_data_loss: bool) -> Commands:
    """Run one down file and remove the row of its version. Raises HostFailed."""
    if not down.transactional:
        yield from non_transactional.revert(run, down, up)
        return

    def attempt(state: LedgerState) -> Steps[str]:
        if (done := settled(state)) is not None:
            yield Message("ROLLBACK")
            return done
        if state.dirty is not None:
            yield Message("ROLLBACK")
            raise HostFailed(run.dirty_problem(state.dirty))
        yield from send(Message(statement("revert/remember.sql.j2")))
        lost = yield from _run(run, down)
        if lost and not allow_data_loss:
            yield from _refuse_loss(down, lost)
            again = yield from _run(run, down)
            if not set(again) <= set(lost):
                yield Message("ROLLBACK")
                raise HostFailed(f"{down.file}: took other data away the second time; nothing was reverted, run the command again")
        elapsed = run.elapsed
        forgotten = yield from send(Message(statement("revert/forget.sql.j2", ledger=run.place.name, version=up.version)))
        if not forgotten.rows:
            yield Message("ROLLBACK;\n", ledger.reset())
            raise HostFailed(f"migration {up}: its row vanished from the ledger while it was reverted; run the command again")
        yield from send(Message(run.audited(up, "revert"), "COMMIT;\n", ledger.reset()))
        run.creates_history = False
        return f"reverted {up} ({elapsed / 1e6:.0f} ms)"

    def settled(state: LedgerState) -> str | None:
        return f"{up}: reverted meanwhile by someone else" if state.checksum is None else None

    host.log((yield from under_lock(run, up.version, attempt, settled)))


def _run(run: Run, down: Migration) -> Steps[list[DataLoss]]:
    """Run the down file; what it took away."""
    yield from send(Message(File(down.sql, down.file)))
    answer = yield from send(Message(statement("revert/lost.sql.j2", version=down.version, owner=run.place.owner)))
    if not answer.value("same_transaction"):
        yield Message("ROLLBACK;\n", ledger.reset())
        raise HostFailed(ended_transaction(down, "taken from the ledger"))
    return [(how, table, column) for how, table, column in answer.value("lost")]


def _refuse_loss(down: Migration, lost: Sequence[DataLoss]) -> Steps[None]:
    """Back to before the down file, which is about to run again unless it takes rows away, or a column with values."""
    answer = yield from send(Message(statement("revert/held.sql.j2", lost=lost)))
    held: dict[str, list[str]] = {}
    for how, name in answer.value("held"):
        held.setdefault(how, []).append(name)
    if held:
        taken = " and ".join(f"{how} {', '.join(names)}" for how, names in held.items())
        yield Message("ROLLBACK")
        raise HostFailed(
            f"{down.file}: would {taken}, which holds rows; it was rolled back: save the rows elsewhere and empty the table, "
            "or pass allow_data_loss=true"
        )
