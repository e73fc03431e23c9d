"""Servers that can't be deployed to: too old, and hosts that are no Postgres at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.operator import Pyinfra, is_deployed, run, said
from support.servers import PASSWORD, Database, Server
from support.versions import programs

ONE, HEALTHY = "@postgres/one", "@postgres/healthy"


@pytest.fixture(scope="module")
def old_server() -> Iterator[Server]:
    server = Server.create(programs("npm12"))
    yield server
    server.remove()


@pytest.mark.everything
def test_a_server_older_than_13_fails_alone(pyinfra: Pyinfra, old_server: Server, neighbour: Database) -> None:
    database = Database(old_server, "postgres")
    before = database.psql("SELECT count(*) FROM pg_class")

    result = run(pyinfra, {ONE: database.data, HEALTHY: neighbour.data})

    assert said(result, ONE) == [
        f"127.0.0.1:{old_server.port}: server version 12 is older than 13, the oldest that is supported; upgrade PostgreSQL"
    ]
    assert result.code == 1
    assert database.psql("SELECT count(*) FROM pg_class") == before
    assert is_deployed(neighbour)


def test_a_host_of_another_connector_is_refused_and_no_sql_reaches_a_shell(pyinfra: Pyinfra, neighbour: Database) -> None:
    hosts: dict[str, dict[str, object]] = {"@local": {}, "plain.invalid": {}, "@docker/none": {}, HEALTHY: neighbour.data}
    for verb in ("deploy.apply", "deploy.verify"):
        result = run(pyinfra, hosts, "-y", "-vvv", verb)

        sentence = f"{verb} runs on @postgres hosts, and @local is none; name it @postgres/NAME in the inventory"
        assert [line for line in said(result, "@local") if not line.startswith("Ready")] == [sentence]
        assert "sh -c" not in result.out.replace("docker run", "")
        assert (result.code, PASSWORD in result.out) == (1, False)
    assert is_deployed(neighbour)
