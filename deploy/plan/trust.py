"""Who else could put code in the way of a host: owners of tables, and roles that may create in its schema. Pure.

What reading a table runs is said in statements/trust.sql.j2; what is promised, and by whom, in SECURITY.md.
"""

from __future__ import annotations

from deploy.connection.quoting import ident
from deploy.plan.observation import Addition, Observation
from deploy.plan.target import Target
from deploy.problems import Problem, quoted


def notes(target: Target, observation: Observation) -> tuple[str, ...]:
    """What an operator should know of a host's schema, though nothing of it was called."""
    found = []
    if target.settings.packaged and (owners := observation.table_owners):
        for owner in sorted(set(owners.values())):
            tables = " and ".join(sorted(table for table in owners if owners[table] == owner))
            verb = "belongs" if tables in owners else "belong"
            step = f"connect as {quoted(owner)} or set `owner`"
            found.append(f"{tables} {verb} to {quoted(owner)}, judged from the catalogs alone: {step}")
    if observation.creators and observation.schema.exists:
        schema = ident(observation.schema.name or "")
        for name in observation.creators:
            who, grantee = ("PUBLIC", "PUBLIC") if name == "PUBLIC" else (f"role {quoted(name)}", ident(name))
            step = f"run REVOKE CREATE ON SCHEMA {schema} FROM {grantee}"
            found.append(f"{who} may create in schema {quoted(observation.schema.name)}; {step}")
    return tuple(found)


def untrusted(place: str, addition: Addition, acting: str) -> Problem:
    """Why a table is not read or written: it belongs to somebody who could have code run there."""
    owner = quoted(addition.owner)
    return Problem(
        "untrusted",
        f"{place} belongs to role {owner} and has {addition.what}, which could run code as {quoted(acting)}",
        f"connect as {owner}, or set `owner` to it",
    )
