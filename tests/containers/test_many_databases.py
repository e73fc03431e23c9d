"""500 databases on one server that takes 50 connections."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psycopg
import pytest
from support import measure
from support.containers import DATABASE, PASSWORD, USER, Container, Start

pytestmark = pytest.mark.everything

COUNT = 500


def service_of(server: Container, folder: Path) -> dict[str, str]:
    """The environment in which the server is the service `app`."""
    services = folder / "services.conf"
    services.write_text(f"[app]\nhost=127.0.0.1\nport={server.port}\nuser={USER}\ndbname={DATABASE}\n")
    return {**os.environ, "PGSERVICEFILE": str(services), "PGPASSWORD": PASSWORD}


def row(out: str, operation: str) -> list[str]:
    """Hosts, success, error and no change of an operation."""
    return next(line.split()[1:] for line in out.splitlines() if line.startswith(f"    {operation} "))


@pytest.mark.timeout(900)
def test_five_hundred_databases_are_deployed_with_fifty_connections(start: Start, tmp_path: Path) -> None:
    server = start(
        in_memory=True, max_connections="50", autovacuum="off", log_statement="none"
    )  # hundreds of databases are 150,000 files
    started = time.perf_counter()
    server.psql("".join(f"CREATE DATABASE tenant_{number};\n" for number in range(COUNT)))
    print(f"{COUNT} databases created in {time.perf_counter() - started:.0f} s")

    got = measure.pyinfra(
        "@pgdatabases/app/tenant_*", "-y", "deploy.apply", environment=service_of(server, tmp_path), folder=tmp_path
    )
    print(f"{COUNT} databases: {got.seconds:.0f} s, {got.cpu:.0f} s of CPU, {got.megabytes:.0f} MiB")

    assert got.code == 0, got.out[-3000:]
    assert row(got.out, "Migrate") == [str(COUNT), str(COUNT), "-", "-"]
    assert row(got.out, "Verify") == [str(COUNT), "-", "-", str(COUNT)]
    log = server.docker("logs")
    assert "too many clients" not in log and "connection slots are reserved" not in log
    assert got.megabytes < 400
    assert server.psql("SELECT count(*) FROM integration_health", "tenant_499") == "0"


def test_our_own_idle_connections_don_t_keep_a_full_server_full(start: Start, tmp_path: Path) -> None:
    """Eight of 20 databases could be open at once, and the server has fewer connections left than that."""
    server = start(max_connections="10")
    server.psql("".join(f"CREATE DATABASE tenant_{number};\n" for number in range(20)))
    login = {"host": "127.0.0.1", "port": server.port, "user": USER, "password": PASSWORD, "dbname": DATABASE}
    others = [psycopg.connect(**login) for _ in range(6)]  # type: ignore[arg-type]
    try:
        got = measure.pyinfra(
            "@pgdatabases/app/tenant_*", "-y", "deploy.apply", environment=service_of(server, tmp_path), folder=tmp_path
        )
    finally:
        for other in others:
            other.close()

    assert got.code == 0, got.out[-3000:]
    assert row(got.out, "Migrate") == ["20", "20", "-", "-"]
    log = server.docker("logs")
    assert "too many clients" in log or "connection slots are reserved" in log
