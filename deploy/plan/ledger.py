"""SQLx's ledger `_sqlx_migrations`: lock key, statements, and the comparison of what was applied with a source. No database."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.connection.message import Answer
from deploy.connection.server import Server
from deploy.problems import Problem
from deploy.source.migrations import Migration, Source
from deploy.statements import statement

LOCK_FACTOR = 0x3D32AD9E


def lock_key(database: str) -> int:
    """SQLx's advisory lock key for a database (`generate_lock_id` in sqlx-postgres/src/migrate.rs)."""
    return LOCK_FACTOR * zlib.crc32(database.encode())


@dataclass(frozen=True)
class Row:
    """A row of the ledger; `checksum` is hexadecimal."""

    version: int
    description: str
    success: bool
    checksum: str


@dataclass(frozen=True)
class Comparison:
    """A source against a ledger. `problem` is the first reason not to run anything, in SQLx's words and order.

    `dirty` is the first version of a migration that did not get to its end.
    """

    pending: tuple[Migration, ...] = ()
    foreign: tuple[int, ...] = ()
    reformatted: tuple[Migration, ...] = ()
    problem: Problem | None = None
    dirty: int | None = None


def compare(
    source: Source, rows: Sequence[Row], *, ignore_missing: bool, contract_holds: bool, repairable: Collection[int] = ()
) -> Comparison:
    """What of `source` is pending. Dirty rows of the versions `repairable` count as pending.

    `foreign` are versions of the ledger that the source does not have. With `contract_holds`, a row with another checksum
    is the work of another formatting of the same file (`reformatted`, applied); otherwise it is a problem.
    """
    recorded = {row.version: row for row in rows}
    known = {migration.version for migration in source.migrations} | set(source.down)
    foreign = tuple(row.version for row in rows if row.version not in known)
    modified = [m for m in source.migrations if m.version in recorded and recorded[m.version].checksum != m.checksum.hex()]
    dirty = next((row.version for row in rows if not row.success and row.version not in repairable), None)
    problem = None
    if dirty is not None:
        problem = dirty_problem(source.sqlx.ledger_table, dirty)
    elif foreign and not ignore_missing:
        problem = Problem(
            "ledger-missing",
            f"migration {foreign[0]} was previously applied but is missing in the resolved migrations of {source.path}",
            "add its file there, or set ignore_missing=true when it belongs to another source",
        )
    elif modified and not contract_holds:
        first = modified[0]
        problem = Problem(
            "ledger-modified",
            f"migration {first.version} was previously applied but has been modified: the ledger has checksum "
            f"{recorded[first.version].checksum[:16]}…, {first.file} has {first.checksum.hex()[:16]}…",
            "restore the file that was applied, or repair what deploy.verify reports",
        )
    return Comparison(
        pending=() if problem else tuple(m for m in source.migrations if m.version not in recorded or m.version in repairable),
        foreign=foreign,
        reformatted=tuple(modified) if contract_holds else (),
        problem=problem,
        dirty=dirty,
    )


@dataclass(frozen=True)
class LedgerHandle:
    """A ledger in use: its quoted name, the role that acts on it (None: that of the login), and the lock key of its database."""

    name: str
    owner: str | None
    key: int

    def lock(self, version: int, *, ledger_exists: bool, session_pid: int | None = None) -> str:
        """Tries the lock for one migration and reads the ledger's state, at the beginning of a transaction.

        With `session_pid` the lock outlives the transaction; it is only taken in the session that has this process id.
        """
        return statement("ledger/lock.sql.j2", session_pid=session_pid, **self._variables(version, ledger_exists))

    def state(self, version: int, *, ledger_exists: bool) -> str:
        """Reads the state without the lock."""
        return statement("ledger/state.sql.j2", **self._variables(version, ledger_exists))

    def record(self, migration: Migration, *, execution_time: int, lock_wait: int) -> str:
        """The row of an applied migration; `execution_time` in nanoseconds, `lock_wait` in milliseconds."""
        return statement(
            "ledger/record.sql.j2",
            ledger=self.name,
            owner=self.owner,
            version=migration.version,
            description=migration.description,
            checksum=migration.checksum.hex(),
            execution_time=execution_time,
            lock_wait=lock_wait,
        )

    def _variables(self, version: int, ledger_exists: bool) -> dict[str, Any]:
        key = {"key": self.key, "key_high": self.key >> 32, "key_low": self.key & 0xFFFFFFFF}
        names = {"ledger": self.name, "ledger_exists": ledger_exists, "owner": self.owner}
        return {**key, **names, "version": version}


@dataclass(frozen=True)
class LedgerState:
    """What `LedgerHandle.lock` and `state` read of one version: its row, if any, and what else may be in the way."""

    server: Server
    ledger_exists: bool
    success: bool | None
    checksum: str | None
    dirty: int | None
    waiters: int
    holder: Mapping[str, Any]

    @classmethod
    def of(cls, answer: Answer) -> LedgerState:
        row = next(row for row in answer.rows if "ledger_exists" in row)
        recorded = row["recorded"] or {}
        return cls(
            server=Server.of(answer),
            ledger_exists=row["ledger_exists"],
            success=recorded.get("success"),
            checksum=recorded.get("checksum"),
            dirty=row["dirty"],
            waiters=row["waiters"],
            holder=row["holder"] or {},
        )

    def shows(self, migration: Migration) -> bool:
        """Whether the migration is applied."""
        return bool(self.success) and self.checksum == migration.checksum.hex()


def create(ledger: str, *, schemas: Sequence[str] = (), create_table: bool = True) -> str:
    return statement("ledger/create.sql.j2", ledger=ledger, schemas=schemas, create_table=create_table)


def dirty_problem(table: str, version: int) -> Problem:
    return Problem(
        "ledger-dirty",
        f"migration {version} is partially applied",
        f"fix and remove row from `{table}` table; then run deploy.apply again",
    )
