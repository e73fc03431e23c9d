"""What keeps a role from what a verb does: how a database is made so, and the statements that change it, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.plan import history
from support.project import MIGRATION, VERSION
from support.purge_data import EVENTS, HEALTH
from support.sqlx import LEDGER, row

SCHEMA = 'sch"ema ü'
APP = '"sch""ema ü"'
"""The schema as SQL has it."""

OURS = MIGRATION.read_text(encoding="utf-8")
RECORDED = LEDGER + row(VERSION, checksum=hashlib.sha384(MIGRATION.read_bytes()).hexdigest())


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
OF_ROLE = "ALTER TABLE integration_health OWNER TO {role}; ALTER TABLE integration_events OWNER TO {role};"

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
        MAY_CREATE + history.create("_deploy_history"),
        (f'GRANT INSERT ON TABLE {APP}."_deploy_history" TO {{role}}',),
        {"audit": True},
    ),
    "schemas-of-sqlx-toml": Case(
        MAY_CREATE,
        ("GRANT CREATE ON DATABASE {database} TO {role}",),
        files={"sqlx.toml": "[migrate]\ncreate-schemas = ['\"New one\"']\n", "1_a.sql": "CREATE TABLE a ()"},
    ),
    "no-transaction": Case(
        MAY_CREATE + LEDGER + "GRANT SELECT, INSERT ON _sqlx_migrations TO {role};"
        "CREATE TABLE t (x int); ALTER TABLE t OWNER TO {role}; ALTER TABLE _sqlx_migrations OWNER TO {other}",
        (f'GRANT UPDATE, DELETE ON TABLE {APP}."_sqlx_migrations" TO {{role}}',),
        files={"1_x.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY t_x ON t (x)"},
    ),
}
"""What keeps deploy.apply from running."""

REVERT: dict[str, Case] = {
    "ledger-of-other": Case(
        f"{MAY_USE} {OURS} {OF_ROLE} {RECORDED} GRANT SELECT ON _sqlx_migrations TO {{role}}",
        (f'GRANT DELETE ON TABLE {APP}."_sqlx_migrations" TO {{role}}',),
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
