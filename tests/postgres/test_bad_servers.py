"""Servers that can't be deployed to: too old, a standby, and hosts that are no Postgres at all."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad import is_deployed, one_server, run, said
from conftest import Pyinfra, programs
from servers import PASSWORD, SUPERUSER, Database, Server, free_port, unprivileged

ONE, HEALTHY = "@postgres/one", "@postgres/healthy"


@pytest.fixture(scope="module")
def old_server() -> Iterator[Server]:
    server = Server.create(programs("npm12"))
    yield server
    server.stop()
    server.remove()


@one_server
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


@pytest.fixture(scope="module", params=["embedded", "debian15"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Server, Server]]:
    """A primary and a streaming standby of it."""
    primary = Server.create(programs(request.param))
    primary.folder.chmod(0o755)
    with (primary.folder / "data" / "pg_hba.conf").open("a", encoding="utf-8") as file:
        file.write("host replication all 127.0.0.1/32 scram-sha-256\n")
    primary.client("psql", "-Xqc", "SELECT pg_reload_conf()", "postgres")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    if unprivileged():
        shutil.chown(folder, unprivileged())
    standby = Server(bin=primary.bin, folder=folder, port=free_port())
    backup = ["-D", str(folder / "data"), "-R", "-c", "fast", "-h", "127.0.0.1", "-p", str(primary.port), "-U", SUPERUSER]
    subprocess.run(
        [str(primary.bin / "pg_basebackup"), *backup],
        check=True,
        capture_output=True,
        env=primary.environment(),
        user=unprivileged(),
        cwd="/",
    )
    standby.configure(port=str(standby.port), unix_socket_directories=str(folder))
    standby.start()
    yield primary, standby
    for server in (standby, primary):
        server.stop()
        server.remove()


def replayed(primary: Server, standby: Server) -> None:
    """Wait until the standby has what the primary wrote."""
    here = primary.client("psql", "-XAtc", "SELECT pg_current_wal_lsn()", "postgres").strip()
    ask = f"DO $$ BEGIN WHILE pg_last_wal_replay_lsn() < '{here}' LOOP PERFORM pg_sleep(0.05); END LOOP; END $$"
    standby.client("psql", "-Xqc", ask, "postgres")


def test_a_standby_is_verified_only(pyinfra: Pyinfra, pair: tuple[Server, Server]) -> None:
    """With the schema there it is as wanted; without it each table is a violation. Its primary is deployed all the same."""
    primary, standby = pair
    database = primary.database("app")
    copy = Database(standby, "app")
    replayed(primary, standby)

    early = run(pyinfra, {ONE: copy.data})
    assert said(early, ONE)[:1] == ["standby: verified only"]
    assert said(early, ONE)[1:] == [
        f"violation: {table}: expected table, found missing" for table in ("integration_events", "integration_health")
    ]
    assert early.code == 1
    assert "integration_health" not in database.dump()

    assert run(pyinfra, {HEALTHY: database.data}).code == 0
    replayed(primary, standby)
    for words in (["-y", "deploy.apply"], ["--dry", "deploy.apply"]):
        result = run(pyinfra, {ONE: copy.data, HEALTHY: database.data}, *words)
        version = primary.client("psql", "-XAtc", "SHOW server_version", "postgres").strip()
        want = ["standby: verified only", f"verified: app on PostgreSQL {version} is as the contract says"]
        assert said(result, ONE) == want
        assert result.code == 0, result.out
    assert is_deployed(database)


@one_server
def test_a_host_of_another_connector_is_refused_and_no_sql_reaches_a_shell(pyinfra: Pyinfra, neighbour: Database) -> None:
    hosts: dict[str, dict[str, object]] = {"@local": {}, "plain.invalid": {}, "@docker/none": {}, HEALTHY: neighbour.data}
    for verb in ("deploy.apply", "deploy.verify"):
        result = run(pyinfra, hosts, "-y", "-vvv", verb)

        sentence = f"{verb} runs on @postgres hosts, and @local is none; name it @postgres/NAME in the inventory"
        assert [line for line in said(result, "@local") if not line.startswith("Ready")] == [sentence]
        assert "sh -c" not in result.out.replace("docker run", "")
        assert (result.code, PASSWORD in result.out) == (1, False)
    assert is_deployed(neighbour)
