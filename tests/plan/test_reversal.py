"""The plan of deploy.revert: which versions go, in which order, and why nothing runs at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.files import write

from deploy.plan import reversal
from deploy.plan.ledger import Row
from deploy.plan.reversal import Reversal
from deploy.problems import Problem
from deploy.source import migrations

FILES = {f"{n}_m.{kind}.sql": "SELECT 1" for n in (-1, 1, 2, 3) for kind in ("up", "down")}


def rows(*versions: int) -> list[Row]:
    return [Row(version, "m", True, "00") for version in versions]


@pytest.mark.parametrize(
    ("applied", "to", "want"),
    [
        ((-1, 1, 2, 3), None, [3]),
        ((-1, 1, 2), None, [2]),
        ((-1, 1, 2, 3), 1, [3, 2]),
        ((-1, 1, 2, 3), 0, [3, 2, 1, -1]),
        ((1, 2, 3, 9), None, [3]),
        ((1, 2, 3, 9), 9, []),
        ((), None, []),
    ],
)
def test_newest_first(applied: tuple[int, ...], to: int | None, want: list[int], tmp_path: Path) -> None:
    source = migrations.load(write(tmp_path / "s", FILES))
    got = reversal.plan(source, rows(*applied), to, allow_data_loss=False)
    assert [up.version for up, _ in got.steps] == want
    assert got.problem is None


def test_nothing_runs_when_one_on_the_way_has_no_down_file(tmp_path: Path) -> None:
    files = {name: sql for name, sql in FILES.items() if name != "2_m.down.sql"}
    source = migrations.load(write(tmp_path / "s", files))
    assert reversal.plan(source, rows(1, 2, 3), 1, allow_data_loss=True) == Reversal(
        problem=Problem(
            "no-down-file",
            "migration 2 m has no down file, so nothing was reverted",
            f"add 2_m.down.sql to {source.path}, or revert to a version above it with to=VERSION",
        )
    )


def test_a_down_file_without_a_transaction_runs_only_when_data_may_be_lost(tmp_path: Path) -> None:
    source = migrations.load(write(tmp_path / "s", {**FILES, "3_m.down.sql": "-- no-transaction\nDROP TABLE t"}))
    assert reversal.plan(source, rows(3), None, allow_data_loss=False) == Reversal(
        problem=Problem(
            "data-loss",
            "3_m.down.sql: a `-- no-transaction` down file can't be taken back when it drops rows, so nothing was reverted",
            "pass allow_data_loss=true to run it all the same",
        )
    )
    assert [up.version for up, _ in reversal.plan(source, rows(3), None, allow_data_loss=True).steps] == [3]


def test_a_version_that_nobody_has_is_refused(tmp_path: Path) -> None:
    source = migrations.load(write(tmp_path / "s", FILES))
    text = f"to=4: no such version, neither in {source.path} nor in the ledger"
    got = reversal.plan(source, rows(1, 2), 4, allow_data_loss=True)
    assert got == Reversal(problem=Problem("arguments", text, "to=0 reverts all"))
