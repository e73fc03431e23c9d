"""More servers than the process may open files: the rest wait, and every host is done."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest
from support.operator import PYINFRA, Result, inventory_file, run, without_colours
from support.servers import SUPERUSER, Database
from support.sqlx import HOST

pytestmark = pytest.mark.everything

SERVERS = 120


@pytest.mark.parametrize(("soft", "hard"), [(100, 100), (80, 4096)], ids=["the hard limit is low", "the soft limit alone is low"])
def test_a_fleet_of_more_servers_than_open_files_is_verified(
    database: Database, tmp_path: Path, pyinfra: object, soft: int, hard: int
) -> None:
    assert run(pyinfra, {HOST: database.data}).code == 0  # type: ignore[arg-type]
    conninfo = f"hostaddr=127.0.0.1 port={database.server.port} user={SUPERUSER} dbname={database.name}"
    hosts = {f"@postgres/{n}": {"postgres_conninfo": f"{conninfo} host=db-{n}"} for n in range(SERVERS)}
    done = subprocess.run(
        [PYINFRA, str(inventory_file(tmp_path, hosts)), "-y", "deploy.verify"],
        cwd=tmp_path,
        env=database.server.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
    )
    got = Result(done.returncode, without_colours(done.stdout))
    assert got.code == 0, got.out
    assert got.out.count("matches the contract") == SERVERS
