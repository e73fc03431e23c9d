"""How down files run: each in a transaction under the lock that also removes its ledger row, and loses no rows unasked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra import host

from deploy import ledger, no_transaction, templates
from deploy.failure import Commands, Failed
from deploy.ledger import Row, State
from deploy.migrations import Migration, Source
from deploy.script import File, Script
from deploy.transactions import Run, Steps, ended_transaction, send, under_lock

Loss = tuple[str, int, int]
"""What a down file did (`drop`, `empty`, `drop column`), to which table (oid), and to which column (number, else 0)."""


@dataclass(frozen=True)
class Reversal:
    """What to revert, newest first, as pairs of applied migration and down file; or the reason not to run anything."""

    steps: Sequence[tuple[Migration, Migration]] = ()
    problem: str | None = None


def plan(source: Source, rows: Sequence[Row], to: int | None, *, allow_data_loss: bool) -> Reversal:
    """The migrations of `source` to revert: the newest applied, or all above version `to`, or all when `to` is 0. Pure.

    Versions of the ledger that the source does not have are those of others, and stay.
    """
    ups = {migration.version: migration for migration in source.migrations}
    applied = sorted((row.version for row in rows if row.version in ups), reverse=True)
    if to is None:
        chosen = applied[:1]
    elif to == 0:
        chosen = applied
    elif to in ups or any(row.version == to for row in rows):
        chosen = [version for version in applied if version > to]
    else:
        return Reversal(problem=f"to={to}: no such version, neither in {source.path} nor in the ledger; to=0 reverts all")
    steps = []
    for version in chosen:
        up, down = ups[version], source.down.get(version)
        if down is None:
            return Reversal(
                problem=f"migration {up} has no down file, so nothing was reverted; "
                f"add {_down_name(up)} to {source.path}, or revert to a version above it with to=VERSION"
            )
        if not down.transactional and not allow_data_loss:
            return Reversal(
                problem=f"{down.file}: a `-- no-transaction` down file can't be taken back when it drops rows, so nothing was "
                "reverted; pass allow_data_loss=true to run it all the same"
            )
        steps.append((up, down))
    return Reversal(tuple(steps))


def _down_name(up: Migration) -> str:
    suffix = ".up.sql" if up.kind == "up" else ".sql"
    return up.file.removesuffix(suffix) + ".down.sql"


def revert(run: Run, up: Migration, down: Migration, *, allow_data_loss: bool) -> Commands:
    """Run one down file and remove the row of its version. Raises Failed."""
    if not down.transactional:
        yield from no_transaction.revert(run, down, up)
        return

    def attempt(state: State) -> Steps[str]:
        if (done := settled(state)) is not None:
            yield Script("ROLLBACK")
            return done
        if state.dirty is not None:
            yield Script("ROLLBACK")
            raise Failed(run.dirty_problem(state.dirty))
        yield from send(Script(templates.own("revert/remember.sql.j2")))
        lost = yield from _run(run, down)
        if lost and not allow_data_loss:
            yield from _refuse_loss(down, lost)
            again = yield from _run(run, down)
            if not set(again) <= set(lost):
                yield Script("ROLLBACK")
                raise Failed(f"{down.file}: took other data away the second time; nothing was reverted, run the command again")
        elapsed = run.elapsed
        forgotten = yield from send(Script(templates.own("revert/forget.sql.j2", ledger=run.place.name, version=up.version)))
        if not forgotten.rows:
            yield Script("ROLLBACK;\n", ledger.reset())
            raise Failed(f"migration {up}: its row vanished from the ledger while it was reverted; run the command again")
        yield from send(Script(run.audited(up, "revert"), "COMMIT;\n", ledger.reset()))
        run.creates_history = False
        return f"reverted {up} ({elapsed / 1e6:.0f} ms)"

    def settled(state: State) -> str | None:
        return f"{up}: reverted meanwhile by someone else" if state.checksum is None else None

    host.log((yield from under_lock(run, up.version, attempt, settled)))


def _run(run: Run, down: Migration) -> Steps[list[Loss]]:
    """Run the down file; what it took away."""
    yield from send(Script(File(down.sql, down.file)))
    answer = yield from send(Script(templates.own("revert/lost.sql.j2", version=down.version, owner=run.place.owner)))
    if not answer.column("same_transaction"):
        yield Script("ROLLBACK;\n", ledger.reset())
        raise Failed(ended_transaction(down, "taken from the ledger"))
    return [(how, table, column) for how, table, column in answer.column("lost")]


def _refuse_loss(down: Migration, lost: Sequence[Loss]) -> Steps[None]:
    """Back to before the down file, which is about to run again unless it takes rows away, or a column with values."""
    answer = yield from send(Script(templates.own("revert/held.sql.j2", lost=lost)))
    held: dict[str, list[str]] = {}
    for how, name in answer.column("held"):
        held.setdefault(how, []).append(name)
    if held:
        taken = " and ".join(f"{how} {', '.join(names)}" for how, names in held.items())
        yield Script("ROLLBACK")
        raise Failed(
            f"{down.file}: would {taken}, which holds rows; it was rolled back: save the rows elsewhere and empty the table, "
            "or pass allow_data_loss=true"
        )
