"""Names and values as SQL, by psycopg's own rules. The lowest room: it imports nothing of the package."""

from __future__ import annotations

from psycopg import sql


def ident(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return sql.Identifier(name).as_string()


def literal(value: object) -> str:
    """`value` as an SQL literal; None is NULL."""
    return sql.Literal(value).as_string()
