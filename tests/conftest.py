"""Fixtures: real servers, one fresh database for a test, and pyinfra's own command line run as an operator would."""

from __future__ import annotations

import fcntl
import os
import pprint
import re
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import versions
from servers import PASSWORD, Database, Server

pytest_plugins = ["aging"]  # fixtures for the purge

IN_CI = os.environ.get("CI") == "true"
ROOT = Path(__file__).parent.parent
VERSION = 20260111030835
MIGRATION = ROOT / "migrations" / "20260111030835_create_integration_health_tables.sql"


@dataclass(frozen=True)
class Result:
    """A finished pyinfra run; `out` is standard output and error together, without colours."""

    code: int
    out: str

    def lines(self, host: str) -> list[str]:
        """The lines that pyinfra printed for a host, without its prefix."""
        prefix = re.compile(rf"^\s*\[{re.escape(host)}\]\s(.*)$")
        return [match[1].rstrip() for line in self.out.splitlines() if (match := prefix.match(line))]

    def change(self, operation: str) -> str | None:
        """success, error or no change, from the results table; None when the operation has no row."""
        for line in self.out.splitlines():
            if re.match(rf"^    {re.escape(operation)}\s", line) and len(cells := line.split()[-4:]) == 4:
                _, success, error, same = cells
                return "success" if success != "-" else "error" if error != "-" else "no change" if same != "-" else None
        return None


Pyinfra = Callable[..., Result]


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture
def pyinfra(tmp_path: Path) -> Pyinfra:
    """Run pyinfra in an empty folder: `pyinfra(hosts, "-y", "deploy.apply")`.

    `hosts` is a mapping of host names to data, which becomes an inventory file, or a string that is the inventory itself.
    Standard input is no terminal; it holds `stdin`.
    """

    def run(
        hosts: Mapping[str, Mapping[str, object]] | str,
        *words: str,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 120,
    ) -> Result:
        if isinstance(hosts, str):
            inventory = hosts
        else:
            path = tmp_path / "inventory.py"
            path.write_text(f"hosts = {pprint.pformat([(name, dict(data)) for name, data in hosts.items()])}\n", encoding="utf-8")
            inventory = str(path)
        done = subprocess.run(
            [str(Path(sys.executable).parent / "pyinfra"), inventory, *words],
            cwd=tmp_path,
            env=dict(environment if environment is not None else os.environ),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=timeout,
        )
        out = without_colours(done.stdout)
        assert "Traceback" not in out, out
        assert not (tmp_path / "pyinfra-debug.log").exists(), out
        return Result(done.returncode, out)

    return run


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The whole suite runs in two processes, for two cores; what is named on the command line in this one."""
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """While a test marked `alone` runs no other does; this wait is outside of the test's timeout."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        return (yield)


def pytest_report_header() -> str:
    return versions.header(fetch=IN_CI)


def programs(label: str) -> Path:
    """The folder of a version's programs. Where it can't be had the test is skipped, in CI it fails."""
    try:
        return versions.programs(label)
    except versions.Missing as missing:
        pytest.fail(str(missing)) if IN_CI else pytest.skip(str(missing))


@pytest.fixture(scope="session")
def _servers() -> Iterator[dict[str, Server]]:
    started: dict[str, Server] = {}
    yield started
    for server in started.values():
        server.stop()
        server.remove()


@pytest.fixture(scope="session", params=["embedded", "debian15"])
def server(request: pytest.FixtureRequest, _servers: dict[str, Server]) -> Server:
    """A server that logs every statement: 18 and 15, unless the test says `one_server` or `every_version`."""
    label = request.param
    if label not in _servers:
        _servers[label] = Server.create(programs(label), log_statement="all")
    return _servers[label]


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """A fresh, empty database on each server."""
    made = server.database()
    yield made
    server.client("psql", "-Xqc", f'DROP DATABASE IF EXISTS "{made.name}" WITH (FORCE)', "postgres")


@pytest.fixture
def neighbour(server: Server) -> Iterator[Database]:
    """A fresh, empty database on the same server, whose deploy nothing on another host may hinder."""
    made = server.database()
    yield made
    server.client("psql", "-Xqc", f'DROP DATABASE IF EXISTS "{made.name}" WITH (FORCE)', "postgres")


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser's password in the environment, as an operator may have it."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
