"""What adopt will do: which rows to write, or why what is there proves nothing. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deploy.plan import privileges, proof
from deploy.plan.observation import Observation
from deploy.plan.pending import Plan
from deploy.plan.target import Target
from deploy.problems import Problem
from deploy.source.contracts import Contract
from deploy.source.migrations import Migration


@dataclass(frozen=True)
class Adoption:
    """What to write: the rows of `record`, in order, and other checksums for `replace`, hexadecimal, by version as they are now.

    `contract` is what proves it. `notes` are for the operator; `problem` says why nothing may be written, `details` are its
    further lines.
    """

    record: tuple[Migration, ...] = ()
    replace: Mapping[int, str] = field(default_factory=dict)
    contract: Contract | None = None
    notes: tuple[str, ...] = ()
    problem: Problem | None = None
    details: tuple[str, ...] = ()


def plan(
    target: Target, observation: Observation, pending: Plan, *, replace_checksum: bool = False, to: int | None = None
) -> Adoption:
    """Compare the ledger and the catalogs: the newest version whose contract holds is there, with all before it.

    `to` names the last version to record, for what leaves no trace in the catalogs and is proved by nothing.
    """
    if not target.contracts:
        problem = Problem("unsupported", "deploy.adopt proves with contracts, and this source has none", "set `contract`")
        return Adoption(problem=problem)
    if observation.in_recovery:
        return Adoption(notes=("standby: nothing to record",))
    contract = proof.newest_that_holds(target.contracts, observation.catalog, observation.major)
    around = [violation for violation in observation.violations if violation not in observation.proof.violations]
    proved = contract is not None and not around and observation.check_error is None and not observation.not_run
    recorded = {row.version: row.checksum for row in observation.ledger.rows}
    if pending.problem is not None and (pending.problem.kind != "ledger-modified" or not recorded or proved):
        return Adoption(problem=pending.problem)
    if not proved or contract is None:
        return _not_proved(target, observation)
    if to is not None and (beyond := _beyond(target, contract, to)):
        return Adoption(problem=beyond)
    there = [m for m in target.source.migrations if m.version <= (contract.version if to is None else to)]
    traceless = [m for m in target.source.migrations if contract.version < m.version <= contract.through and m not in there]
    traceless = [migration for migration in traceless if migration.version not in recorded]
    notes = [f"{m}: leaves no trace in the catalogs, so nothing proves it; to={m.version} would record it" for m in traceless]
    other = {m.version: recorded[m.version] for m in there if recorded.get(m.version, m.checksum.hex()) != m.checksum.hex()}
    missing = tuple(migration for migration in there if migration.version not in recorded)
    if not missing and not other:
        return Adoption(contract=contract, notes=(*notes, f"{there[-1]}: recorded already; contract holds"))
    if not replace_checksum:
        notes += [
            f"the ledger keeps its checksum {checksum}; replace_checksum=true would replace it" for checksum in other.values()
        ]
        other = {}
    needed = ("SELECT", *(["INSERT"] if missing else []), *(["UPDATE"] if other else []))
    if (missing or other) and (lacking := privileges.missing_privileges(target, observation, needed, creates_objects=False)):
        return Adoption(problem=lacking)
    notes += _replacements(there, other)
    return Adoption(missing, other, contract, tuple(notes))


def _beyond(target: Target, contract: Contract, to: int) -> Problem | None:
    """Why versions up to `to` can't be recorded, or None."""
    if to not in {migration.version for migration in target.source.migrations}:
        return Problem("arguments", f"to={to}: not a version of this source", "name one of them")
    if to > contract.through:
        text = f"to={to}: the contract of version {contract.version} is the newest that holds, and says nothing of {to}"
        return Problem("unprovable", text, f"take a version up to {contract.through}")
    return None


def _replacements(there: Sequence[Migration], other: Mapping[int, str]) -> list[str]:
    return [
        f"{m}: checksum {other[m.version]} will be replaced by {m.checksum.hex()}; "
        "every service that embeds the old file will refuse to start"
        for m in there
        if m.version in other
    ]


def _not_proved(target: Target, observation: Observation) -> Adoption:
    last = target.source.migrations[-1]
    found = observation.violations
    tables = {entry.name for entry in target.contracts[-1].entries if entry.kind == "table"}
    missing = {violation.object for violation in found if violation.about == "tables" and violation.actual == "missing"}
    if tables and tables == missing:
        text = f"{last}: none of its tables exist; nothing recorded"
        return Adoption(problem=Problem("unprovable", text, "run deploy.apply"))
    if observation.check_error is not None or observation.not_run:
        text = f"{last}: not recorded, because it could not be verified"
        error = observation.check_error
        why = error.lines() if error is not None else observation.not_run.values()
        return Adoption(problem=Problem("unprovable", text), details=tuple(why))
    text = f"{last}: not recorded, because the database differs from the contract"
    lines = tuple(f"violation: {violation}" for violation in found)
    return Adoption(problem=Problem("contract", text, "repair it, then run deploy.adopt again"), details=lines)
