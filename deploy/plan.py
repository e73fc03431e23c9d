"""The plan of one host: its target against an observation, and every reason not to run anything. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from deploy import ledger, templates
from deploy.migrations import Migration
from deploy.observation import Observation
from deploy.target import Target, qualified


@dataclass(frozen=True)
class Plan:
    """What a run will do to a host. `problem` is one sentence; with it nothing is done. `ledger` is quoted."""

    pending: tuple[Migration, ...]
    notes: tuple[str, ...]
    problem: str | None
    ledger: str
    creates_ledger: bool
    standby: bool


def make(target: Target, seen: Observation) -> Plan:
    """Compare. A standby has a plan too: nothing pending, nothing wrong, a note that it is one."""
    compared = ledger.compare(
        target.source,
        seen.rows,
        ignore_missing=target.settings.ignore_missing,
        contract_holds=target.holds_contract and not seen.violations and seen.check_error is None,
    )
    exists = seen.ledger_name is not None
    name = qualified(seen.ledger_schema, seen.ledger_name) if seen.ledger_name else qualified(seen.schema, ledger.TABLE)
    problem = None if seen.in_recovery else _unreadable(target, seen) or compared.problem
    if problem is None and compared.pending and not seen.in_recovery:
        problem = _unwritable(target, seen, compared.pending)
    return Plan(
        pending=() if problem or seen.in_recovery else compared.pending,
        notes=_notes(seen, compared, name, exists),
        problem=problem,
        ledger=name,
        creates_ledger=not exists,
        standby=seen.in_recovery,
    )


def _unreadable(target: Target, seen: Observation) -> str | None:
    if seen.schema is None or not seen.schema_exists:
        wanted = target.settings.schema
        if wanted is None:
            return f"no schema of the search_path of role {_q(seen.role)} exists in database {_q(seen.database)}; set `schema`"
        return (
            f"schema {_q(wanted)} does not exist in database {_q(seen.database)}; "
            f"run CREATE SCHEMA {templates.ident(wanted)} there, or set `schema` to one that exists"
        )
    if not seen.schema_usable:
        return _grant(seen, "use", "USAGE")
    if seen.ledger_name is not None and not seen.ledger_readable:
        return _foreign_ledger(seen, "read")
    return None


def _unwritable(target: Target, seen: Observation, pending: tuple[Migration, ...]) -> str | None:
    owner = target.settings.owner
    if owner is not None and seen.owner is None:
        return f"role {_q(owner)}, the data key `owner`, does not exist; run CREATE ROLE {templates.ident(owner)}, or set `owner`"
    if owner is not None and not seen.owner_assumable:
        return (
            f"role {_q(seen.role)} can't act as {_q(owner)}, the data key `owner`; "
            f"run GRANT {templates.ident(owner)} TO {templates.ident(seen.role)}, or set `owner`"
        )
    if seen.ledger_name is not None and not seen.ledger_writable:
        return _foreign_ledger(seen, "write")
    if not seen.schema_creatable:
        return _grant(seen, "create in", "CREATE")
    for migration in pending:
        if not migration.transactional:
            return f"{migration.file}: `-- no-transaction` files are not supported yet; run it with sqlx"
    return None


def _grant(seen: Observation, verb: str, privilege: str) -> str:
    acting, schema = seen.owner or seen.role, seen.schema or ""
    return (
        f"role {_q(acting)} may not {verb} schema {_q(schema)} of database {_q(seen.database)}; "
        f"run GRANT {privilege} ON SCHEMA {templates.ident(schema)} TO {templates.ident(acting)}"
    )


def _foreign_ledger(seen: Observation, verb: str) -> str:
    owner = seen.ledger_owner or ""
    return (
        f"ledger {seen.ledger_schema}.{seen.ledger_name} belongs to role {_q(owner)}, and {_q(seen.owner or seen.role)} may not "
        f"{verb} it; set `owner` to {_q(owner)} and run GRANT {templates.ident(owner)} TO {templates.ident(seen.role)}"
    )


def _notes(seen: Observation, compared: ledger.Comparison, name: str, exists: bool) -> tuple[str, ...]:
    notes = []
    if seen.in_recovery:
        notes.append("standby: verified only")
    notes += [f"{migration}: recorded by another formatting of this file; contract holds" for migration in compared.reformatted]
    if compared.foreign:
        notes.append(f"{len(compared.foreign)} migration(s) in the ledger belong to another source; left alone")
    if len(seen.ledgers) > 1:
        notes.append(f"this database holds {len(seen.ledgers)} ledgers, in schemas {', '.join(seen.ledgers)}; {name} is used")
    if compared.pending and not seen.in_recovery:
        what = "new objects" if exists else f"new objects and ledger {name}"
        notes.append(f"{what} will belong to role {_q(seen.owner or seen.role)}")
    return tuple(notes)


def _q(name: str) -> str:
    return f'"{name}"'
