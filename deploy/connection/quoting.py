"""Names and values as SQL, by psycopg's own rules. The lowest room: it imports nothing of the package."""

from __future__ import annotations

from psycopg import sql


class Sql(str):
    """Text that is SQL: a quoted name or value, or what was written as SQL. Templates of others let nothing else through."""

    __slots__ = ()


def ident(name: str) -> Sql:
    """`name` as a quoted SQL identifier."""
    return Sql(sql.Identifier(name).as_string())


def literal(value: object) -> Sql:
    """`value` as an SQL literal; None is NULL."""
    return Sql(sql.Literal(value).as_string())
