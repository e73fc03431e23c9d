"""Tables that belong to somebody who is not trusted: no verb runs what their owner added to them, in the deploying role's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support import planted
from support.operator import Hosts, Pyinfra, run
from support.planted import MALLORY
from support.project import MIGRATION, VERSION
from support.purge_data import EVENTS, HEALTH
from support.servers import Database, Server, login
from support.sqlx import LEDGER, row
from support.versions import every_version

OURS = MIGRATION.read_text(encoding="utf-8")
COLUMNS = {
    "integration_events": {"column": "occurred_at", "type": "timestamptz", "dated": "created_at"},
    "integration_health": {"column": "last_checked", "type": "timestamptz", "dated": "created_at"},
    "_sqlx_migrations": {"column": "description", "type": "text", "dated": "installed_on"},
    "_deploy_history": {"column": "action", "type": "text", "dated": "recorded_at"},
}
HISTORY = """CREATE TABLE _deploy_history (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, version bigint NOT NULL,
    action text NOT NULL, template_sha256 text, checksum bytea, variables jsonb NOT NULL, tool_version text NOT NULL,
    database_role text NOT NULL DEFAULT session_user, client_user text NOT NULL, client_host text NOT NULL,
    client_address inet DEFAULT inet_client_addr(), recorded_at timestamptz NOT NULL DEFAULT clock_timestamp());"""
STATES = {
    "ledger": (LEDGER + row(1), ("_sqlx_migrations",)),
    "history": (HISTORY, ("_deploy_history",)),
    "pending": ("", ("integration_events", "integration_health")),
    "recorded": (LEDGER + row(VERSION), ("integration_events", "integration_health")),
}
"""What is there besides the tables, and which tables the hostile role owns."""

VERBS = (
    ("fact", "deploy.facts.Status"),
    ("-y", "deploy.verify", "probe_rows=20"),
    ("--dry", "deploy.adopt", "replace_checksum=true"),
    ("--dry", "deploy.apply"),
    ("-y", "deploy.apply"),
    ("--dry", "deploy.purge", "days=1", "health_retention_days=1"),
    ("-y", "deploy.purge", "days=1", "health_retention_days=1"),
    ("-y", "deploy.adopt", "replace_checksum=true"),
    ("--dry", "deploy.revert"),
    ("-y", "deploy.revert"),
    ("-y", "deploy.revert", "allow_data_loss=true"),
)


@contextmanager
def fleet(server: Server, deployer: str) -> Iterator[tuple[dict[str, Database], Hosts]]:
    """A database for each state and each kind of object, and the data to connect to it as a role."""
    base = server.database()
    planted.admit(base)
    base.psql("CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere")
    base.psql(f"GRANT USAGE ON FOREIGN SERVER nowhere TO {MALLORY}")
    base.psql(planted.MARKS, user=MALLORY)
    base.psql(f"{OURS} {EVENTS.format(days=3)}; {HEALTH}")
    version = int(base.psql("SHOW server_version_num"))
    databases: dict[str, Database] = {}
    for state, (sql, tables) in STATES.items():
        for kind in planted.OBJECTS:
            if kind == "statistics" and version < 140000:
                continue
            one = databases[f"{state}-{kind}"] = server.database(f"{base.name}_{state}_{kind}", like=base)
            one.psql(f"{sql} {' '.join(f'ALTER TABLE {table} OWNER TO {MALLORY};' for table in tables)}")
            one.psql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {deployer}")
            for table in tables:
                planted.plant(one, kind, table, **COLUMNS[table])
    hosts = {f"@postgres/{name}": {**one.data, "postgres_user": deployer, "audit": True} for name, one in databases.items()}
    yield databases, hosts
    for one in [*databases.values(), base]:
        one.drop()


@every_version
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("deployer", ["superuser", "login"])
def test_nothing_that_a_tables_owner_added_runs_as_the_deploying_role(server: Server, pyinfra: Pyinfra, deployer: str) -> None:
    """By no verb, whether it looks, proves, writes or refuses; by triggers, rules, policies, types, what planning evaluates."""
    role = f"deployer_{deployer}"
    one = server.database()
    one.psql(f"DROP ROLE IF EXISTS {role}")
    login(one, role, options="SUPERUSER" if deployer == "superuser" else "")
    one.drop()
    with fleet(server, role) as (databases, hosts):
        for words in VERBS:
            run(pyinfra, hosts, *words)
        called = sorted({f"{name}: {call}" for name, one in databases.items() for call in planted.called(one)})
    print("\n".join(called))
    assert called == []
