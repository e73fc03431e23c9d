"""What a server says becomes one value; a column that the SQL and the value do not agree on is named."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from support.project import MIGRATION, VERSION
from support.servers import Database
from support.sqlx import LEDGER
from support.sqlx import row as sqlx_row
from support.versions import every_version

from deploy.connection.message import Answer
from deploy.errors import HostFailed
from deploy.execution.observe import question
from deploy.findings import Violation
from deploy.plan.observation import Schema, observe
from deploy.plan.target import Target, Targets
from deploy.problems import Problem
from deploy.statements.columns import row_as

OURS = Targets().resolve("@postgres/h", {})


def read(database: Database, of: Target) -> tuple[dict[str, Any], ...]:
    """The rows of the message that reads a host."""
    rows: list[dict[str, Any]] = []
    with psycopg.connect(database.url, autocommit=True, row_factory=dict_row) as connection:
        cursor = connection.execute(question(of).get_raw_value().encode())
        while True:
            if cursor.description is not None:
                rows += cursor.fetchall()
            if not cursor.nextset():
                return tuple(rows)


@every_version
def test_a_host_is_read_as_it_is(database: Database) -> None:
    empty = observe(OURS, Answer(read(database, OURS)))
    assert (empty.database, empty.role.acting, empty.role.can_set_owner) == (database.name, "postgres", True)
    assert empty.schema == Schema("public", exists=True, can_use=True, can_create=True)
    assert (empty.ledger.exists, empty.ledger.rows, empty.ledger.target_schema) == (False, (), empty.schema)
    assert (empty.history.exists, empty.lock_holder, empty.in_recovery) == (False, None, False)
    assert {(violation.check, violation.about) for violation in empty.violations} == {("contract", "tables")}

    database.psql(MIGRATION.read_text(encoding="utf-8") + LEDGER + sqlx_row(VERSION))
    deployed = observe(OURS, Answer(read(database, OURS)))
    assert deployed.ledger.exists and deployed.ledger.owner == "postgres" and deployed.ledger_schemas == ("public",)
    assert [(row.version, row.success) for row in deployed.ledger.rows] == [(VERSION, True)]
    assert deployed.violations == ()


@pytest.mark.parametrize("column", ["ledger_owner", "schema_usable", "invalid_indexes", "backend_pid"])
def test_a_column_that_the_status_does_not_give_any_more_is_named(database: Database, column: str) -> None:
    rows = [{key: value for key, value in row.items() if key != column} for row in read(database, OURS)]
    with pytest.raises(HostFailed) as failed:
        observe(OURS, Answer(tuple(rows)), login_pid=1)
    text = f"status/message.sql.j2 gives no column {column!r}"
    assert failed.value.problem == Problem("internal", text, "please report it")


def test_a_row_of_a_check_without_a_column_names_it() -> None:
    with pytest.raises(HostFailed, match=r"^session/check\.sql\.j2 gives no column 'actual'; please report it$"):
        row_as(Violation, {"check": "c", "about": "", "object": "o", "expected": "e", "actuel": "a"}, "session/check.sql.j2")
