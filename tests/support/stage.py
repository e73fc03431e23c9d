"""What an operator has when a runbook is opened: servers with a database each, a service file, a password file, a home.

A region `eu-1` is a server of its own, which answers to the name `eu-1.db.example.com`; its database is `health`, which belongs
to the role `deployer`. `service=integration-health-eu-1` connects as that role, `service=admin-eu-1` as the superuser.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.files import password_file
from support.operator import PYINFRA, inventory_file
from support.project import MIGRATION, ROOT
from support.servers import PASSWORD, SUPERUSER, Server, unprivileged, without_pg_variables
from support.transcript import Block
from support.versions import programs

SERVICES = "~/.pg_service.conf"

Servers = dict[tuple[str, str], Server]
"""The servers that run, by region and label of their binaries."""


@dataclass(frozen=True)
class Given:
    """The regions of a page: those whose database is empty, and those where `deploy.apply` was run.

    `sql` is run in a region's database after that, by the role `deployer`. `labels` names the binaries of a region (keys of
    `versions.MAJORS`) that is not on the embedded PostgreSQL 18.
    """

    empty: tuple[str, ...] = ()
    deployed: tuple[str, ...] = ()
    sql: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def regions(self) -> tuple[str, ...]:
        return *self.deployed, *self.empty


FOLDER = ROOT / "runbooks"

EVENTS = """INSERT INTO integration_events (integration_id, event_type, severity, occurred_at)
SELECT 'airbnb', 'booking_loss', 'low', now() - make_interval(days => day, mins => 1) FROM generate_series(1, 300) AS day;"""
"""One a day: 211 are older than 90 days."""

BY_HAND = MIGRATION.read_text(encoding="utf-8")

ALMOST = (
    BY_HAND
    + """ALTER TABLE integration_events ALTER severity DROP NOT NULL;
DROP INDEX idx_integration_events_type;
INSERT INTO integration_events (integration_id, event_type, occurred_at) VALUES ('airbnb', 'booking_loss', now());"""
)

PAGES = {
    "first-deploy": Given(empty=("eu-1", "us-1")),
    "add-a-host": Given(deployed=("eu-1",), empty=("us-1",)),
    "dry-run-and-approval": Given(empty=("eu-1",)),
    "canary-and-rollout": Given(empty=("eu-1", "us-1")),
    "a-host-failed": Given(empty=("eu-1", "us-1")),
    "drift-found": Given(deployed=("eu-1", "us-1")),
    "revert": Given(deployed=("eu-1", "us-1"), sql={"eu-1": EVENTS}),
    "adopt-a-hand-made-schema": Given(empty=("eu-1", "us-1"), sql={"eu-1": BY_HAND, "us-1": ALMOST}),
    "retention": Given(deployed=("eu-1",), sql={"eu-1": EVENTS}),
    "rotate-credentials": Given(deployed=("eu-1", "us-1")),
    "restore-from-backup": Given(deployed=("eu-1",), sql={"eu-1": EVENTS}),
    "upgrade-postgresql": Given(deployed=("eu-1",), sql={"eu-1": EVENTS}, labels={"eu-1": "pypi16"}),
}
"""What there is when a page is opened."""


def read(page: str) -> str:
    return (FOLDER / f"{page}.md").read_text(encoding="utf-8")


class Stage:
    """`folder` is the operator's home and working directory; shown as /home/operator."""

    def __init__(self, given: Given, page: str, folder: Path, servers: Servers) -> None:
        self.folder = folder
        self._servers = {region: _server(servers, region, given.labels.get(region, "embedded")) for region in given.regions}
        first = next(iter(self._servers.values()))
        self.environment = {
            **without_pg_variables(),
            "HOME": str(folder),
            "PATH": f"{first.bin}:{os.environ['PATH']}",
            "PGSERVICEFILE": str(folder / ".pg_service.conf"),
            "PGPASSFILE": str(folder / ".pgpass"),
        }
        self._write_passwords()
        for region, server in self._servers.items():
            _reset(server)
            for section, user in ((f"admin-{region}", SUPERUSER), (f"integration-health-{region}", "deployer")):
                if f"[{section}]" not in page:
                    self._add_service(f"[{section}]\nhost={region}.db.example.com\nport=5432\ndbname=health\nuser={user}\n")
        if given.deployed:
            self._deploy(given.deployed)
        for region, sql in given.sql.items():
            psql = ["psql", "-Xq", "-v", "ON_ERROR_STOP=1", f"service=integration-health-{region}"]
            subprocess.run(psql, input=sql, env=self.environment, check=True, text=True)
        self._places = _places(first)

    def here(self, command: str) -> str:
        """A command where the folders and the user of a packaged server are those of the first region's server."""
        for shown, place in self._places.items():
            command = command.replace(shown, place)
        return command

    def write(self, block: Block) -> None:
        """Make the file that a block shows; its first line is a comment with the file's name. The service file grows."""
        line, _, text = block.text.partition("\n")
        match = re.match(r"(?:#|--) (\S+)", line)
        assert match is not None, f"the first line of a file names it: {line}"
        if match[1] == SERVICES:
            self._add_service(text)
            return
        path = self.folder / match[1].removeprefix("~").lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def _add_service(self, text: str) -> None:
        """Add sections; the names of hosts become the addresses that they have here."""
        for region, server in self._servers.items():
            text = text.replace(f"host={region}.db.example.com\nport=5432\n", f"host=127.0.0.1\nport={server.port}\n")
        assert "example.com" not in text, f"only hosts of the page's regions have an address here:\n{text}"
        with (self.folder / ".pg_service.conf").open("a", encoding="utf-8") as file:
            file.write(f"\n{text}")

    def _write_passwords(self) -> None:
        password_file(self.folder / ".pgpass", PASSWORD, *(f"*:*:*:{user}" for user in (SUPERUSER, "deployer")))

    def _deploy(self, regions: tuple[str, ...]) -> None:
        hosts = {f"@postgres/{region}": {"postgres_service": f"integration-health-{region}"} for region in regions}
        path = inventory_file(self.folder, hosts, ".deployed.py")
        done = subprocess.run(
            [PYINFRA, "-y", path.name, "deploy.apply"], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        path.unlink()


def _places(server: Server) -> dict[str, str]:
    """What stands for the places of packages from postgresql.org, and for `sudo`."""
    owner = f"setpriv --reuid={unprivileged()} --clear-groups " if unprivileged() else ""
    return {
        "sudo -u postgres ": f"env PGPASSWORD={shlex.quote(PASSWORD)} {owner}",
        "/usr/pgsql-16/bin": str(programs("pypi16")),
        "/usr/pgsql-18/bin": str(programs("embedded")),
        "16/data": "data",
        "16/log": "log",
        "/var/lib/pgsql": str(server.folder),
    }


def _server(servers: Servers, region: str, label: str) -> Server:
    if (region, label) not in servers:
        servers[region, label] = Server.create(programs(label))
    return servers[region, label]


def _reset(server: Server) -> None:
    """Without databases and roles of an earlier page: an empty database `health` of the role `deployer`."""

    def psql(sql: str) -> list[str]:
        return server.client("psql", "-XAtq", "postgres", "-v", "ON_ERROR_STOP=1", stdin=sql).splitlines()

    drops = "SELECT format('DROP DATABASE %I WITH (FORCE);', datname) FROM pg_database WHERE datname NOT IN ('postgres', "
    drops += "'template0', 'template1') UNION ALL SELECT format('DROP ROLE %I;', rolname) FROM pg_roles "
    drops += f"WHERE rolname NOT LIKE 'pg\\_%' AND rolname <> '{SUPERUSER}'"
    password = PASSWORD.replace("'", "''")
    create = f"CREATE ROLE deployer LOGIN PASSWORD '{password}';", "CREATE DATABASE health OWNER deployer;"
    psql("\n".join([*psql(drops), *create]))
