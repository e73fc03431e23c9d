"""What the tests of bad input share: what an operator reads about one host, and what the databases are like afterwards."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from conftest import VERSION, Pyinfra, Result
from servers import PASSWORD, Database

_OWN = re.compile(r"Connected|Ready: apply|Error: executed \d+ commands?|Success|No changes")
"""pyinfra's own words."""

LEDGER = """
    CREATE TABLE _sqlx_migrations (
        version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
        success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL);
"""


def row(version: int, *, success: bool = True, checksum: str = "00") -> str:
    """The INSERT of a row into LEDGER."""
    return f"INSERT INTO _sqlx_migrations VALUES ({version}, 'x', now(), {success}, '\\x{checksum}', 0);"  # noqa: S608


def run(pyinfra: Pyinfra, hosts: Mapping[str, Mapping[str, object]], *words: str, **environment: str) -> Result:
    """`pyinfra INVENTORY WORDS`, by default `-y deploy.apply`, with the superuser's password in the environment."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return pyinfra(hosts, *(words or ("-y", "deploy.apply")), environment={**kept, "PGPASSWORD": PASSWORD, **environment})


def said(result: Result, host: str) -> list[str]:
    """Every line about a host but pyinfra's own words."""
    return [line.strip() for line in result.lines(host) if not _OWN.fullmatch(line.strip())]


def ended(result: Result) -> str | None:
    """The sentence with which pyinfra ended the whole run."""
    match = re.search(r"^--> pyinfra error: (.*)$", result.out, re.MULTILINE)
    return match[1] if match else None


def is_deployed(database: Database) -> bool:
    """Whether this run or an earlier one finished the database: tables, indexes and the ledger's row."""
    indexes = database.psql("SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'idx\\_integration\\_%'")
    return indexes == "5" and database.psql("SELECT version FROM _sqlx_migrations") == str(VERSION)


def whole(database: Database) -> str:
    """pg_dump with every row."""
    lines = database.server.client("pg_dump", "--inserts", database.name).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))


def login(database: Database, role: str, *, options: str = "") -> dict[str, object]:
    """A role of the server that may connect, with the superuser's password; the host data to connect as it."""
    quoted = role.replace('"', '""')
    password = PASSWORD.replace("'", "''")
    database.psql(f"CREATE ROLE \"{quoted}\" LOGIN PASSWORD '{password}' {options}")
    return {**database.data, "postgres_user": role}
