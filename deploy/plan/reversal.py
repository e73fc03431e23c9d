"""What revert will do: which down files, in which order, or the reason not to run any. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.plan.ledger import Row
from deploy.problems import Problem
from deploy.source.migrations import Migration, Source


@dataclass(frozen=True)
class Reversal:
    """What to revert, newest first, as pairs of applied migration and down file; or the reason not to run anything."""

    steps: Sequence[tuple[Migration, Migration]] = ()
    problem: Problem | None = None


def plan(source: Source, rows: Sequence[Row], to: int | None, *, allow_data_loss: bool) -> Reversal:
    """The migrations of `source` to revert: the newest applied, or all above version `to`, or all when `to` is 0. Pure.

    Versions of the ledger that the source does not have are those of others, and stay.
    """
    ups = {migration.version: migration for migration in source.migrations}
    applied = sorted((row.version for row in rows if row.version in ups), reverse=True)
    if to is None:
        chosen = applied[:1]
    elif to == 0:
        chosen = applied
    elif to in ups or any(row.version == to for row in rows):
        chosen = [version for version in applied if version > to]
    else:
        text = f"to={to}: no such version, neither in {source.path} nor in the ledger"
        return Reversal(problem=Problem("arguments", text, "to=0 reverts all"))
    steps = []
    for version in chosen:
        up, down = ups[version], source.down.get(version)
        if down is None:
            return Reversal(
                problem=Problem(
                    "no-down-file",
                    f"migration {up} has no down file, so nothing was reverted",
                    f"add {_down_name(up)} to {source.path}, or revert to a version above it with to=VERSION",
                )
            )
        if not down.transactional and not allow_data_loss:
            return Reversal(
                problem=Problem(
                    "data-loss",
                    f"{down.file}: a `-- no-transaction` down file can't be taken back when it drops rows, so nothing was reverted",
                    "pass allow_data_loss=true to run it all the same",
                )
            )
        steps.append((up, down))
    return Reversal(tuple(steps))


def _down_name(up: Migration) -> str:
    suffix = ".up.sql" if up.kind == "up" else ".sql"
    return up.file.removesuffix(suffix) + ".down.sql"
