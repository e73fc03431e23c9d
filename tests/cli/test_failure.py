"""Many hosts in one run: a host fails alone, and a server is never asked for more connections than allowed."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra, is_deployed, run, said
from support.roundtrips import proxy
from support.servers import PASSWORD, Database, Server

DEPLOYED = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public' AND indexname LIKE 'idx_integration_%'"


@pytest.fixture
def fleet(server: Server) -> dict[str, Database]:
    """Ten hosts, each with an empty database of its own, which go with the server."""
    return databases(server, 10)


def databases(server: Server, number: int) -> dict[str, Database]:
    names = [f"fleet_{uuid.uuid4().hex[:12]}" for _ in range(number)]
    server.client("psql", "-Xq", "postgres", stdin="".join(f"CREATE DATABASE {name};\n" for name in names))
    return {f"@postgres/{name}": Database(server, name) for name in names}


def deployed(database: Database) -> bool:
    return database.psql(DEPLOYED) == "5"


@pytest.mark.parametrize("words", [["-y"], []], ids=["yes", "approved"])
def test_ten_hosts_with_one_that_refuses_end_with_nine_deployed_and_one_red_line(
    fleet: dict[str, Database], pyinfra: Pyinfra, words: list[str]
) -> None:
    bad, *good = fleet
    fleet[bad].psql(
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL "
        "DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL); "
        "INSERT INTO _sqlx_migrations VALUES (7, 'half done', now(), FALSE, '', 0)"
    )
    before = fleet[bad].dump()
    data = {name: database.data for name, database in fleet.items()}
    result = pyinfra(data, *words, "deploy.apply", environment=fleet[bad].server.environment(), stdin="\n")
    assert result.code == 1
    assert [name for name in good if not deployed(fleet[name])] == []
    sentence = "migration 7 is partially applied; fix and remove row from `_sqlx_migrations` table"
    assert [line for line in result.lines(bad) if line.startswith(sentence)], result.out
    assert sum(sentence in line for host in data for line in result.lines(host)) == 1
    assert fleet[bad].dump() == before


def test_ten_hosts_with_one_that_cannot_be_reached_end_with_nine_deployed_and_one_red_line(
    fleet: dict[str, Database], pyinfra: Pyinfra
) -> None:
    bad, *good = fleet
    data = {name: database.data for name, database in fleet.items()}
    data[bad] = {**data[bad], "postgres_dbname": "nowhere"}
    result = pyinfra(data, "-y", "deploy.apply", environment=fleet[bad].server.environment())
    assert result.code == 1
    assert [name for name in good if not deployed(fleet[name])] == []
    assert len([line for line in result.lines(bad) if 'database "nowhere" does not exist' in line]) == 1, result.out
    assert not deployed(fleet[bad])


def test_a_host_of_another_connector_is_refused_and_no_sql_reaches_a_shell(pyinfra: Pyinfra, neighbour: Database) -> None:
    hosts: dict[str, dict[str, object]] = {
        "@local": {},
        "plain.invalid": {},
        "@docker/none": {},
        "@postgres/healthy": neighbour.data,
    }
    for verb in ("deploy.apply", "deploy.verify"):
        result = run(pyinfra, hosts, "-y", "-vvv", verb)

        sentence = f"{verb} needs a @postgres host, and @local is not one; name it @postgres/NAME in the inventory"
        assert [line for line in said(result, "@local") if not line.startswith("Ready")] == [sentence]
        assert "sh -c" not in result.out.replace("docker run", "")
        assert (result.code, PASSWORD in result.out) == (1, False)
    assert is_deployed(neighbour)


def test_thirty_databases_of_one_server_share_three_connections(server: Server, pyinfra: Pyinfra) -> None:
    """Counted in front of the server; each host is deployed, and looked at again, whoever holds the connections."""
    with proxy(server.port) as between:
        shared = {"postgres_port": between.port, "max_connections_per_server": 3}
        hosts = {name: {**database.data, **shared} for name, database in databases(server, 30).items()}
        patient = server.environment(PGCONNECT_TIMEOUT="60")  # all ask at once, and the machine may be busy
        result = pyinfra(hosts, "-y", "deploy.apply", environment=patient, timeout=240)
    assert (result.code, result.change("Migrate"), result.change("Verify")) == (0, "success", "no change"), result.out
    assert result.out.count("verified: fleet_") == 30
    assert between.most_open == 3


def test_hosts_that_take_turns_with_one_connection_are_not_taken_for_a_pooler(
    server: Server, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    """Whoever waits for the connection gets it, so a session may be another one than that of the plan."""
    many = databases(server, 4)
    for one in many.values():
        one.psql("CREATE TABLE t (x int)")
    source = write(tmp_path / "migrations", {"1_x.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY t_x ON t (x)"})
    data = {"migrations": str(source), "max_connections_per_server": 1}
    hosts = {host: {**one.data, **data} for host, one in many.items()}
    got = pyinfra(hosts, "-y", "deploy.apply", environment=server.environment())
    assert got.code == 0, got.out
    assert [one.psql("SELECT to_regclass('t_x')") for one in many.values()] == ["t_x"] * 4
