"""Contracts against a database without a run of pyinfra: the statement of the product, sent by psycopg."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from deploy.plan import catalogs
from deploy.plan.catalogs import Catalog
from deploy.plan.contract import Comparison, compare
from deploy.plan.merging import merge
from deploy.source.contracts import Contract, SchemaObject
from support.servers import Database
from support.sessions import session

LEDGER = "_sqlx_migrations"

Connection = psycopg.Connection[Any]


def catalog(connection: Connection, question: str, known: Contract | None = None) -> Catalog:
    """The answer to a question of `plan.catalogs`, asked in the transaction that is open or in one of its own, on our path."""
    with connection.transaction():
        connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        cursor = connection.execute(question.encode())
        while cursor.description is None or cursor.description[0].name != "objects":
            assert cursor.nextset()
        row = dict(zip([column.name for column in cursor.description], cursor.fetchone() or (), strict=True))
    return Catalog.of(row, known)


def objects(database: Database, *schemas: str, schema: str = "public") -> tuple[SchemaObject, ...]:
    with session(database) as connection:
        return catalog(connection, catalogs.ask_all(schema, schemas, [LEDGER])).objects


def contract_of(databases: Sequence[Database], *schemas: str) -> Contract:
    """The contract that all of these hold; closed."""
    merged = merge({database.server.bin.as_posix() + database.name: objects(database, *schemas) for database in databases})
    assert merged.differing == ()
    return Contract(1, 1, merged.entries, schemas=schemas, majors=tuple({major(database) for database in databases}))


def major(database: Database) -> int:
    return int(database.psql("SHOW server_version_num")) // 10000


def compared(connection: Connection, contract: Contract, schema: str = "public") -> Comparison:
    found = catalog(connection, catalogs.ask([contract], schema, [LEDGER]), contract)
    return compare(contract, found, connection.info.server_version // 10000)


def violations(database: Database, contract: Contract, schema: str = "public") -> list[str]:
    with session(database) as connection:
        return [str(violation) for violation in compared(connection, contract, schema).violations]


@contextmanager
def undone(connection: Connection) -> Iterator[None]:
    """What is done in the block is rolled back."""
    with connection.transaction(force_rollback=True):
        yield


def restored(database: Database) -> Database:
    """A database of the same server with the dump of another."""
    copy = database.server.database()
    copy.psql(re.sub(r"(?m)^SET transaction_timeout.*$", "", database.server.client("pg_dump", database.name)))
    return copy
