"""What adopt will do: which row to write, or why what is there proves nothing. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploy.plan import privileges
from deploy.plan.observation import Observation
from deploy.plan.pending import Plan, contract_holds
from deploy.plan.target import Target
from deploy.problems import Problem
from deploy.source.migrations import Migration

_TABLES = {"integration_health", "integration_events"}


@dataclass(frozen=True)
class Adoption:
    """What to write, if anything: `record` a row, or `replace` the checksum `old` (hexadecimal).

    `notes` are for the operator; `problem` says why nothing may be written, `details` are its further lines.
    """

    action: Literal["record", "replace"] | None = None
    old: str | None = None
    notes: tuple[str, ...] = ()
    problem: Problem | None = None
    details: tuple[str, ...] = ()


def plan(target: Target, observation: Observation, pending: Plan, *, replace_checksum: bool) -> Adoption:
    """Compare the ledger and the catalogs for the packaged migration."""
    if not target.settings.packaged:
        return Adoption(problem=Problem("unsupported", "deploy.adopt works for the packaged migrations only", "unset `migrations`"))
    if not target.holds_contract:
        return Adoption(problem=Problem("unsupported", "deploy.adopt works with the packaged checks only", "unset `checks`"))
    if observation.in_recovery:
        return Adoption(notes=("standby: nothing to record",))
    holds = contract_holds(target, observation) and not observation.violations
    migration = target.source.migrations[-1]
    row = next((row for row in observation.ledger.rows if row.version == migration.version), None)
    if pending.problem is not None and (row is None or holds):
        return Adoption(problem=pending.problem)
    if not holds:
        return _not_proved(observation, migration)
    if row is None:
        problem = privileges.missing_privileges(target, observation, ("SELECT", "INSERT"), creates_objects=False)
        return Adoption(problem=problem) if problem else Adoption(action="record")
    if row.checksum == migration.checksum.hex():
        return Adoption(notes=(f"{migration}: recorded already; contract holds",))
    if not replace_checksum:
        return Adoption(notes=(f"the ledger keeps its checksum {row.checksum}; replace_checksum=true would replace it",))
    if problem := privileges.missing_privileges(target, observation, ("SELECT", "UPDATE"), creates_objects=False):
        return Adoption(problem=problem)
    return Adoption(
        action="replace",
        old=row.checksum,
        notes=(
            f"{migration}: checksum {row.checksum} will be replaced by {migration.checksum.hex()}; "
            "every service that embeds the old file will refuse to start",
        ),
    )


def _not_proved(observation: Observation, migration: Migration) -> Adoption:
    found = observation.violations
    missing = {violation.object for violation in found if violation.about == "tables" and violation.actual == "missing"}
    if missing == _TABLES:
        text = f"{migration}: none of its tables exist; nothing recorded"
        return Adoption(problem=Problem("unprovable", text, "run deploy.apply"))
    if observation.check_error is not None or observation.not_run:
        text = f"{migration}: not recorded, because it could not be verified"
        error = observation.check_error
        why = error.lines() if error is not None else observation.not_run.values()
        return Adoption(problem=Problem("unprovable", text), details=tuple(why))
    text = f"{migration}: not recorded, because the database differs from the contract"
    lines = tuple(f"violation: {violation}" for violation in found)
    return Adoption(problem=Problem("contract", text, "repair it, then run deploy.adopt again"), details=lines)
