"""A server that is too old to be deployed to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.operator import Pyinfra, is_deployed, run, said
from support.servers import Database, Server
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
