"""What proves a host: which contract is to hold there, by the ledger, and in what the catalogs differ from it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploy.errors import HostFailed
from deploy.findings import Violation
from deploy.plan import contract
from deploy.plan.catalogs import Catalog
from deploy.plan.ledger import Row
from deploy.problems import Problem
from deploy.source import contracts
from deploy.source.contracts import Contract
from deploy.source.migrations import Source


@dataclass(frozen=True)
class Proof:
    """`contract` is the one that was compared; None: none was, and `reason` says why.

    `first` is in what the host differs from what the first migration makes, where none is recorded.
    """

    contract: Contract | None = None
    violations: tuple[Violation, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""
    first: tuple[Violation, ...] = ()

    @property
    def holds(self) -> bool:
        return self.contract is not None and not self.violations


def prove(source: Source, available: Sequence[Contract], rows: Sequence[Row], catalog: Catalog | None, major: int) -> Proof:
    """Compare the contract of the newest version that is recorded with all before it.

    Where none is recorded, the newest contract that holds, or else the newest, shows what is there already.
    """
    if not available or catalog is None:
        return Proof(reason="this source has no contract")
    recorded = {row.version for row in rows if row.success}
    versions = [migration.version for migration in source.migrations]
    applied = [version for version in versions if version in recorded]
    if not applied:
        proofs = {one.version: _compared(one, catalog, major) for one in reversed(available)}
        first = contracts.of_version(available, versions[0])
        proof = next((proof for proof in proofs.values() if proof.holds), proofs[available[-1].version])
        return replace(proof, first=proofs[first.version].violations if first is not None else ())
    lacking = [version for version in versions if version < applied[-1] and version not in recorded]
    if lacking:
        return Proof(reason=f"migration {lacking[0]} is not recorded, though {applied[-1]} is")
    chosen = contracts.of_version(available, applied[-1])
    return Proof(reason=f"no contract for version {applied[-1]}") if chosen is None else _compared(chosen, catalog, major)


def newest_recorded(source: Source, rows: Sequence[Row]) -> int:
    """The newest version that is recorded, with all before it. Raises HostFailed where there is none."""
    recorded = {row.version for row in rows if row.success}
    versions = [migration.version for migration in source.migrations]
    applied = [version for version in versions if version in recorded]
    if not applied or versions[: len(applied)] != applied:
        what = f"migration {next(v for v in versions if v not in recorded)} is not recorded"
        raise HostFailed(Problem("unprovable", f"no contract can be made: {what}", "run deploy.apply first"))
    return applied[-1]


def newest_that_holds(available: Sequence[Contract], catalog: Catalog | None, major: int) -> Contract | None:
    if catalog is None:
        return None
    return next((one for one in reversed(available) if _compared(one, catalog, major).holds), None)


def _compared(one: Contract, catalog: Catalog, major: int) -> Proof:
    compared = contract.compare(one, catalog, major)
    return Proof(one, compared.violations, compared.notes)
