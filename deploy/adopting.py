"""Recording what is there already, with proof: the contract is checked again in the transaction that writes the row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyinfra import host

from deploy import checks, ledger, rights, templates
from deploy.checks import Violation
from deploy.failure import Commands, Failed
from deploy.ledger import State
from deploy.migrations import Migration
from deploy.observation import Observation
from deploy.plan import Plan, contract_holds
from deploy.script import Script
from deploy.target import Target
from deploy.transactions import Run, Steps, is_applied, prepare, send, under_lock

_TABLES = {"integration_health", "integration_events"}


@dataclass(frozen=True)
class Adoption:
    """What to write, if anything: `record` a row, or `replace` the checksum `old` (hexadecimal).

    `notes` are for the operator, `problem` lines say why the host is not as wanted.
    """

    action: Literal["record", "replace"] | None = None
    old: str | None = None
    notes: tuple[str, ...] = ()
    problem: tuple[str, ...] = ()


def plan(target: Target, seen: Observation, planned: Plan, *, replace_checksum: bool) -> Adoption:
    """Compare the ledger and the catalogs for the packaged migration. Pure."""
    if not target.settings.packaged:
        return Adoption(
            problem=("deploy.adopt proves with the contract of our own schema, and this source is another; unset `migrations`",)
        )
    if not target.holds_contract:
        return Adoption(
            problem=("deploy.adopt proves with the contract of our own schema, and these checks are others; unset `checks`",)
        )
    if seen.in_recovery:
        return Adoption(notes=("standby: nothing to record",))
    holds = contract_holds(target, seen) and not seen.violations
    migration = target.source.migrations[-1]
    row = next((row for row in seen.rows if row.version == migration.version), None)
    if planned.problem is not None and (row is None or holds):
        return Adoption(problem=(planned.problem,))
    if not holds:
        return Adoption(problem=_differences(seen, migration))
    if row is None:
        if problem := rights.missing(target, seen, ("SELECT", "INSERT"), creates=False):
            return Adoption(problem=(problem,))
        return Adoption(action="record")
    if row.checksum == migration.checksum.hex():
        return Adoption(notes=(f"{migration}: recorded already; contract holds",))
    if not replace_checksum:
        return Adoption(notes=(f"the ledger keeps its checksum {row.checksum}; replace_checksum=true would replace it",))
    if problem := rights.missing(target, seen, ("SELECT", "UPDATE"), creates=False):
        return Adoption(problem=(problem,))
    return Adoption(
        action="replace",
        old=row.checksum,
        notes=(
            f"{migration}: checksum {row.checksum} will be replaced by {migration.checksum.hex()}; "
            "every service that embeds the old file will refuse to start",
        ),
    )


def _differences(seen: Observation, migration: Migration) -> tuple[str, ...]:
    missing = {found.object for found in seen.violations if found.check == "tables" and found.actual == "missing"}
    if missing == _TABLES:
        return (f"{migration}: nothing of it is there, so nothing was recorded; apply it: run deploy.apply",)
    if seen.check_error is not None or seen.not_run:
        why = seen.check_error.lines() if seen.check_error is not None else seen.not_run.values()
        return (f"{migration}: not recorded, because it could not be verified", *why)
    return (
        f"{migration}: not recorded, because the database differs from the contract; repair it, then run deploy.adopt again",
        *(f"violation: {violation}" for violation in seen.violations),
    )


def write(run: Run, migration: Migration, adoption: Adoption) -> Commands:
    """Prove and record. Raises Failed."""
    changed = f"migration {migration.version}: its row changed after the plan was made; run the command again"

    def attempt(state: State) -> Steps[str]:
        if (done := settled(state)) is not None:
            yield Script("ROLLBACK")
            return done
        if state.checksum != adoption.old or state.dirty is not None:
            yield Script("ROLLBACK")
            raise Failed(changed)
        yield from _prove(run, migration)
        yield from prepare(run)
        if adoption.action == "record":
            wait = run.wanted.settings.lock_wait
            sql = run.place.record(migration, execution_time=0, lock_wait=wait)
        else:
            sql = templates.own(
                "ledger/replace.sql.j2",
                ledger=run.place.name,
                version=migration.version,
                old=adoption.old,
                checksum=migration.checksum.hex(),
            )
        if not (yield from send(Script(sql))).rows:
            yield Script("ROLLBACK")
            raise Failed(changed)
        audited = run.audited(migration, "adopt" if adoption.action == "record" else "replace checksum")
        yield from send(Script(audited, "COMMIT;\n", ledger.reset()))
        if adoption.action == "record":
            return f"adopted {migration}: contract holds, recorded without running it"
        return f"replaced the checksum of {migration}; it was {adoption.old}"

    def settled(state: State) -> str | None:
        return f"{migration}: recorded meanwhile by someone else" if is_applied(migration, state) else None

    host.log((yield from under_lock(run, migration.version, attempt, settled)))


def _prove(run: Run, migration: Migration) -> Steps[None]:
    """The checks once more, under the lock and in the transaction that writes. Raises Failed."""
    wanted = run.wanted
    assert wanted.checks is not None
    answer = yield from send(Script(*checks.parts(wanted.checks, **wanted.check_variables)))
    found = [Violation(**row) for row in answer.rows if "check" in row]
    if found:
        yield Script("ROLLBACK")
        raise Failed(
            f"{migration}: not recorded, because the database changed after the plan was made",
            *(f"violation: {violation}" for violation in found),
        )
