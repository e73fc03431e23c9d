"""What keeps a role from what a verb does: how a database is made so, and the statements that change it, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy import audit
from support.project import MIGRATION, VERSION
from support.purge_data import EVENTS, HEALTH
from support.sqlx import LEDGER, row

SCHEMA = 'sch"ema ü'
APP = '"sch""ema ü"'
"""The schema as SQL has it."""

OURS = MIGRATION.read_text(encoding="utf-8")
RECORDED = LEDGER + row(VERSION, checksum=hashlib.sha384(MIGRATION.read_bytes()).hexdigest())
INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_x'::regclass"


@dataclass(frozen=True)
class Case:
    """`setup` runs in the schema; `{role}`, `{other}` and `{database}` are quoted names, as in `wants` and `data`.

    `files` are a source of its own. `since` is the first version of PostgreSQL that can be set up so.
    """

    setup: str
    wants: tuple[str, ...]
    data: Mapping[str, object] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    options: str = ""
    since: int = 13


MAY_CREATE = f"GRANT USAGE, CREATE ON SCHEMA {APP} TO {{role}};"
MAY_USE = f"GRANT USAGE ON SCHEMA {APP} TO {{role}};"
OF_OTHER = "ALTER TABLE integration_health OWNER TO {other}; ALTER TABLE integration_events OWNER TO {other};"

APPLY: dict[str, Case] = {
    "nothing": Case(
        "ALTER ROLE {role} NOLOGIN; REVOKE CONNECT ON DATABASE {database} FROM {role}",
        (
            "ALTER ROLE {role} LOGIN",
            "GRANT CONNECT ON DATABASE {database} TO {role}",
            f"GRANT USAGE ON SCHEMA {APP} TO {{role}}",
            f"GRANT CREATE ON SCHEMA {APP} TO {{role}}",
        ),
    ),
    "schema-owner": Case(f"ALTER SCHEMA {APP} OWNER TO {{role}}", ()),
    "public": Case("GRANT USAGE ON SCHEMA public TO PUBLIC", ('GRANT CREATE ON SCHEMA "public" TO {role}',), {"schema": "public"}),
    "owner": Case(
        "DROP ROLE {other}",
        (
            "CREATE ROLE {other}",
            f"GRANT USAGE ON SCHEMA {APP} TO {{other}}",
            "GRANT {other} TO {role}",
            f"GRANT CREATE ON SCHEMA {APP} TO {{other}}",
        ),
        {"owner": "{other}"},
        options="NOINHERIT",
    ),
    "member-that-may-not-act": Case(
        f"ALTER SCHEMA {APP} OWNER TO {{other}}; GRANT {{other}} TO {{role}} WITH SET FALSE",
        ("GRANT {other} TO {role} WITH SET TRUE",),
        {"owner": "{other}"},
        since=16,
    ),
    "ledger-of-other": Case(
        MAY_CREATE + LEDGER + "ALTER TABLE _sqlx_migrations OWNER TO {other}",
        tuple(f'GRANT {right} ON TABLE {APP}."_sqlx_migrations" TO {{role}}' for right in ("SELECT", "INSERT")),
    ),
    "ledger-with-hidden-rows": Case(
        f"{MAY_CREATE} {OURS} {RECORDED} GRANT ALL ON _sqlx_migrations TO {{role}};"
        "ALTER TABLE _sqlx_migrations ENABLE ROW LEVEL SECURITY",
        (f'ALTER TABLE {APP}."_sqlx_migrations" DISABLE ROW LEVEL SECURITY',),
    ),
    "ledger-in-a-schema-of-its-own": Case(
        f"CREATE SCHEMA own; SET search_path = own; {LEDGER} GRANT ALL ON _sqlx_migrations TO {{role}}; {MAY_CREATE}",
        ('GRANT USAGE ON SCHEMA "own" TO {role}',),
        files={"sqlx.toml": '[migrate]\ntable-name = "own._sqlx_migrations"\n', "1_a.sql": "CREATE TABLE a ()"},
    ),
    "audit-trail-of-other": Case(
        MAY_CREATE + audit.create("_deploy_history"),
        (f'GRANT INSERT ON TABLE {APP}."_deploy_history" TO {{role}}',),
        {"audit": True},
    ),
    "tables-of-a-superuser": Case(
        f"{MAY_CREATE} {OURS} DROP INDEX idx_integration_events_type",
        tuple(f"ALTER TABLE {APP}.{table} OWNER TO {{role}}" for table in ("integration_health", "integration_events")),
    ),
    "tables-of-other": Case(f"{MAY_CREATE} {OURS} {OF_OTHER} DROP INDEX idx_integration_events_type", ("GRANT {other} TO {role}",)),
    "tables-of-other-that-is-not-inherited": Case(
        f"{MAY_CREATE} {OURS} {OF_OTHER} DROP INDEX idx_integration_events_type",
        ("GRANT {other} TO {role} WITH INHERIT TRUE",),
        options="NOINHERIT",
        since=16,
    ),
    "schemas-of-sqlx-toml": Case(
        MAY_CREATE,
        ("GRANT CREATE ON DATABASE {database} TO {role}",),
        files={"sqlx.toml": "[migrate]\ncreate-schemas = ['\"New one\"']\n", "1_a.sql": "CREATE TABLE a ()"},
    ),
    "no-transaction": Case(
        MAY_USE + LEDGER + "GRANT SELECT, INSERT ON _sqlx_migrations TO {role};"
        "CREATE TABLE t (x int); ALTER TABLE t OWNER TO {other}; ALTER TABLE _sqlx_migrations OWNER TO {other};"
        f"GRANT CREATE ON SCHEMA {APP} TO {{other}}",
        (f'GRANT UPDATE, DELETE ON TABLE {APP}."_sqlx_migrations" TO {{role}}', "GRANT {other} TO {role}"),
        files={"1_x.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY t_x ON t (x)"},
    ),
    "invalid-index": Case(
        f"{MAY_CREATE} {LEDGER} GRANT ALL ON _sqlx_migrations TO {{role}}; CREATE TABLE t (x int); CREATE INDEX t_x ON t (x);"
        "ALTER TABLE t OWNER TO {other};" + INVALID,
        ("GRANT {other} TO {role}",),
        {"repair_invalid_indexes": True},
        {"1_x.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS t_x ON t (x)"},
    ),
    "language": Case(
        f"ALTER SCHEMA {APP} OWNER TO {{role}}; REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
        ("GRANT USAGE ON LANGUAGE plpgsql TO {role}",),
    ),
}
"""What keeps deploy.apply from running."""

FILES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "routine": (
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION f FROM PUBLIC",
        "SELECT f(1)",
        (f"GRANT EXECUTE ON ROUTINE {APP}.f(integer) TO {{role}}",),
    ),
    "sequence": ("CREATE SEQUENCE q", "SELECT nextval('q')", (f"GRANT USAGE ON SEQUENCE {APP}.q TO {{role}}",)),
    "table": (
        'CREATE TABLE "t T" (x int PRIMARY KEY)',
        'CREATE TABLE c (x int REFERENCES "t T")',
        (f'GRANT REFERENCES ON TABLE {APP}."t T" TO {{role}}',),
    ),
    "view": (
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE c AS SELECT * FROM v",
        (f"GRANT SELECT ON TABLE {APP}.v TO {{role}}",),
    ),
    "schema": (
        'CREATE SCHEMA "o""ther"',
        'CREATE TABLE "o""ther".t ()',
        ('GRANT USAGE ON SCHEMA "o""ther" TO {role}', 'GRANT CREATE ON SCHEMA "o""ther" TO {role}'),
    ),
    "database": ("", "CREATE SCHEMA extra", ("GRANT CREATE ON DATABASE {database} TO {role}",)),
    "temporary": ("", "CREATE TEMPORARY TABLE x ()", ("GRANT TEMPORARY ON DATABASE {database} TO {role}",)),
    "function-of-other": (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "COMMENT ON FUNCTION f() IS 'one'",
        (f"ALTER ROUTINE {APP}.f() OWNER TO {{role}}",),
    ),
    "schema-of-other": (
        "CREATE SCHEMA theirs; ALTER SCHEMA theirs OWNER TO {other}",
        "COMMENT ON SCHEMA theirs IS 'one'",
        ("GRANT {other} TO {role}",),
    ),
    "role": ("GRANT USAGE ON SCHEMA public TO {other}", "SET LOCAL ROLE {other}", ("GRANT {other} TO {role}",)),
}
"""What a file may not do: setup, the file, the statements."""

REVERT: dict[str, Case] = {
    "of-other": Case(
        f"{MAY_USE} {OURS} {OF_OTHER} {RECORDED} GRANT SELECT ON _sqlx_migrations TO {{role}}",
        (f'GRANT DELETE ON TABLE {APP}."_sqlx_migrations" TO {{role}}', "GRANT {other} TO {role}"),
    ),
    "schema-owner-that-may-not-see-whether-a-table-is-empty": Case(
        f"{OURS} {RECORDED} ALTER SCHEMA {APP} OWNER TO {{role}}; GRANT SELECT, DELETE ON _sqlx_migrations TO {{role}}",
        tuple(f"GRANT SELECT, UPDATE ON TABLE {APP}.{table} TO {{role}}" for table in ("integration_events", "integration_health")),
    ),
}

ADOPT: dict[str, Case] = {
    "into-a-ledger": Case(
        MAY_USE + OURS + LEDGER,
        tuple(f'GRANT {right} ON TABLE {APP}."_sqlx_migrations" TO {{role}}' for right in ("SELECT", "INSERT")),
    ),
    "without-a-ledger": Case(MAY_USE + OURS, (f"GRANT CREATE ON SCHEMA {APP} TO {{role}}",)),
    "another-checksum": Case(
        MAY_USE + OURS + LEDGER + row(VERSION) + "GRANT SELECT ON _sqlx_migrations TO {role}",
        (f'GRANT UPDATE ON TABLE {APP}."_sqlx_migrations" TO {{role}}',),
    ),
}

PURGE: dict[str, Case] = {
    "nothing": Case(
        f"{OURS} {EVENTS.format(days=100)}",
        (
            f"GRANT USAGE ON SCHEMA {APP} TO {{role}}",
            f'GRANT SELECT, UPDATE, DELETE ON TABLE {APP}."integration_events" TO {{role}}',
            f'GRANT SELECT ON TABLE {APP}."integration_health" TO {{role}}',
        ),
    ),
    "hidden-rows-and-health": Case(
        f"{MAY_USE} {OURS} {EVENTS.format(days=100)}; {HEALTH}; ALTER TABLE integration_events ENABLE ROW LEVEL SECURITY;"
        "GRANT SELECT, UPDATE, DELETE ON integration_events TO {role}; GRANT SELECT ON integration_health TO {role}",
        (
            f'ALTER TABLE {APP}."integration_events" DISABLE ROW LEVEL SECURITY',
            f'GRANT UPDATE, DELETE ON TABLE {APP}."integration_health" TO {{role}}',
        ),
        {"health_retention_days": 90},
    ),
    "owner-of-another-team": Case(
        f"{MAY_USE} {OURS} {EVENTS.format(days=100)}; GRANT SELECT, UPDATE, DELETE ON integration_events TO {{role}};"
        "GRANT SELECT ON integration_health TO {role}",
        (),
        {"owner": "{other}"},
    ),
}
