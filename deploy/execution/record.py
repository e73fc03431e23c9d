"""Recording what is there already, with proof: the contract is checked again in the transaction that writes the row."""

from __future__ import annotations

from pyinfra import host

from deploy.connection.message import Commands, Message
from deploy.errors import HostFailed
from deploy.execution.executor import Run, Steps, is_applied, prepare, send, under_lock
from deploy.findings import Violation
from deploy.plan import ledger
from deploy.plan.adoption import Adoption
from deploy.plan.ledger import LedgerState
from deploy.source import checks
from deploy.source.migrations import Migration
from deploy.statements import statement


def write(run: Run, migration: Migration, adoption: Adoption) -> Commands:
    """Prove and record. Raises HostFailed."""
    changed = f"migration {migration.version}: its row changed after the plan was made; run the command again"

    def attempt(state: LedgerState) -> Steps[str]:
        if (done := settled(state)) is not None:
            yield Message("ROLLBACK")
            return done
        if state.checksum != adoption.old or state.dirty is not None:
            yield Message("ROLLBACK")
            raise HostFailed(changed)
        yield from _prove(run, migration)
        yield from prepare(run)
        if adoption.action == "record":
            wait = run.wanted.settings.lock_wait
            sql = run.place.record(migration, execution_time=0, lock_wait=wait)
        else:
            sql = statement(
                "ledger/replace.sql.j2",
                ledger=run.place.name,
                version=migration.version,
                old=adoption.old,
                checksum=migration.checksum.hex(),
            )
        if not (yield from send(Message(sql))).rows:
            yield Message("ROLLBACK")
            raise HostFailed(changed)
        audited = run.audited(migration, "adopt" if adoption.action == "record" else "replace checksum")
        yield from send(Message(audited, "COMMIT;\n", ledger.reset()))
        if adoption.action == "record":
            return f"adopted {migration}: contract holds, recorded without running it"
        return f"replaced the checksum of {migration}; it was {adoption.old}"

    def settled(state: LedgerState) -> str | None:
        return f"{migration}: recorded meanwhile by someone else" if is_applied(migration, state) else None

    host.log((yield from under_lock(run, migration.version, attempt, settled)))


def _prove(run: Run, migration: Migration) -> Steps[None]:
    """The checks once more, under the lock and in the transaction that writes. Raises HostFailed."""
    wanted = run.wanted
    answer = yield from send(Message(*checks.fragments(wanted.checks)))
    found = [Violation(**row) for row in answer.rows if "check" in row]
    if found:
        yield Message("ROLLBACK")
        raise HostFailed(
            f"{migration}: not recorded, because the database changed after the plan was made",
            *(f"violation: {violation}" for violation in found),
        )
