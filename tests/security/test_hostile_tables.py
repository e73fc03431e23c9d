"""Tables that belong to somebody who is not trusted: no verb runs what their owner added to them, in the deploying role's name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest
from support import planted
from support.operator import Hosts, Pyinfra, run, said
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
DATA = ("integration_events", "integration_health")
STATES = {
    "ledger": (LEDGER + row(1), ("_sqlx_migrations",)),
    "history": (HISTORY, ("_deploy_history",)),
    "pending": ("", DATA),
    "recorded": (LEDGER + row(VERSION, checksum=hashlib.sha384(MIGRATION.read_bytes()).hexdigest()), DATA),
}
"""What is there besides the tables, and which tables the hostile role owns."""

VERBS = (
    ("fact", "deploy.facts.Status"),
    ("-y", "deploy.verify", "probe_rows=20"),
    ("--dry", "deploy.adopt", "replace_checksum=true"),
    ("-y", "deploy.contract", "out=contract"),
    ("--dry", "deploy.apply"),
    ("-y", "deploy.apply"),
    ("--dry", "deploy.purge", "days=1", "health_retention_days=1"),
    ("-y", "deploy.purge", "days=1", "health_retention_days=1"),
    ("-y", "deploy.adopt", "replace_checksum=true"),
    ("--dry", "deploy.revert"),
    ("-y", "deploy.revert"),
    ("-y", "deploy.revert", "allow_data_loss=true"),
)


SOME = {"ledger": ("nothing", "triggers", "index-expression"), "history": ("default",), "recorded": ("statistics", "triggers")}
"""Enough to see without --everything that tables are judged before they are named."""

MATCHING = ("nothing", "triggers", "rules", "index-expression", "index-predicate", "statistics")
"""What may be there before the first migration, which refuses tables that are defined in another way."""

ALL = {state: MATCHING if state == "pending" else tuple(planted.OBJECTS) for state in STATES}


@contextmanager
def fleet(server: Server, deployer: str, wanted: Mapping[str, Sequence[str]]) -> Iterator[tuple[dict[str, Database], Hosts]]:
    """A database for each of the states and kinds of objects, and the data to connect to it as a role."""
    base = server.database()
    planted.admit(base)
    base.psql("CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere")
    base.psql(f"GRANT USAGE ON FOREIGN SERVER nowhere TO {MALLORY}")
    base.psql(planted.MARKS, user=MALLORY)
    base.psql(f"{OURS} {EVENTS.format(days=3)}; {HEALTH}")
    options = "SUPERUSER" if deployer == "superuser" else ""
    role = str(login(base, f"{deployer}_{base.name}", options=options)["postgres_user"])
    version = int(base.psql("SHOW server_version_num"))
    databases: dict[str, Database] = {}
    for state, kinds in wanted.items():
        sql, tables = STATES[state]
        for kind in kinds:
            if kind == "statistics" and version < 140000:
                continue
            one = databases[f"{state}-{kind}"] = server.database(f"{base.name}_{state}_{kind}", like=base)
            owners = {table: MALLORY if table in tables else role for table in (*DATA, *tables)}
            one.psql(f"{sql} {' '.join(f'ALTER TABLE {table} OWNER TO {owner};' for table, owner in owners.items())}")
            one.psql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
            for table in tables:
                planted.plant(one, kind, table, **COLUMNS[table])
    hosts = {f"@postgres/{name}": {**one.data, "postgres_user": role, "audit": True} for name, one in databases.items()}
    yield databases, hosts
    for one in [*databases.values(), base]:
        one.drop()


def assert_nothing_is_called(server: Server, pyinfra: Pyinfra, deployer: str, wanted: Mapping[str, Sequence[str]]) -> None:
    with fleet(server, deployer, wanted) as (databases, hosts):
        done = {words: run(pyinfra, hosts, *words) for words in VERBS}
        called = sorted({f"{name}: {call}" for name, one in databases.items() for call in planted.called(one)})
    assert called == []
    applied = done["-y", "deploy.apply"]
    assert any(line.startswith("applied ") for line in said(applied, "@postgres/ledger-nothing")), applied.out
    for kind in wanted["ledger"][1:]:
        if f"ledger-{kind}" in databases:
            refused = said(applied, f"@postgres/ledger-{kind}")
            assert any("could run code as" in line or "is not SQLx's ledger" in line for line in refused), refused


@pytest.mark.everything
def test_no_trigger_or_expression_of_a_tables_owner_runs_as_the_deploying_role(server: Server, pyinfra: Pyinfra) -> None:
    assert_nothing_is_called(server, pyinfra, "superuser", SOME)


@every_version
@pytest.mark.everything
@pytest.mark.timeout(1800)
def test_nothing_at_all_that_a_tables_owner_added_runs_as_a_superuser(server: Server, pyinfra: Pyinfra) -> None:
    """By no verb, whether it looks, proves, writes or refuses; by triggers, rules, policies, types, what planning evaluates."""
    assert_nothing_is_called(server, pyinfra, "superuser", ALL)


@pytest.mark.everything
@pytest.mark.timeout(1800)
def test_nothing_at_all_that_a_tables_owner_added_runs_as_a_role_that_may_only_log_in(server: Server, pyinfra: Pyinfra) -> None:
    assert_nothing_is_called(server, pyinfra, "login", ALL)
