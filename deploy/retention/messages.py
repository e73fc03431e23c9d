"""What a purge saw and did on one host, as values, and its sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.connection.message import Answer
from deploy.connection.quoting import ident
from deploy.plan import target
from deploy.problems import Problem, first_few, quoted
from deploy.retention.expiry import HEALTH, TIME


@dataclass(frozen=True)
class Expired:
    """The rows of one table that are past retention: how many, and the times of the first and the last of them.

    `along` are other tables, whose rows that refer to these go with them (ON DELETE CASCADE).
    """

    table: str
    before: str
    rows: int
    oldest: str | None
    newest: str | None
    along: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.rows:
            but = ", but for newest rows of an integration, which stay" if self.table == HEALTH else ""
            return f"no row of {self.table} is older than {format_time(self.before)}{but}"
        stays = "; the newest of each integration stays" if self.table == HEALTH else ""
        span = f"from {format_time(self.oldest)} to {format_time(self.newest)}"
        return f"{n_rows(self.rows)} of {self.table} older than {format_time(self.before)}, {span}{stays}{self.with_others}"

    @property
    def with_others(self) -> str:
        return f", with the rows of {first_few(self.along)} that refer to them (ON DELETE CASCADE)" if self.along else ""


@dataclass(frozen=True)
class Current:
    """What integration_health shows of itself: rows, integrations, and the sum of the times of their newest rows."""

    rows: int
    integrations: int
    newest: float

    def rows_lost(self, later: Current, deleted: int) -> Problem | None:
        """A problem when `later` has fewer rows than `deleted` explains, or an integration without its newest row."""
        if later.rows >= self.rows - deleted and later.integrations >= self.integrations and not later.newest < self.newest:
            return None
        return Problem(
            "rows-lost",
            f"{HEALTH} lost rows while the purge ran, which deleted {deleted:,} there: {n_rows(self.rows)} and newest rows of "
            f"{self.integrations} integration(s) before, {n_rows(later.rows)} and {later.integrations} after",
            "look for a trigger or another job that deletes or changes them",
        )


def problem(answer: Answer) -> Problem | None:
    """The first reason not to begin, in an answer to `expiry.preflight` from a primary."""
    server = next(row for row in answer.rows if "events_before" in row)
    acting, database = server["role"], server["database"]
    if server["schema_usable"] is False:
        text = f"role {quoted(acting)} may not use schema {quoted(server['schema'])} of database {quoted(database)}"
        return Problem("privilege", text, f"run GRANT USAGE ON SCHEMA {ident(server['schema'])} TO {ident(acting)}")
    tables = [row for row in answer.rows if "kind" in row]
    for row in tables:
        table, column = row["table"], TIME[row["table"]]
        place = f"{table} in schema {quoted(server['schema'])} of database {quoted(database)}"
        if row["kind"] is None:
            return Problem("contract", f"there is no table {place}", "run deploy.apply, or set `schema`")
        if row["kind"] != "table":
            return Problem("contract", f"{place} is no ordinary table but {row['kind']}", "run deploy.verify")
        if row["time_type"] != "timestamp with time zone":
            found = f"has type {row['time_type']}" if row["time_type"] else "is missing"
            text = f"{table}.{column} in schema {quoted(server['schema'])} {found}, expected timestamp with time zone"
            return Problem("contract", text, "run deploy.verify")
        deletes = table != HEALTH or server["health_before"] is not None
        lacking = [right for right in row["lacking"] if deletes or right == "SELECT"]
        name = target.qualified(server["schema"], table)
        if lacking:
            what = "read" if lacking[0] == "SELECT" else "delete in"
            grant = f"run GRANT {', '.join(lacking)} ON TABLE {name} TO {ident(acting)}"
            return Problem("privilege", f"role {quoted(acting)} lacks the right to {what} {place}", grant)
        if row["additions"]:
            stranger = quoted(row["stranger"])
            text = f"{place} belongs to role {stranger} and has {row['additions']}, which could run code as {quoted(acting)}"
            return Problem("untrusted", text, f"connect as {stranger}, or set `owner` to it")
        if not deletes:
            continue
        if row["rows_hidden"]:
            text = f"row security may hide rows of {place} from role {quoted(acting)}"
            return Problem("privilege", text, f"run ALTER TABLE {name} DISABLE ROW LEVEL SECURITY")
        if not row["indexed"]:
            text = f"{place} has no usable index on {column}, so every batch would read all of it"
            return Problem("contract", text, "run deploy.verify")
    if len({row["table_schema"] for row in tables}) > 1:
        places = " and ".join(f"{row['table']} in {quoted(row['table_schema'])}" for row in tables)
        return Problem("contract", f"the search_path of role {quoted(acting)} leads to {places}", "set `schema`")
    return None


def still_locked(table: str, left: int, holders: Sequence[Mapping[str, Any]]) -> Problem:
    """Rows that could not be deleted within `lock_wait`."""
    if not holders:
        text = f"{n_rows(left)} of {table} past retention still there, though nobody has them locked"
        return Problem("rows-locked", text, "run again")
    names = ", ".join(
        f"prepared transaction {holder['prepared']!r}"
        if holder["pid"] is None
        else f"pid {holder['pid']} (application {holder['application'] or 'unknown'})"
        for holder in holders
    )
    return Problem("rows-locked", f"{n_rows(left)} still locked by {names} in {table}", "run again")


def already_purging(holder: Mapping[str, Any]) -> Problem:
    """For the second purge."""
    return Problem(
        "purge-running",
        f"another purge is at work on this database: pid {holder.get('pid', 'unknown')}, application "
        f"{holder.get('application') or 'unknown'}, since {format_time(holder.get('since')) or 'unknown'}",
        "run again when it is done",
    )


def progress(table: str, deleted: int, expected: int, seconds: float) -> str:
    rate = deleted / seconds if seconds else 0.0
    return f"deleted {deleted:,} of {n_rows(expected)} of {table}, {rate:,.0f} rows/s, {max(expected - deleted, 0):,} remain"


def n_rows(rows: int) -> str:
    return f"{rows:,} row" + ("" if rows == 1 else "s")


def format_time(time: str | None) -> str:
    """A timestamptz in UTC, to the second."""
    if time is None:
        return ""
    text = time.replace("T", " ").split(".")[0].removesuffix("+00:00").removesuffix("+00")
    return text if "infinity" in text else f"{text} UTC"
