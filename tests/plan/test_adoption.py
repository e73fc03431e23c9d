"""What adopt will write, or why what is there proves nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.observations import CONTRACT, EMPTY, row, with_ledger

from deploy.errors import SqlError
from deploy.findings import Violation
from deploy.plan import adoption, pending
from deploy.plan.adoption import Adoption
from deploy.plan.catalogs import Catalog
from deploy.plan.observation import Observation
from deploy.plan.proof import Proof
from deploy.plan.target import Target, Targets
from deploy.problems import Problem

OURS = Targets().resolve("@postgres/h", {})
(MIGRATION,) = OURS.source.migrations
GONE = tuple(
    Violation("contract", table, "table", "missing", about="tables") for table in ("integration_events", "integration_health")
)
COLUMN = Violation("contract", "integration_health.status", "text", "missing", about="definition")


def differs(*violations: Violation) -> Observation:
    return replace(EMPTY, violations=violations, proof=Proof(CONTRACT, violations), catalog=Catalog((), ""))


def plan(observation: Observation, *, of: Target = OURS, replace_checksum: bool = False) -> Adoption:
    planned = pending.plan(of, observation, will_run=False)
    return adoption.plan(of, observation, planned, replace_checksum=replace_checksum)


def test_a_schema_that_matches_is_recorded() -> None:
    assert plan(EMPTY) == Adoption(record=(MIGRATION,), contract=CONTRACT)


def test_what_is_recorded_already_is_left_alone() -> None:
    got = plan(with_ledger(row(MIGRATION)))
    assert (got.record, got.replace, got.notes) == ((), {}, (f"{MIGRATION}: recorded already; contract holds",))


def test_another_checksum_is_replaced_only_when_asked_for() -> None:
    old = "ff" * 48
    other = with_ledger(row(MIGRATION, checksum=old))
    kept = plan(other)
    assert (kept.record, kept.replace) == ((), {})
    assert kept.notes == (f"the ledger keeps its checksum {old}; replace_checksum=true would replace it",)
    asked = plan(other, replace_checksum=True)
    assert (asked.replace, asked.problem) == ({MIGRATION.version: old}, None)


def test_a_standby_is_not_written_to() -> None:
    standby = replace(EMPTY, server=replace(EMPTY.server, in_recovery=True))
    assert plan(standby) == Adoption(notes=("standby: nothing to record",))


NOTHING_PROVED: dict[str, tuple[Observation, Problem, tuple[str, ...]]] = {
    "no table": (
        differs(*GONE),
        Problem("unprovable", f"{MIGRATION}: none of its tables exist; nothing recorded", "run deploy.apply"),
        (),
    ),
    "a difference": (
        differs(GONE[0], COLUMN),
        Problem(
            "contract",
            f"{MIGRATION}: not recorded, because the database differs from the contract",
            "repair it, then run deploy.adopt again",
        ),
        (f"violation: {GONE[0]}", f"violation: {COLUMN}"),
    ),
    "a check that failed": (
        replace(EMPTY, check_error=SqlError("ERROR: boom", "XX000", name="tables.sql", detail="why")),
        Problem("unprovable", f"{MIGRATION}: not recorded, because it could not be verified"),
        ("tables.sql: XX000: ERROR: boom", "DETAIL: why"),
    ),
    "a check that may not run": (
        replace(EMPTY, not_run={"tables": "permission denied"}),
        Problem("unprovable", f"{MIGRATION}: not recorded, because it could not be verified"),
        ("permission denied",),
    ),
}


@pytest.mark.parametrize(("observation", "problem", "details"), NOTHING_PROVED.values(), ids=NOTHING_PROVED)
def test_without_proof_nothing_is_recorded(observation: Observation, problem: Problem, details: tuple[str, ...]) -> None:
    assert plan(observation) == Adoption(problem=problem, details=details)


def test_a_source_without_a_contract_can_not_be_adopted() -> None:
    assert plan(EMPTY, of=replace(OURS, contracts=())) == Adoption(
        problem=Problem("unsupported", "deploy.adopt proves with contracts, and this source has none", "set `contract`")
    )


def test_what_keeps_a_row_from_being_written_is_said_before() -> None:
    for observation in (with_ledger(privileges=("SELECT",)), with_ledger(row(MIGRATION, success=False))):
        problem = plan(observation).problem
        assert problem is not None and problem.kind in ("privilege", "ledger-dirty")
