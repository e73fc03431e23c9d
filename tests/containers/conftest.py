"""Each container is a Postgres server of its own: the image built from the Dockerfile beside this file, or official ones.

`POSTGRES_IMAGES=postgres:13,postgres:18` chooses images. Without a Docker engine the tests are skipped, in CI they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import IN_CI

HERE = Path(__file__).parent
OWN_IMAGE = "integration-health-postgres"
PASSWORD = """'"\\ %$:@/ü✓"""
USER = "deployer"
DATABASE = "app"
IMAGES = [image for image in os.environ.get("POSTGRES_IMAGES", "").split(",") if image] or [OWN_IMAGE]

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image would have to be pulled; fixtures remove what they made
os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")


def unavailable() -> str | None:
    """Why no container can be started here."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    asked = subprocess.run(["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, text=True)
    if asked.returncode:
        return "no Docker engine answers; start one, or run .ci/docker pytest tests/containers"
    if IMAGES == [OWN_IMAGE]:
        built = subprocess.run(["docker", "build", "-q", "-t", OWN_IMAGE, str(HERE)], capture_output=True, text=True)
        if built.returncode:
            return f"the image could not be built: {' '.join(built.stderr.split())[-300:]}"
    return None


@pytest.fixture(scope="session")
def engine() -> None:
    if reason := unavailable():
        pytest.fail(reason) if IN_CI else pytest.skip(reason)


@dataclass
class Container:
    """A running server: `name` is the container's, `port` the one on loopback."""

    container: Any
    image: str

    @property
    def name(self) -> str:
        return str(self.container.get_wrapped_container().name)

    @property
    def port(self) -> int:
        return int(self.container.get_exposed_port(5432))

    @property
    def data(self) -> dict[str, object]:
        return {"postgres_host": "127.0.0.1", "postgres_port": self.port, "postgres_user": USER, "postgres_dbname": DATABASE}

    def psql(self, sql: str, dbname: str = DATABASE) -> str:
        """Unaligned rows of `sql`, run by the server's own psql inside the container."""
        done = self._psql(sql, dbname)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def answers(self) -> bool:
        return self._psql("SELECT 1", DATABASE).returncode == 0

    def _psql(self, sql: str, dbname: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "exec", "-i", self.name, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", dbname]
        return subprocess.run(command, input=sql, capture_output=True, text=True)

    def docker(self, verb: str, *arguments: str) -> str:
        done = subprocess.run(["docker", verb, *arguments, self.name], capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def deployed(self) -> bool:
        return self.psql("SELECT to_regclass('integration_events') IS NOT NULL") == "t"


Start = Callable[..., Container]


@pytest.fixture(scope="module", params=IMAGES)
def start(request: pytest.FixtureRequest, engine: None) -> Iterator[Start]:
    """Start a container: `start(scripts=[path])`; settings are arguments of the server. All are removed after the module."""
    from testcontainers.community.postgres import PostgresContainer

    started: list[Any] = []

    def run(
        scripts: list[Path] | None = None, folders: dict[Path, str] | None = None, in_memory: bool = False, **settings: str
    ) -> Container:
        made = PostgresContainer(request.param, username=USER, password=PASSWORD, dbname=DATABASE, driver=None)
        made.with_name(f"integration-health-{uuid.uuid4().hex[:8]}")
        for script in scripts or []:
            made.with_volume_mapping(str(script), f"/docker-entrypoint-initdb.d/{script.name}", "ro")
        for folder, place in (folders or {}).items():
            made.with_volume_mapping(str(folder), place, "ro")
        given = {"fsync": "off", "log_statement": "all", "log_line_prefix": "%m|%a|%d|", **settings}
        if in_memory:
            made.with_tmpfs_mount("/var/lib/postgresql", "size=8g")
        made.with_command(["postgres", *(word for key, value in given.items() for word in ("-c", f"{key}={value}"))])
        started.append(made)
        made.start()
        return Container(made, request.param)

    yield run
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda made: made.stop(), started))


@pytest.fixture(autouse=True)
def no_ambient_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """PG* variables of the developer's shell are not part of a test."""
    for key in [key for key in os.environ if key.startswith("PG")]:
        monkeypatch.delenv(key)
