"""Fixtures: real servers, one fresh database for a test. Hooks: which tests run, in how many processes, and who runs alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("support")

from support import versions
from support.requirements import IN_CI
from support.servers import PASSWORD, Database, Server

pytest_plugins = ["support.operator", "support.purge_data", "support.tls"]

SERVERS = {"server", "secure", "engine"}
"""Fixtures that start a server or a container. A test that starts one in another way says so with the marker `server`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--everything",
        action="store_true",
        help="also what needs more than PostgreSQL from PyPI, or minutes: other versions, TLS, containers, runbooks, races, scale",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("server")
    if not config.getoption("--everything"):
        left_out = [item for item in items if item.get_closest_marker("everything")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The whole suite runs in two processes, for two cores; what is named on the command line in this one."""
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """While a test marked `alone` runs no other does; this wait is outside of the test's timeout."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        return (yield)


def pytest_report_header(config: pytest.Config) -> str:
    everything = config.getoption("--everything")
    labels = [label for label in versions.MAJORS if everything or label in versions.WITHOUT_OPTION]
    return versions.header(labels, fetch=IN_CI)


@pytest.fixture(autouse=True)
def no_pg_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq's variables of whoever runs the tests are no part of a test."""
    for key in [key for key in os.environ if key.startswith("PG")]:
        monkeypatch.delenv(key)


@pytest.fixture(scope="session")
def _servers() -> Iterator[dict[str, Server]]:
    started: dict[str, Server] = {}
    yield started
    for server in started.values():
        server.remove()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, _servers: dict[str, Server]) -> Server:
    """A server that logs every statement: PostgreSQL 18, unless the test says `every_version`."""
    label = getattr(request, "param", "embedded")
    if label not in _servers:
        _servers[label] = Server.create(versions.programs(label), log_statement="all")
    return _servers[label]


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """A fresh, empty database."""
    made = server.database()
    yield made
    made.drop()


@pytest.fixture
def neighbour(server: Server) -> Iterator[Database]:
    """A fresh, empty database on the same server, whose deploy nothing on another host may hinder."""
    made = server.database()
    yield made
    made.drop()


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch, no_pg_variables: None) -> None:
    """The superuser's password in the environment, as an operator may have it."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
