"""What adopt will do: which row to write, or why what is there proves nothing. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploy.plan import privileges
from deploy.plan.observation import Observation
from deploy.plan.pending import Plan, contract_holds
from deploy.plan.target import Target
from deploy.source.migrations import Migration

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
        if problem := privileges.missing_privileges(target, seen, ("SELECT", "INSERT"), creates=False):
            return Adoption(problem=(problem,))
        return Adoption(action="record")
    if row.checksum == migration.checksum.hex():
        return Adoption(notes=(f"{migration}: recorded already; contract holds",))
    if not replace_checksum:
        return Adoption(notes=(f"the ledger keeps its checksum {row.checksum}; replace_checksum=true would replace it",))
    if problem := privileges.missing_privileges(target, seen, ("SELECT", "UPDATE"), creates=False):
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
