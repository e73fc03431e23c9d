"""Servers in containers, and a network behind bastions. Without a Docker engine the tests are skipped, in CI they fail."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import requirements
from support.bastions import CONFIG, DB, OTHER, PLAIN, Site, docker, write_files
from support.containers import DATABASE, HERE, IMAGES, PASSWORD, USER, Container, Start, unavailable
from support.waiting import until

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image would have to be pulled; fixtures remove what they made
os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")


@pytest.fixture(scope="session")
def engine() -> None:
    if reason := unavailable():
        requirements.missing(reason)


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


@pytest.fixture(scope="session")
def site(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if shutil.which("ssh") is None:
        requirements.missing("OpenSSH's client is not installed")
    folder = tmp_path_factory.mktemp("site")
    write_files(folder)
    made = Site(folder, image=docker("build", "-q", str(HERE)))
    docker("network", "create", "--internal", made.network)
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda names: made.server(*names), [(DB, OTHER), (PLAIN,)]))
        _, made.port = made.bastion()
        (folder / "config").write_text(CONFIG.format(port=made.port, folder=folder))
        yield made
    finally:
        docker("rm", "-f", "-v", *made.containers)
        docker("network", "rm", made.network)


@pytest.fixture
def nothing_is_left(site: Site) -> Iterator[None]:
    """However a run ends: no ssh of it is there afterwards."""
    site.calls()
    yield
    until(lambda: site.processes() == [], 5)
