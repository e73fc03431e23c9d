"""The plan of deploy.revert: which versions go, in which order, and why nothing runs at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.files import write

from deploy import migrations, reverting
from deploy.ledger import Row

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
    got = reverting.plan(source, rows(*applied), to, allow_data_loss=False)
    assert [up.version for up, _ in got.steps] == want
    assert got.problem is None


def test_nothing_runs_when_one_on_the_way_has_no_down_file(tmp_path: Path) -> None:
    files = dict(FILES)
    del files["2_m.down.sql"]
    source = migrations.load(write(tmp_path / "s", files))
    got = reverting.plan(source, rows(1, 2, 3), 1, allow_data_loss=True)
    assert got.steps == ()
    assert got.problem is not None
    assert got.problem.startswith("migration 2 m has no down file, so nothing was reverted; add 2_m.down.sql to ")
