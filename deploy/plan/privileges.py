"""What the acting role of one host lacks, told before anything is written, with the statement to paste. Pure.

What a file itself may not do, the server says when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deploy.connection.quoting import ident
from deploy.plan import history, trust
from deploy.plan.observation import Observation, Schema
from deploy.plan.target import Target, qualified
from deploy.problems import Problem, quoted
from deploy.source.migrations import Migration


def on_ledger(files: Sequence[Migration]) -> tuple[str, ...]:
    """The privileges on the ledger that running these files takes, all of them up or all down."""
    reverting = all(file.kind == "down" for file in files)
    if all(file.transactional for file in files):
        return ("SELECT", "DELETE") if reverting else ("SELECT", "INSERT")
    return ("SELECT", "UPDATE", "DELETE") if reverting else ("SELECT", "INSERT", "UPDATE", "DELETE")


def ledger_read_problem(target: Target, observation: Observation) -> Problem | None:
    """Why the ledger can't be looked at, or None."""
    schema, ledger = observation.schema, observation.ledger
    if observation.missing_schemas and (schema.name is None or schema.name in observation.missing_schemas):
        return None  # sqlx.toml has it created
    if schema.name is None or not schema.exists:
        return _schema_missing(target, observation)
    owner = target.settings.owner
    if owner is not None and observation.role.owner is None:
        text = f"role {quoted(owner)}, the data key `owner`, does not exist"
        return Problem("privilege", text, f"run CREATE ROLE {ident(owner)}, or set `owner`")
    if not schema.can_use:
        return _schema_refused(observation, schema, "use", "USAGE")
    if ledger.target_schema.exists and not ledger.target_schema.can_use:
        return _schema_refused(observation, ledger.target_schema, "use", "USAGE")
    if ledger.mismatch is not None:
        text = f"{ledger.schema}.{ledger.name} is not SQLx's ledger: {ledger.mismatch}"
        return Problem("ledger-mismatch", text, "rename it, or set `schema` to the one that holds the ledger")
    if ledger.addition is not None:
        problem = trust.untrusted(f"ledger {ledger.schema}.{ledger.name}", ledger.addition, observation.role.name)
        return replace(problem, kind="ledger-mismatch")
    if ledger.exists and not ledger.readable:
        return cannot_set_role(target, observation) or _ledger_refused(observation, "read", ("SELECT",))
    if ledger.has_row_security:
        return cannot_set_role(target, observation) or _rows_hidden(observation)
    return None


def missing_privileges(target: Target, observation: Observation, needed: Sequence[str], *, creates_objects: bool) -> Problem | None:
    """Why the acting role can't do what needs these privileges on the ledger and, with `creates_objects`, CREATE in the schema."""
    if problem := cannot_set_role(target, observation):
        return problem
    schema, ledger, history_table = observation.schema, observation.ledger, observation.history
    if ledger.exists and not set(needed) <= set(ledger.privileges):
        return _ledger_refused(observation, "write", needed)
    if creates_objects and schema.exists and not schema.can_create:
        return _schema_refused(observation, schema, "create in", "CREATE")
    creates_table = not ledger.exists or (target.settings.audit and not history_table.exists)
    if creates_table and ledger.target_schema.exists and not ledger.target_schema.can_create:
        return _schema_refused(observation, ledger.target_schema, "create in", "CREATE")
    acting, database = observation.role.acting, observation.database
    if observation.missing_schemas and not observation.role.can_create_schemas:
        return Problem(
            "privilege",
            f"role {quoted(acting)} may not create schema {quoted(observation.missing_schemas[0])} in database {quoted(database)}",
            f"run GRANT CREATE ON DATABASE {ident(database)} TO {ident(acting)}",
        )
    place = ledger.target_schema.name
    if target.settings.audit and history_table.addition is not None:
        return trust.untrusted(f"audit trail {place}.{history.TABLE}", history_table.addition, observation.role.name)
    if target.settings.audit and history_table.exists and not history_table.writable:
        return Problem(
            "privilege",
            f"role {quoted(acting)} may not write the audit trail {place}.{history.TABLE}",
            f"run GRANT INSERT ON TABLE {qualified(place, history.TABLE)} TO {ident(acting)}",
        )
    return None


def cannot_set_role(target: Target, observation: Observation) -> Problem | None:
    """Why the role that is logged in can't act as `owner`, or None."""
    owner, role = target.settings.owner, observation.role
    if owner is None or role.can_set_owner:
        return None
    how = " WITH SET TRUE" if role.is_member else ""
    return Problem(
        "privilege",
        f"role {quoted(role.name)} can't act as {quoted(owner)}, the data key `owner`",
        f"run GRANT {ident(owner)} TO {ident(role.name)}{how}, or set `owner`",
    )


def _schema_missing(target: Target, observation: Observation) -> Problem:
    name, database = target.settings.schema, quoted(observation.database)
    if name is None:
        role = quoted(observation.role.name)
        return Problem("schema", f"no schema of the search_path of role {role} exists in database {database}", "set `schema`")
    return Problem(
        "schema",
        f"schema {quoted(name)} does not exist in database {database}",
        f"run CREATE SCHEMA {ident(name)} there, or set `schema` to one that exists",
    )


def _schema_refused(observation: Observation, schema: Schema, verb: str, privilege: str) -> Problem:
    acting, name = observation.role.acting, schema.name or ""
    return Problem(
        "privilege",
        f"role {quoted(acting)} may not {verb} schema {quoted(name)} of database {quoted(observation.database)}",
        f"run GRANT {privilege} ON SCHEMA {ident(name)} TO {ident(acting)}",
    )


def _ledger_refused(observation: Observation, verb: str, needed: Sequence[str]) -> Problem:
    """What the ledger's owner makes may be out of our reach too, and what we make out of its: hence `owner`, unless a superuser."""
    ledger, acting = observation.ledger, observation.role.acting
    lacking = ", ".join(privilege for privilege in needed if privilege not in ledger.privileges)
    other = f", or set `owner` to {quoted(ledger.owner)}" if ledger.owner != acting and not ledger.owner_is_superuser else ""
    return Problem(
        "privilege",
        f"ledger {ledger.schema}.{ledger.name} belongs to role {quoted(ledger.owner)}, and {quoted(acting)} may not {verb} it",
        f"run GRANT {lacking} ON TABLE {qualified(ledger.schema, ledger.name or '')} TO {ident(acting)}{other}",
    )


def _rows_hidden(observation: Observation) -> Problem:
    ledger, acting = observation.ledger, observation.role.acting
    return Problem(
        "privilege",
        f"row security may hide rows of ledger {ledger.schema}.{ledger.name} from role {quoted(acting)}, so what was applied "
        "can't be told",
        f"run ALTER TABLE {qualified(ledger.schema, ledger.name or '')} DISABLE ROW LEVEL SECURITY",
    )
