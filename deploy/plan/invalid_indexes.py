"""INVALID indexes: what a failed CREATE, DROP or REINDEX ... CONCURRENTLY leaves, and which file left them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.connection.quoting import ident
from deploy.problems import Problem
from deploy.source.migrations import Migration
from deploy.statements import statement


@dataclass(frozen=True)
class InvalidIndex:
    """`index` is quoted and qualified; `busy`: another session may still be building it."""

    index: str
    name: str
    table: str
    busy: bool

    @property
    def drop(self) -> str:
        """The statement that removes it without blocking anyone."""
        return statement("indexes/drop.sql.j2", index=self.index).strip()


def of_file(sql: str, found: Sequence[InvalidIndex]) -> tuple[InvalidIndex, ...]:
    """Those of `found` that the file `sql` builds: it holds their name, or lets Postgres name an index of their table."""
    words = set(re.findall(r"\w[\w$]*", sql.lower()))
    unnamed = re.search(r"INDEX\s+CONCURRENTLY\s+ON\b", sql, re.IGNORECASE) is not None
    return tuple(one for one in found if _names(one.name, sql, words) or (unnamed and _names(one.table, sql, words)))


def _names(name: str, sql: str, words: set[str]) -> bool:
    base = re.sub(r"_cc(new|old)\d*$", "", name)  # REINDEX ... CONCURRENTLY works on copies named so
    return base.lower() in words or ident(base) in sql


def in_the_way(file: Migration, left: InvalidIndex) -> Problem:
    """Why `file`, which builds this index, does not run."""
    return Problem("invalid-index", f"{file.file}: INVALID index {left.index} is in the way", next_step([left], None))


def next_step(left: Sequence[InvalidIndex], marked: int | None) -> str:
    """How to get rid of them; `marked` is the version whose row says that it failed, None when there is no such row."""
    drops = " ".join(one.drop for one in left)
    row = f" and remove the row of version {marked} from the ledger" if marked is not None else ""
    return f"run `{drops}`{row}, or deploy.apply repair_invalid_indexes=true, which does so and builds it again"
