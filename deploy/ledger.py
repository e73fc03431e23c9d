"""SQLx's ledger `_sqlx_migrations`: lock key, statements, and the comparison of what was applied with a source. No database."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from deploy import templates
from deploy.migrations import Migration, Source

TABLE = "_sqlx_migrations"


def lock_key(database: str) -> int:
    """SQLx's advisory lock key for a database (`generate_lock_id` in sqlx-postgres/src/migrate.rs)."""
    return 0x3D32AD9E * zlib.crc32(database.encode())


@dataclass(frozen=True)
class Row:
    """A row of the ledger; `checksum` is hexadecimal."""

    version: int
    description: str
    success: bool
    checksum: str


@dataclass(frozen=True)
class Comparison:
    """A source against a ledger. `problem` is the first reason not to run anything, in SQLx's words and order."""

    pending: tuple[Migration, ...] = ()
    applied: tuple[int, ...] = ()
    foreign: tuple[int, ...] = ()
    reformatted: tuple[Migration, ...] = ()
    problem: str | None = None


def compare(source: Source, rows: Sequence[Row], *, ignore_missing: bool, contract_holds: bool) -> Comparison:
    """What of `source` is pending.

    `foreign` are versions of the ledger that the source does not have. With `contract_holds`, a row with another checksum
    is the work of another formatting of the same file (`reformatted`, applied); otherwise it is a problem.
    """
    recorded = {row.version: row for row in rows}
    known = {migration.version for migration in source.migrations} | set(source.down)
    foreign = tuple(row.version for row in rows if row.version not in known)
    modified = [m for m in source.migrations if m.version in recorded and recorded[m.version].checksum != m.checksum.hex()]
    dirty = next((row.version for row in rows if not row.success), None)
    problem = None
    if dirty is not None:
        problem = f"migration {dirty} is partially applied; fix and remove row from `{TABLE}` table; then run deploy.apply again"
    elif foreign and not ignore_missing:
        problem = (
            f"migration {foreign[0]} was previously applied but is missing in the resolved migrations of {source.path}; "
            "add its file there, or set ignore_missing=true when it belongs to another source"
        )
    elif modified and not contract_holds:
        first = modified[0]
        problem = (
            f"migration {first.version} was previously applied but has been modified: the ledger has checksum "
            f"{recorded[first.version].checksum[:16]}…, {first.file} has {first.checksum.hex()[:16]}…; restore the file that was "
            "applied, or repair what deploy.verify reports"
        )
    return Comparison(
        pending=() if problem else tuple(m for m in source.migrations if m.version not in recorded),
        applied=tuple(row.version for row in rows if row.version in known),
        foreign=foreign,
        reformatted=tuple(modified) if contract_holds else (),
        problem=problem,
    )


def begin(migration: Migration, *, settings: str, key: int, owner: str | None, ledger: str, ledger_exists: bool) -> str:
    """Opens the transaction of one migration and tries the lock; `settings` are SET LOCAL statements, `ledger` is quoted."""
    return templates.own(
        "ledger/begin.sql.j2",
        settings=settings,
        key=key,
        key_high=key >> 32,
        key_low=key & 0xFFFFFFFF,
        owner=owner,
        version=migration.version,
        ledger=ledger,
        ledger_exists=ledger_exists,
    )


def create(ledger: str) -> str:
    return templates.own("ledger/create.sql.j2", ledger=ledger)


def record(migration: Migration, *, ledger: str, execution_time: int) -> str:
    """The ledger row of an applied migration; `execution_time` in nanoseconds."""
    return templates.own(
        "ledger/record.sql.j2",
        ledger=ledger,
        version=migration.version,
        description=migration.description,
        checksum=migration.checksum.hex(),
        execution_time=execution_time,
    )
