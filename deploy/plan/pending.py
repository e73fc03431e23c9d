"""The plan of one host: its target against an observation, and every reason not to run anything. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.plan import history as audit
from deploy.plan import invalid_indexes, ledger
from deploy.plan import privileges as rights
from deploy.plan.ledger import Comparison
from deploy.plan.observation import Observation
from deploy.plan.target import Target, qualified
from deploy.source.migrations import Migration


@dataclass(frozen=True)
class Plan:
    """What a run will do to a host. `problem` is one sentence; with it nothing is done. `ledger` and `history` are quoted.

    `create_schemas` are those of sqlx.toml that are not there; `history` is None unless an audit trail is wanted.
    """

    pending: tuple[Migration, ...]
    notes: tuple[str, ...]
    problem: str | None
    ledger: str
    creates_ledger: bool
    create_schemas: tuple[str, ...]
    history: str | None
    creates_history: bool
    compared: Comparison


def make(target: Target, seen: Observation, *, runs: bool = True) -> Plan:
    """Compare. A standby has a plan too: nothing pending, nothing wrong, a note that it is one.

    Without `runs` nobody is going to run what is pending, and its needs are no problem.
    """
    compared = ledger.compare(
        target.source,
        seen.rows,
        ignore_missing=target.settings.ignore_missing,
        contract_holds=contract_holds(target, seen),
        repairable=_repairable(target, seen),
    )
    exists = seen.ledger_name is not None
    name = ledger_name(target, seen)
    problem = None if seen.in_recovery else rights.ledger_read_problem(target, seen) or compared.problem
    if problem is not None and problem == compared.problem:
        problem += _explained(target, seen, compared)
    if problem is None and runs and compared.pending and not seen.in_recovery:
        problem = cannot_run(target, seen, compared.pending)
    return Plan(
        pending=() if problem or seen.in_recovery else compared.pending,
        notes=_notes(seen, compared, name, exists, problem),
        problem=problem,
        ledger=name,
        creates_ledger=not exists,
        create_schemas=seen.missing_schemas,
        history=_beside(target, seen, audit.TABLE) if target.settings.audit else None,
        creates_history=not seen.history_exists,
        compared=compared,
    )


_BESIDE_THE_TABLES = {"owners", "search_path"}
"""Checks of what stands around the tables, on which it does not depend whether a file made them."""


def contract_holds(target: Target, seen: Observation) -> bool:
    """Whether the host is proved to be as our own source makes it."""
    tables = [v for v in seen.violations if v.check not in _BESIDE_THE_TABLES]
    return target.holds_contract and not tables and seen.check_error is None and not seen.not_run


def ledger_name(target: Target, seen: Observation) -> str:
    """The ledger that is used, or will be made; quoted."""
    if seen.ledger_name is not None:
        return qualified(seen.ledger_schema, seen.ledger_name)
    return _beside(target, seen, target.source.sqlx.ledger_table)


def _beside(target: Target, seen: Observation, table: str) -> str:
    """A table in the schema of the ledger; as the search_path will have it while schemas are still to be made."""
    schema = seen.ledger_schema or target.ledger_schema
    return qualified(schema or (None if seen.missing_schemas else seen.schema), table)


def _repairable(target: Target, seen: Observation) -> set[int]:
    """Versions with the marker of a `-- no-transaction` file that need not stop a run.

    Someone holds the lock and is at work, which the run will wait for; or the file failed, and its INVALID index shows how.
    """
    if seen.holder is not None:
        return {migration.version for migration in _half_done(target, seen)}
    if not target.settings.repair_invalid_indexes:
        return set()
    return {m.version for m in _half_done(target, seen) if invalid_indexes.of_file(m.sql, seen.invalid_indexes)}


def _half_done(target: Target, seen: Observation) -> list[Migration]:
    marked = {row.version: row.checksum for row in seen.rows if not row.success}
    return [m for m in target.source.migrations if not m.transactional and marked.get(m.version) == m.checksum.hex()]


def _explained(target: Target, seen: Observation, compared: Comparison) -> str:
    """What more is known about the problem of a comparison."""
    half_done = next((m for m in _half_done(target, seen) if m.version == compared.dirty), None)
    if half_done is not None:
        left = invalid_indexes.of_file(half_done.sql, seen.invalid_indexes)
        return "".join(
            f"; it left INVALID index {one.index}: {invalid_indexes.next_step([one], half_done.version)}" for one in left
        )
    return ""


def cannot_run(target: Target, seen: Observation, files: Sequence[Migration], *, reverting: bool = False) -> str | None:
    """Why these files can't run, or None. What a file of another source may not do, it is told by the server."""
    privileges = rights.to_revert(files) if reverting else rights.to_apply(files)
    creates = target.settings.packaged and not reverting
    if problem := rights.missing_privileges(target, seen, privileges, creates=creates):
        return problem
    for migration in files:
        if migration.transactional:
            continue
        if seen.pooled:
            return pooled_problem(migration)
        if migration.kind == "down":
            continue  # it may be there to drop that very index
        left = invalid_indexes.of_file(migration.sql, seen.invalid_indexes)
        if left and not target.settings.repair_invalid_indexes and seen.holder is None:
            return f"{migration.file}: INVALID index {left[0].index} is in the way: {invalid_indexes.next_step(left[:1], None)}"
    return None


def existing_table_problem(target: Target, seen: Observation, pending: Sequence[Migration]) -> str | None:
    """Why apply must not run: before the first migration of our own source a table is there already, and is something else.

    IF NOT EXISTS would step over it, and the ledger would record what is not there.
    """
    if not target.holds_contract or len(pending) < len(target.source.migrations):
        return None
    wrong = [v for v in seen.violations if v.check in ("columns", "constraints") or (v.check == "tables" and v.actual != "missing")]
    if not wrong:
        return None
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return (
        f"a table of the migration is there already and differs from the contract: {wrong[0]}{more}; "
        "run deploy.verify to see all, then repair or rename the table"
    )


def pooled_problem(migration: Migration) -> str:
    return (
        f"{migration.file}: a `-- no-transaction` file needs a session of its own, and this connection goes through a pooler; "
        "nothing was run, point the host at the server itself"
    )


def _notes(seen: Observation, compared: Comparison, name: str, exists: bool, problem: str | None) -> tuple[str, ...]:
    if problem is not None:
        return ()
    notes = []
    if seen.in_recovery:
        notes.append("standby: verified only")
    notes += [f"{migration}: recorded by another formatting of this file; contract holds" for migration in compared.reformatted]
    if compared.foreign and compared.problem is None:
        notes.append(f"{len(compared.foreign)} migration(s) in the ledger belong to another source; left alone")
    if len(seen.ledgers) > 1:
        notes.append(f"this database holds {len(seen.ledgers)} ledgers, in schemas {', '.join(seen.ledgers)}; {name} is used")
    if compared.pending and not seen.in_recovery:
        what = "new objects" if exists else f"new objects and ledger {name}"
        notes.append(f"{what} will belong to role {_q(seen.owner or seen.role)}")
    return tuple(notes)


def _q(name: str) -> str:
    return f'"{name}"'
