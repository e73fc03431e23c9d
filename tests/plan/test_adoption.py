"""What adopt will write, or why what is there proves nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.observations import EMPTY, row, with_ledger

from deploy.errors import SqlError
from deploy.findings import Violation
from deploy.plan import adoption, pending, target
from deploy.plan.adoption import Adoption
from deploy.plan.observation import Observation
from deploy.plan.target import Target
from deploy.problems import Problem

OURS = target.resolve("@postgres/h", {})
(MIGRATION,) = OURS.source.migrations
GONE = tuple(
    Violation("tables", table, "table", "missing", about="tables") for table in ("integration_events", "integration_health")
)
COLUMN = Violation("columns", "integration_health.status", "text", "missing", about="definition")


def plan(observation: Observation, *, of: Target = OURS, replace_checksum: bool = False) -> Adoption:
    planned = pending.plan(of, observation, will_run=False)
    return adoption.plan(of, observation, planned, replace_checksum=replace_checksum)


def test_a_schema_that_matches_is_recorded() -> None:
    assert plan(EMPTY) == Adoption(action="record")


def test_what_is_recorded_already_is_left_alone() -> None:
    assert plan(with_ledger(row(MIGRATION))) == Adoption(notes=(f"{MIGRATION}: recorded already; contract holds",))


def test_another_checksum_is_replaced_only_when_asked_for() -> None:
    old = "ff" * 48
    other = with_ledger(row(MIGRATION, checksum=old))
    assert plan(other) == Adoption(notes=(f"the ledger keeps its checksum {old}; replace_checksum=true would replace it",))
    asked = plan(other, replace_checksum=True)
    assert (asked.action, asked.old, asked.problem) == ("replace", old, None)


def test_a_standby_is_not_written_to() -> None:
    standby = replace(EMPTY, server=replace(EMPTY.server, in_recovery=True))
    assert plan(standby) == Adoption(notes=("standby: nothing to record",))


NOTHING_PROVED: dict[str, tuple[Observation, Problem, tuple[str, ...]]] = {
    "no table": (
        replace(EMPTY, violations=GONE),
        Problem("unprovable", f"{MIGRATION}: none of its tables exist; nothing recorded", "run deploy.apply"),
        (),
    ),
    "a difference": (
        replace(EMPTY, violations=(GONE[0], COLUMN)),
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


def test_only_the_packaged_migrations_are_proved_and_only_by_the_packaged_checks() -> None:
    other = replace(OURS, settings=replace(OURS.settings, migrations="x"), holds_contract=False)
    assert plan(EMPTY, of=other) == Adoption(
        problem=Problem("unsupported", "deploy.adopt works for the packaged migrations only", "unset `migrations`")
    )
    assert plan(EMPTY, of=replace(OURS, holds_contract=False)) == Adoption(
        problem=Problem("unsupported", "deploy.adopt works with the packaged checks only", "unset `checks`")
    )


def test_what_keeps_a_row_from_being_written_is_said_before() -> None:
    for observation in (with_ledger(privileges=("SELECT",)), with_ledger(row(MIGRATION, success=False))):
        problem = plan(observation).problem
        assert problem is not None and problem.kind in ("privilege", "ledger-dirty")
