"""What the acting role of one host lacks, told before anything is written: one sentence with the statement to paste. Pure.

What a file itself may not do, the server says when it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deploy.connection.quoting import ident
from deploy.plan import history as audit
from deploy.plan.observation import Observation
from deploy.plan.target import Target, qualified
from deploy.source.migrations import Migration


def to_apply(files: Iterable[Migration]) -> tuple[str, ...]:
    """The privileges on the ledger that running these files takes."""
    return ("SELECT", "INSERT") if all(file.transactional for file in files) else ("SELECT", "INSERT", "UPDATE", "DELETE")


def to_revert(files: Iterable[Migration]) -> tuple[str, ...]:
    """The privileges on the ledger that running these down files takes."""
    return ("SELECT", "DELETE") if all(file.transactional for file in files) else ("SELECT", "UPDATE", "DELETE")


def ledger_read_problem(target: Target, seen: Observation) -> str | None:
    """Why the ledger can't be looked at, or None."""
    if seen.missing_schemas and (seen.schema is None or seen.schema in seen.missing_schemas):
        return None  # sqlx.toml has it created
    if seen.schema is None or not seen.schema_exists:
        wanted = target.settings.schema
        if wanted is None:
            return f"no schema of the search_path of role {_q(seen.role)} exists in database {_q(seen.database)}; set `schema`"
        return (
            f"schema {_q(wanted)} does not exist in database {_q(seen.database)}; "
            f"run CREATE SCHEMA {ident(wanted)} there, or set `schema` to one that exists"
        )
    owner = target.settings.owner
    if owner is not None and seen.owner is None:
        return f"role {_q(owner)}, the data key `owner`, does not exist; run CREATE ROLE {ident(owner)}, or set `owner`"
    if not seen.schema_usable:
        return _grant(seen, seen.schema, "use", "USAGE")
    if seen.ledger_target_schema is not None and not seen.ledger_target_schema_usable:
        return _grant(seen, seen.ledger_target_schema, "use", "USAGE")
    if seen.ledger_mismatch is not None:
        return (
            f"{seen.ledger_schema}.{seen.ledger_name} is not SQLx's ledger: {seen.ledger_mismatch}; "
            "rename it, or set `schema` to the one that holds the ledger"
        )
    if seen.ledger_name is not None and not seen.ledger_readable:
        return _unassumable(target, seen) or _ledger(seen, "read", ("SELECT",))
    if seen.ledger_has_row_security:
        return _unassumable(target, seen) or (
            f"row security may hide rows of ledger {seen.ledger_schema}.{seen.ledger_name} from role {_q(_acting(seen))}, so what "
            f"was applied can't be told; run ALTER TABLE {_ledger_name(seen)} DISABLE ROW LEVEL SECURITY"
        )
    return None


def missing_privileges(target: Target, seen: Observation, privileges: Sequence[str], *, creates: bool) -> str | None:
    """Why the acting role can't do what needs these privileges on the ledger and, with `creates`, new objects in the schema."""
    if problem := _unassumable(target, seen):
        return problem
    if seen.ledger_name is not None and not set(privileges) <= set(seen.ledger_privileges):
        return _ledger(seen, "write", privileges)
    if creates and seen.schema is not None and seen.schema_exists and not seen.schema_creatable:
        return _grant(seen, seen.schema, "create in", "CREATE")
    new_history = target.settings.audit and not seen.history_exists
    if (
        (seen.ledger_name is None or new_history)
        and seen.ledger_target_schema is not None
        and not seen.ledger_target_schema_creatable
    ):
        return _grant(seen, seen.ledger_target_schema, "create in", "CREATE")
    acting = _acting(seen)
    if seen.missing_schemas and not seen.database_creatable:
        return (
            f"role {_q(acting)} may not create schema {_q(seen.missing_schemas[0])} in database {_q(seen.database)}; "
            f"run GRANT CREATE ON DATABASE {ident(seen.database)} TO {ident(acting)}"
        )
    if target.settings.audit and seen.history_exists and not seen.history_writable:
        history = qualified(seen.ledger_target_schema, audit.TABLE)
        return (
            f"role {_q(acting)} may not write the audit trail {seen.ledger_target_schema}.{audit.TABLE}; "
            f"run GRANT INSERT ON TABLE {history} TO {ident(acting)}"
        )
    return None


def _unassumable(target: Target, seen: Observation) -> str | None:
    owner = target.settings.owner
    if owner is None or seen.owner_assumable:
        return None
    how = " WITH SET TRUE" if seen.owner_member else ""
    return (
        f"role {_q(seen.role)} can't act as {_q(owner)}, the data key `owner`; "
        f"run GRANT {ident(owner)} TO {ident(seen.role)}{how}, or set `owner`"
    )


def _grant(seen: Observation, schema: str, verb: str, privilege: str) -> str:
    acting = _acting(seen)
    return (
        f"role {_q(acting)} may not {verb} schema {_q(schema)} of database {_q(seen.database)}; "
        f"run GRANT {privilege} ON SCHEMA {ident(schema)} TO {ident(acting)}"
    )


def _ledger(seen: Observation, verb: str, privileges: Sequence[str]) -> str:
    """What the ledger's owner makes may be out of our reach too, and what we make out of its: hence `owner`, unless a superuser."""
    owner, acting = seen.ledger_owner or "", _acting(seen)
    lacking = ", ".join(privilege for privilege in privileges if privilege not in seen.ledger_privileges)
    other = f", or set `owner` to {_q(owner)}" if owner != acting and not seen.ledger_owner_is_superuser else ""
    return (
        f"ledger {seen.ledger_schema}.{seen.ledger_name} belongs to role {_q(owner)}, and {_q(acting)} may not {verb} it; "
        f"run GRANT {lacking} ON TABLE {_ledger_name(seen)} TO {ident(acting)}{other}"
    )


def _ledger_name(seen: Observation) -> str:
    return qualified(seen.ledger_schema, seen.ledger_name or "")


def _acting(seen: Observation) -> str:
    return seen.owner or seen.role


def _q(name: str) -> str:
    return f'"{name}"'
