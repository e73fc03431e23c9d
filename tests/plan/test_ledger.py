"""The lock key, and the comparison of a source with a ledger in SQLx's words and order."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.plan import ledger
from deploy.plan.ledger import Comparison, Row
from deploy.problems import Problem
from deploy.source.migrations import Migration, Source
from deploy.source.sqlx_toml import SqlxToml


@pytest.mark.parametrize(
    ("database", "want"), {"postgres": 368907709894077238, "app": 3469795979745788610, "my-db": 603963459812200890}.items()
)
def test_the_lock_key_is_that_of_sqlx(database: str, want: int) -> None:
    assert ledger.lock_key(database) == want


def migration(version: int) -> Migration:
    return Migration(version, f"m{version}", "simple", f"{version}_m{version}.sql", "", bytes([version]) * 48)


def applied(version: int, *, success: bool = True, checksum: bytes | None = None) -> Row:
    return Row(version, f"m{version}", success, (checksum or bytes([version]) * 48).hex())


ONE, TWO, THREE = migration(1), migration(2), migration(3)
SOURCE = Source(Path("/source"), (ONE, TWO, THREE), {7: migration(7)}, SqlxToml())
MODIFIED = applied(1, checksum=b"\xff" * 48)


def compare(*rows: Row, ignore_missing: bool = False, contract_holds: bool = False) -> Comparison:
    return ledger.compare(SOURCE, rows, ignore_missing=ignore_missing, contract_holds=contract_holds)


def test_against_an_empty_ledger_all_is_pending() -> None:
    assert compare() == Comparison(pending=(ONE, TWO, THREE))


def test_a_lower_version_than_the_last_applied_is_pending_too() -> None:
    assert compare(applied(1), applied(3)) == Comparison(pending=(TWO,))


def test_when_all_is_applied_nothing_is_pending() -> None:
    assert compare(applied(1), applied(2), applied(3)) == Comparison()


def test_a_version_of_which_only_the_down_file_is_there_is_not_missing() -> None:
    assert compare(applied(7)).problem is None


def test_a_dirty_row_comes_before_everything_else() -> None:
    assert compare(MODIFIED, applied(2, success=False), applied(9)) == Comparison(
        foreign=(9,),
        problem=Problem(
            "ledger-dirty",
            "migration 2 is partially applied",
            "fix and remove row from `_sqlx_migrations` table; then run deploy.apply again",
        ),
        dirty=2,
    )


def test_a_dirty_row_of_another_source_counts_as_it_does_for_sqlx() -> None:
    got = compare(applied(9, success=False), ignore_missing=True)
    assert (got.dirty, got.problem) == (9, ledger.dirty_problem("_sqlx_migrations", 9))


def test_a_missing_file_comes_before_a_modified_one() -> None:
    got = compare(MODIFIED, applied(9))
    assert got.pending == ()
    assert got.problem == Problem(
        "ledger-missing",
        "migration 9 was previously applied but is missing in the resolved migrations of /source",
        "add its file there, or set ignore_missing=true when it belongs to another source",
    )


def test_rows_of_others_are_counted_and_left_alone_with_ignore_missing() -> None:
    assert compare(applied(9), applied(10), ignore_missing=True) == Comparison(pending=(ONE, TWO, THREE), foreign=(9, 10))


def test_a_modified_file_is_refused_before_lower_pending_files_run() -> None:
    got = compare(applied(3, checksum=b"\xff" * 48))
    assert got.pending == ()
    assert got.problem == Problem(
        "ledger-modified",
        "migration 3 was previously applied but has been modified: the ledger has checksum ffffffffffffffff…, "
        "3_m3.sql has 0303030303030303…",
        "restore the file that was applied, or repair what deploy.verify reports",
    )


def test_another_formatting_counts_as_applied_when_the_contract_holds() -> None:
    got = compare(MODIFIED, contract_holds=True)
    assert got == Comparison(pending=(TWO, THREE), reformatted=(ONE,))


def test_a_holding_contract_excuses_neither_dirty_nor_missing_rows() -> None:
    for other, kind in ((applied(9), "ledger-missing"), (applied(2, success=False), "ledger-dirty")):
        problem = compare(MODIFIED, other, contract_holds=True).problem
        assert problem is not None and problem.kind == kind
