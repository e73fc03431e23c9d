"""What apply will do to a host, and every reason not to run anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.files import write
from support.observations import EMPTY, row, with_ledger

from deploy.findings import Violation
from deploy.plan import pending
from deploy.plan.invalid_indexes import InvalidIndex
from deploy.plan.proof import Proof
from deploy.plan.target import Target, Targets
from deploy.problems import Problem

OURS = Targets().resolve("@postgres/h", {})
(MIGRATION,) = OURS.source.migrations
INDEX = InvalidIndex('"public"."t_x"', "t_x", "t", busy=False)
DROP = 'run `DROP INDEX CONCURRENTLY IF EXISTS "public"."t_x";`'
REPAIR = "or deploy.apply repair_invalid_indexes=true, which does so and builds it again"


@pytest.fixture
def concurrent(tmp_path: Path) -> Target:
    """Another source, with one file that builds an index without a transaction."""
    folder = write(tmp_path / "migrations", {"1_x.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY t_x ON t (x)"})
    return Targets().resolve("@postgres/h", {"migrations": str(folder)})


def test_on_an_empty_host_all_is_pending_and_the_ledger_will_be_made() -> None:
    got = pending.plan(OURS, EMPTY)
    assert (got.pending, got.problem) == (OURS.source.migrations, None)
    assert (got.ledger, got.creates_ledger) == ('"public"."_sqlx_migrations"', True)
    assert got.notes == ('new objects and ledger "public"."_sqlx_migrations" will belong to role "deployer"',)


def test_at_target_nothing_is_pending() -> None:
    got = pending.plan(OURS, with_ledger(row(MIGRATION)))
    assert (got.pending, got.problem, got.notes, got.creates_ledger) == ((), None, (), False)


def test_a_standby_is_verified_only_whatever_its_ledger_says() -> None:
    standby = replace(with_ledger(row(MIGRATION, success=False)), server=replace(EMPTY.server, in_recovery=True))
    got = pending.plan(OURS, standby)
    assert (got.pending, got.problem, got.notes) == ((), None, ("standby: verified only",))


def test_what_a_file_needs_is_a_problem_only_where_it_will_run() -> None:
    poor = replace(EMPTY, schema=replace(EMPTY.schema, can_create=False))
    problem = pending.plan(OURS, poor).problem
    assert problem is not None and problem.kind == "privilege"
    assert pending.plan(OURS, poor, will_run=False).problem is None


@pytest.mark.parametrize(("about", "holds"), [("tables", False), ("definition", False), ("", False), ("around", True)])
def test_the_contract_holds_when_only_what_stands_around_the_tables_differs(about: str, holds: bool) -> None:
    """Then a row with another checksum is another formatting of the same file."""
    reformatted = replace(
        with_ledger(row(MIGRATION, checksum="ff" * 48)), violations=(Violation("any", "t", "a", "b", about=about),)
    )
    got = pending.plan(OURS, reformatted)
    assert pending.contract_holds(reformatted) is holds
    assert (got.problem is None) is holds
    assert (f"{MIGRATION}: recorded by another formatting of this file; contract holds" in got.notes) is holds


@pytest.mark.parametrize(
    ("about", "actual", "blocks"),
    [
        ("tables", "missing", False),
        ("tables", "view", True),
        ("definition", "missing", True),
        ("", "x", False),
        ("around", "x", False),
    ],
)
def test_a_table_that_is_there_and_differs_stops_the_first_migration(about: str, actual: str, blocks: bool) -> None:
    found = Violation("any", "integration_events", "table", actual, about=about)
    got = pending.existing_table_problem(OURS, replace(EMPTY, proof=Proof(first=(found, found))), OURS.source.migrations)
    want = Problem(
        "existing-table",
        "a table of the migration is there already and differs from the contract: "
        f"integration_events: expected table, found {actual} and 1 more",
        "run deploy.verify to see all, then repair or rename the table",
    )
    assert got == (want if blocks else None)


def test_a_table_that_a_migration_has_made_stops_none() -> None:
    found = Violation("any", "integration_events", "table", "view", about="tables")
    assert pending.existing_table_problem(OURS, replace(EMPTY, proof=Proof(first=(found,))), ()) is None


def test_behind_a_pooler_a_file_without_a_transaction_is_refused(concurrent: Target) -> None:
    assert pending.plan(concurrent, replace(EMPTY, pooled=True)).problem == Problem(
        "pooler",
        "1_x.sql: a `-- no-transaction` file needs a session of its own, and this connection goes through a pooler",
        "nothing was run, point the host at the server itself",
    )


def test_an_invalid_index_in_the_way_of_a_file_is_named_with_its_remedy(concurrent: Target) -> None:
    left = replace(EMPTY, invalid_indexes=(INDEX,))
    text = '1_x.sql: INVALID index "public"."t_x" is in the way'
    assert pending.plan(concurrent, left).problem == Problem("invalid-index", text, f"{DROP}, {REPAIR}")
    assert pending.plan(concurrent, replace(left, lock_holder={"pid": 1})).problem is None
    repairing = replace(concurrent, settings=replace(concurrent.settings, repair_invalid_indexes=True))
    assert pending.plan(repairing, left).problem is None


def test_a_file_that_failed_half_way_says_which_index_it_has_left(concurrent: Target) -> None:
    (migration,) = concurrent.source.migrations
    marked = replace(with_ledger(row(migration, success=False)), invalid_indexes=(INDEX,))
    fix = "fix and remove row from `_sqlx_migrations` table; then run deploy.apply again"
    known = f'it left INVALID index "public"."t_x": {DROP} and remove the row of version 1 from the ledger, {REPAIR}'
    assert pending.plan(concurrent, marked).problem == Problem(
        "ledger-dirty", "migration 1 is partially applied", f"{fix}; {known}"
    )
    repairing = replace(concurrent, settings=replace(concurrent.settings, repair_invalid_indexes=True))
    assert pending.plan(repairing, marked).pending == (migration,)


def test_two_ledgers_and_the_migrations_of_others_are_noted() -> None:
    others = replace(with_ledger(row(MIGRATION), replace(row(MIGRATION), version=9)), ledger_schemas=("a", "public"))
    assert pending.plan(OURS, others).notes == (
        "1 migration(s) in the ledger belong to another source; left alone",
        'this database holds 2 ledgers, in schemas a, public; "public"."_sqlx_migrations" is used',
    )
