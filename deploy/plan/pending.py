"""The plan of one host: its target against an observation, and every reason not to run anything. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploy.plan import history, invalid_indexes, ledger, privileges, trust
from deploy.plan.ledger import Comparison
from deploy.plan.observation import Observation
from deploy.plan.target import Target, qualified
from deploy.problems import Problem, first_few, quoted
from deploy.source.migrations import Migration


@dataclass(frozen=True)
class Plan:
    """What a run will do to a host; with a `problem` nothing is done. `ledger` and `history` are quoted.

    `create_schemas` are those of sqlx.toml that are not there; `history` is None unless an audit trail is wanted.
    """

    pending: tuple[Migration, ...]
    notes: tuple[str, ...]
    problem: Problem | None
    ledger: str
    creates_ledger: bool
    create_schemas: tuple[str, ...]
    history: str | None
    creates_history: bool


def plan(target: Target, observation: Observation, *, will_run: bool = True) -> Plan:
    """Compare. A standby has a plan too: nothing pending, nothing wrong, a note that it is one.

    With `will_run` what is pending is going to run here, and what it needs and lacks is a problem.
    """
    compared = ledger.compare(
        target.source,
        observation.ledger.rows,
        ignore_missing=target.settings.ignore_missing,
        contract_holds=target.settings.packaged and contract_holds(observation),
        repairable=_repairable(target, observation),
    )
    name = ledger_name(target, observation)
    problem = None
    if not observation.in_recovery:
        problem = (
            privileges.ledger_read_problem(target, observation)
            or _ledger_elsewhere(target, observation)
            or _context(target, observation, compared)
        )
        if problem is None and will_run and compared.pending:
            problem = cannot_run(target, observation, compared.pending)
    return Plan(
        pending=() if problem or observation.in_recovery else compared.pending,
        notes=_notes(target, observation, compared, name) if problem is None else (),
        problem=problem,
        ledger=name,
        creates_ledger=not observation.ledger.exists,
        create_schemas=observation.missing_schemas,
        history=_in_ledger_schema(target, observation, history.TABLE) if target.settings.audit else None,
        creates_history=not observation.history.exists,
    )


def contract_holds(observation: Observation) -> bool:
    """Whether the host is proved to be as the source makes it; what stands around the tables is no work of a file."""
    differences = [violation for violation in observation.violations if violation.about != "around"]
    compared = observation.proof.contract is not None
    return compared and not differences and observation.check_error is None and not observation.not_run


def ledger_name(target: Target, observation: Observation) -> str:
    """The ledger that is used, or will be made; quoted."""
    if observation.ledger.name is not None:
        return qualified(observation.ledger.schema, observation.ledger.name)
    return _in_ledger_schema(target, observation, target.source.sqlx.ledger_table)


def _in_ledger_schema(target: Target, observation: Observation, table: str) -> str:
    """A table in the schema of the ledger; as the search_path will have it while schemas are still to be made."""
    schema = observation.ledger.schema or target.ledger_schema
    return qualified(schema or (None if observation.missing_schemas else observation.schema.name), table)


def _ledger_elsewhere(target: Target, observation: Observation) -> Problem | None:
    """Why no ledger is made where the role's search_path leads: one is there already, in a schema that the path has lost."""
    if target.ledger_schema is not None or observation.ledger.exists or not observation.ledger_schemas:
        return None
    table, role = target.source.sqlx.ledger_table, observation.role.name
    there = [qualified(schema, table) for schema in observation.ledger_schemas]
    schema = observation.ledger_schemas[0]
    return Problem(
        "ledger-mismatch",
        f"this database has ledger {first_few(there)}, and the search_path of role {quoted(role)} leads to schema "
        f"{quoted(observation.schema.name)}, where a second one would be made and every file run again",
        f"set `schema` to {quoted(schema)} to go on there, or to {quoted(observation.schema.name)} to begin a ledger of its own",
    )


def _repairable(target: Target, observation: Observation) -> set[int]:
    """Versions with the marker of a `-- no-transaction` file that need not stop a run.

    Someone holds the lock and is at work, which the run will wait for; or the file failed, and its INVALID index shows how.
    """
    marked = _marked(target, observation)
    if observation.lock_holder is not None:
        return {migration.version for migration in marked}
    if not target.settings.repair_invalid_indexes:
        return set()
    return {m.version for m in marked if invalid_indexes.of_file(m.sql, observation.invalid_indexes)}


def _marked(target: Target, observation: Observation) -> list[Migration]:
    """The `-- no-transaction` files with a row that says that they did not get to their end."""
    checksums = {row.version: row.checksum for row in observation.ledger.rows if not row.success}
    return [m for m in target.source.migrations if not m.transactional and checksums.get(m.version) == m.checksum.hex()]


def _context(target: Target, observation: Observation, compared: Comparison) -> Problem | None:
    """The problem of a comparison, with what more is known about it."""
    marked = next((m for m in _marked(target, observation) if m.version == compared.dirty), None)
    if compared.problem is None or marked is None:
        return compared.problem
    left = invalid_indexes.of_file(marked.sql, observation.invalid_indexes)
    known = [f"it left INVALID index {one.index}: {invalid_indexes.next_step([one], marked.version)}" for one in left]
    return replace(compared.problem, next="; ".join([compared.problem.next, *known]))


def cannot_run(target: Target, observation: Observation, files: Sequence[Migration]) -> Problem | None:
    """Why these files can't run, or None. What a file of another source may not do, it is told by the server."""
    creates_objects = target.settings.packaged and any(file.kind != "down" for file in files)
    needed = privileges.on_ledger(files)
    if problem := privileges.missing_privileges(target, observation, needed, creates_objects=creates_objects):
        return problem
    for migration in files:
        if migration.transactional:
            continue
        if observation.pooled:
            return pooled_problem(migration)
        if migration.kind == "down":
            continue  # it may be there to drop that very index
        left = invalid_indexes.of_file(migration.sql, observation.invalid_indexes)
        if left and not target.settings.repair_invalid_indexes and observation.lock_holder is None:
            return invalid_indexes.in_the_way(migration, left[0])
    return None


def existing_table_problem(target: Target, observation: Observation, pending: Sequence[Migration]) -> Problem | None:
    """Why apply must not run: before the first migration of our own source a table is there already, and is something else.

    IF NOT EXISTS would step over it, and the ledger would record what is not there.
    """
    if not target.settings.packaged or len(pending) < len(target.source.migrations):
        return None
    wrong = [
        violation
        for violation in observation.proof.first
        if violation.about == "definition" or (violation.about == "tables" and violation.actual != "missing")
    ]
    if not wrong:
        return None
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return Problem(
        "existing-table",
        f"a table of the migration is there already and differs from the contract: {wrong[0]}{more}",
        "run deploy.verify to see all, then repair or rename the table",
    )


def pooled_problem(migration: Migration) -> Problem:
    return Problem(
        "pooler",
        f"{migration.file}: a `-- no-transaction` file needs a session of its own, and this connection goes through a pooler",
        "nothing was run, point the host at the server itself",
    )


def _notes(target: Target, observation: Observation, compared: Comparison, name: str) -> tuple[str, ...]:
    notes = []
    if observation.in_recovery:
        notes.append("standby: verified only")
    source = target.source
    if source.sqlx.path is not None and source.sqlx.path.parent != source.path.parent:
        notes.append(f"{source.sqlx.path} names {source.path} and is used: its ledger is {name}")
    notes += [f"{migration}: recorded by another formatting of this file; contract holds" for migration in compared.reformatted]
    if compared.foreign and compared.problem is None:
        notes.append(f"{len(compared.foreign)} migration(s) in the ledger belong to another source; left alone")
    schemas = observation.ledger_schemas
    if len(schemas) > 1:
        notes.append(f"this database holds {len(schemas)} ledgers, in schemas {first_few(schemas)}; {name} is used")
    if compared.pending and not observation.in_recovery:
        what = "new objects" if observation.ledger.exists else f"new objects and ledger {name}"
        notes.append(f"{what} will belong to role {quoted(observation.role.acting)}")
    return (*notes, *trust.notes(target, observation))
