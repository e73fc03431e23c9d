"""Verification against schemas that went wrong in one way each, on real servers."""

from __future__ import annotations

import pytest
from support.mutations import HARMLESS, schemas, script
from support.operator import Pyinfra, Result
from support.servers import Database
from support.sqlx import DEPLOYED
from support.versions import every_version

pytestmark = pytest.mark.usefixtures("password")


def violations(ran: Result, host: str) -> list[str]:
    return [line.strip() for line in ran.lines(host) if line.strip().startswith("violation: ")]


@every_version
def test_each_of_many_mutations_is_found_once_on_a_line_that_holds_the_host_and_the_object(
    database: Database, pyinfra: Pyinfra
) -> None:
    mutations = schemas(int(database.psql("SHOW server_version_num")) // 10000)
    database.psql(script(DEPLOYED, mutations))

    ran = pyinfra({f"@postgres/{schema}": {**database.data, "schema": schema} for schema in mutations}, "-y", "deploy.verify")

    missed = [
        f"{mutation.sql}: {violations(ran, f'@postgres/{schema}')}"
        for schema, mutation in mutations.items()
        if not any(line.startswith(f"violation: {mutation.object}: expected ") for line in violations(ran, f"@postgres/{schema}"))
        or len(violations(ran, f"@postgres/{schema}")) != mutation.lines
    ]
    assert (ran.code, missed) == (1, [])
    assert len(mutations) > 150


@pytest.mark.parametrize("table", ["integration_health", "integration_events"])
def test_another_schema_first_in_the_search_path_is_found(database: Database, pyinfra: Pyinfra, table: str) -> None:
    database.psql(
        f"""{DEPLOYED}
        CREATE SCHEMA other; CREATE TABLE other.{table} (LIKE {table} INCLUDING ALL);
        ALTER DATABASE "{database.name}" SET search_path = other, public"""
    )
    ran = pyinfra({"@postgres/h": database.data}, "-y", "deploy.verify")
    assert ran.code == 1
    assert violations(ran, "@postgres/h") == [
        f"violation: {table}: expected in public first on the search_path of {who}, found in other before it: other, public"
        for who in (f"database {database.name}", "role postgres")
    ]


@every_version
def test_harmless_neighbours_raise_no_alarm(database: Database, pyinfra: Pyinfra) -> None:
    database.psql(DEPLOYED)
    database.psql(HARMLESS)
    ran = pyinfra({"@postgres/h": {**database.data, "probe_rows": 1000}}, "-y", "deploy.verify")
    lines = ran.lines("@postgres/h")
    assert (ran.code, violations(ran, "@postgres/h")) == (0, [])
    assert any(line.startswith("verified: ") for line in lines)
    assert len([line for line in lines if line.startswith("probed: ")]) == 8


@every_version
def test_with_owner_set_another_owner_and_a_revoked_privilege_are_found(database: Database, pyinfra: Pyinfra) -> None:
    owner, other = f"o_{database.name}", f"x_{database.name}"
    mutations = {
        "untouched": "",
        "owner": f"ALTER TABLE integration_events OWNER TO {other}",
        "inserts": f"REVOKE INSERT ON integration_events FROM {owner}",
        "updates": f"REVOKE UPDATE ON integration_events FROM {owner}",
        "ledger": f"ALTER TABLE _sqlx_migrations OWNER TO {other}",
    }
    hosts = {f"@postgres/{schema}": {**database.data, "schema": schema, "owner": owner} for schema in mutations}
    database.psql(f"CREATE ROLE {owner}; CREATE ROLE {other}")
    try:
        for schema in mutations:
            database.psql(f"CREATE SCHEMA {schema} AUTHORIZATION {owner}")
        assert pyinfra(hosts, "-y", "deploy.apply").code == 0
        for schema, mutation in mutations.items():
            database.psql(f"SET search_path = {schema}; {mutation}")
        ran = pyinfra(hosts, "-y", "deploy.verify")
        got = {schema: violations(ran, f"@postgres/{schema}") for schema in mutations}
        assert f"violation: integration_events: expected owner {owner}, found owner {other}" in got.pop("owner")
        assert got == {
            "untouched": [],
            "inserts": ["violation: integration_events: expected INSERT granted to owner, found INSERT revoked"],
            "updates": ["violation: integration_events: expected UPDATE granted to owner, found UPDATE revoked"],
            "ledger": [f"violation: _sqlx_migrations: expected owner {owner}, found owner {other}"],
        }
    finally:
        database.psql(f"DROP OWNED BY {owner}, {other} CASCADE; DROP ROLE {owner}, {other}")


def test_a_search_path_that_only_passes_by_another_copy_raises_no_alarm(database: Database, pyinfra: Pyinfra) -> None:
    database.psql(
        f"""{DEPLOYED}
        CREATE SCHEMA other; CREATE TABLE other.integration_events (id int);
        ALTER DATABASE "{database.name}" SET search_path = "$user", public, other"""
    )
    assert pyinfra({"@postgres/h": database.data}, "-y", "deploy.verify").code == 0
