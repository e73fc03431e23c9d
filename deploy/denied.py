"""What is missing where the server says "permission denied" or "must be owner": a question to its catalogs, answered by the
statement to paste. Pure.

The message names the kind of object and its bare name; which privilege was wanted it does not say. So those count that the
failed SQL speaks of and the role lacks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from deploy import templates
from deploy.errors import SqlError
from deploy.script import Answer, Part

SQLSTATE = "42501"
"""insufficient_privilege."""

_RELATION = "materialized view|foreign table|table|view|index|relation"
_ROUTINE = "function|procedure|aggregate"

_MESSAGES = {
    "create": r'permission denied for (database) "?(.+?)"?',
    "temporary": r'permission denied to create temporary tables in (database) "(.+)"',
    "schema": r"permission denied for (schema) (.+)",
    "sequence": r"permission denied for (sequence) (.+)",
    "relation": rf"permission denied for ({_RELATION}) (.+)",
    "routine": rf"permission denied for ({_ROUTINE}) (.+)",
    "language": r"permission denied for (language) (.+)",
    "role": r'(?:permission denied to set|must be member of|must be able to SET) (role|ROLE) "(.+)"',
    "owner": rf"must be owner of ({_RELATION}|sequence|schema|{_ROUTINE}) (.+)",
}
"""What is lacked, by what the server says. (PostgreSQL's `aclcheck_error` and `check_role_membership`, in English.)"""

_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def question(error: SqlError, parts: Sequence[Part], *, owner: str | None, schema: str | None) -> str | None:
    """The query whose row has the `statement` that would let `parts` pass; None for an error of which nothing can be asked.

    `owner` is the role that they act as where they can; `schema` is where a bare name is looked for first.
    """
    text = error.message.partition(": ")[2]
    for lack, pattern in _MESSAGES.items():
        if match := re.fullmatch(pattern, text, re.DOTALL):
            return templates.own(
                "session/denied.sql.j2",
                lack=lack,
                kind=match[1],
                name=match[2],
                privileges=_spoken_of(parts),
                owner=owner,
                schema=schema,
            )
    return None


def explained(error: SqlError, asked: Answer) -> SqlError:
    """The error with the statement that the catalogs gave."""
    statement = next((row["statement"] for row in asked.rows if row.get("statement")), None)
    return error if statement is None else replace(error, message=f"{error.message}; run {statement}")


def _spoken_of(parts: Sequence[Part]) -> list[str]:
    """The privileges on a table that the SQL may want; LOCK TABLE is content with UPDATE."""
    if "READ ONLY" in parts[0].sql:
        return ["SELECT"]
    sql = [part.sql for part in parts if part.name is not None] or [part.sql for part in parts]
    words = {word.upper() for word in re.findall(r"\w+", "\n".join(sql))}
    return [privilege for privilege in _PRIVILEGES if privilege in words or (privilege == "UPDATE" and "LOCK" in words)] or [
        "SELECT"
    ]
