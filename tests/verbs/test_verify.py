"""deploy.verify finds what does not match the contract, on every server, also with a role that may only read."""

from __future__ import annotations

import uuid

from support.operator import Pyinfra
from support.project import VERSION
from support.servers import PASSWORD, Database
from support.sqlx import DEPLOYED
from support.versions import two_versions

HOST = "@postgres/drift"

DRIFTS = {
    "ALTER TABLE integration_health DROP COLUMN fees_sync_status": (
        "integration_health.fees_sync_status: expected character varying(20), found missing"
    ),
    "ALTER TABLE integration_health ALTER status TYPE VARCHAR(30)": (
        "integration_health.status: expected character varying(20) NOT NULL, found character varying(30) NOT NULL"
    ),
    "ALTER TABLE integration_health ALTER error_rate TYPE NUMERIC(6,4)": (
        "integration_health.error_rate: expected numeric(5,4), found numeric(6,4)"
    ),
    "ALTER TABLE integration_events ALTER occurred_at DROP NOT NULL": (
        "integration_events.occurred_at: expected timestamp with time zone NOT NULL, found timestamp with time zone"
    ),
    "ALTER TABLE integration_events ALTER id DROP DEFAULT": (
        "integration_events.id: expected uuid NOT NULL DEFAULT gen_random_uuid(), found uuid NOT NULL"
    ),
    "ALTER TABLE integration_events ADD extra INT": "integration_events.extra: expected no such column, found integer",
    "DROP INDEX idx_integration_events_type": (
        "idx_integration_events_type: expected INDEX ON integration_events USING btree (event_type), found missing"
    ),
    "DROP INDEX idx_integration_events_occurred_at; CREATE INDEX idx_integration_events_occurred_at "
    "ON integration_events (occurred_at)": (
        "idx_integration_events_occurred_at: expected INDEX ON integration_events USING btree (occurred_at DESC), "
        "found INDEX ON integration_events USING btree (occurred_at)"
    ),
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_integration_health_integration'::regclass": (
        "idx_integration_health_integration: expected INDEX ON integration_health USING btree (integration_id), "
        "found INDEX ON integration_health USING btree (integration_id) INVALID"
    ),
    "ALTER TABLE integration_health DROP CONSTRAINT integration_health_integration_id_last_checked_key": (
        "integration_health_integration_id_last_checked_key: expected UNIQUE (integration_id, last_checked), found missing"
    ),
    "ALTER TABLE integration_events ADD CHECK (severity <> '')": (
        "integration_events_severity_check: expected no such constraint on integration_events, "
        "found CHECK (((severity)::text <> ''::text))"
    ),
    "ALTER TABLE integration_events SET UNLOGGED": "integration_events: expected table, found table UNLOGGED",
    "ALTER TABLE integration_health ENABLE ROW LEVEL SECURITY": (
        "integration_health: expected table, found table ROW LEVEL SECURITY"
    ),
    "CREATE RULE r AS ON DELETE TO integration_events DO INSTEAD NOTHING": "integration_events: expected no rule, found rule r",
    "DROP TABLE integration_health; CREATE VIEW integration_health AS SELECT 1 AS a": (
        "integration_health: expected table, found view"
    ),
}


@two_versions
def test_each_drift_is_one_line_that_says_what_where_and_what_was_expected(database: Database, pyinfra: Pyinfra) -> None:
    """A database for each drift, all looked at in one run; the one without drift stays green."""
    database.psql(DEPLOYED)
    names = [f"drift_{uuid.uuid4().hex[:12]}" for _ in DRIFTS]
    create = "".join(f"CREATE DATABASE {name} TEMPLATE {database.name};\n" for name in names)
    change = "".join(f"\\connect {name}\n{sql};\n" for name, sql in zip(names, DRIFTS, strict=True))
    database.server.client("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "postgres", stdin=create + change)
    hosts = {f"@postgres/{name}": Database(database.server, name).data for name in [*names, database.name]}
    result = pyinfra(hosts, "-y", "deploy.verify", environment=database.server.environment())
    assert result.code == 1
    for name, (sql, want) in zip(names, DRIFTS.items(), strict=True):
        lines = [line.strip() for line in result.lines(f"@postgres/{name}")]
        assert f"violation: {want}" in lines, (sql, lines)
        assert len([line for line in lines if line.startswith("violation: ")]) == 1, (sql, lines)
    assert any(line.strip().startswith("verified: ") for line in result.lines(f"@postgres/{database.name}"))


def test_a_role_that_may_only_read_can_verify_and_finds_nothing_to_do(database: Database, pyinfra: Pyinfra) -> None:
    """Neither a grant on the tables nor the right to create anything is needed; the ledger must be readable."""
    environment = database.server.environment()
    assert pyinfra({HOST: database.data}, "-y", "deploy.apply", environment=environment).code == 0
    role = f"reader_{uuid.uuid4().hex[:8]}"
    password = PASSWORD.replace("'", "''")
    database.psql(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'; ALTER ROLE {role} SET default_transaction_read_only = on")
    database.psql(f"REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT SELECT ON _sqlx_migrations TO {role}")
    data = {**database.data, "postgres_user": role}
    verified = pyinfra({HOST: data}, "-y", "deploy.verify", environment=environment)
    assert (verified.code, verified.change("Verify")) == (0, "no change"), verified.out
    applied = pyinfra({HOST: data}, "-y", "deploy.apply", environment=environment)
    assert (applied.code, applied.change("Migrate"), applied.change("Verify")) == (0, "no change", "no change"), applied.out


def test_apply_verifies_what_a_ledger_row_cannot_know(database: Database, pyinfra: Pyinfra) -> None:
    environment = database.server.environment()
    assert pyinfra({HOST: database.data}, "-y", "deploy.apply", environment=environment).code == 0
    database.psql("DROP INDEX idx_integration_events_type")
    result = pyinfra({HOST: database.data}, "-y", "deploy.apply", environment=environment)
    assert result.code == 1
    want = "violation: idx_integration_events_type: expected INDEX ON integration_events USING btree (event_type), found missing"
    assert want in result.lines(HOST)


def test_an_empty_database_is_told_once_for_each_table(database: Database, pyinfra: Pyinfra) -> None:
    """What a table would hold is not missing on top of it."""
    result = pyinfra({HOST: database.data}, "-y", "deploy.verify", environment=database.server.environment())
    assert result.code == 1
    assert [line.strip() for line in result.lines(HOST) if line.strip().startswith("violation: ")] == [
        f"violation: _sqlx_migrations: expected applied: {VERSION} create integration health tables, found pending",
        *(f"violation: {table}: expected table, found missing" for table in ("integration_events", "integration_health")),
    ]
