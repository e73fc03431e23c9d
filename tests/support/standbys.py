"""A real primary and real streaming standbys of it, on the loopback."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from support.servers import SUPERUSER, Database, Server, free_port, unprivileged
from support.waiting import until


@dataclass
class Pair:
    """A primary and a standby that streams from it; `remove` ends both."""

    primary: Server
    standby: Server

    @classmethod
    def create(cls, bin: Path, **settings: str) -> Pair:
        """`settings` go into the postgresql.conf of both."""
        primary = Server.create(bin, **settings)
        return cls(primary, standby_of(primary))

    def copy(self, database: Database) -> Database:
        """The database of the primary as the standby has it, which is waited for."""
        replayed(self.primary, self.standby)
        return Database(self.standby, database.name)

    def remove(self) -> None:
        for server in (self.standby, self.primary):
            server.remove()


def standby_of(source: Server) -> Server:
    """A streaming standby of a primary, or of another standby."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    if unprivileged():
        shutil.chown(folder, unprivileged())
    standby = Server(bin=source.bin, folder=folder, port=free_port())
    to = ["-h", "127.0.0.1", "-p", str(source.port), "-U", SUPERUSER]
    subprocess.run(
        [str(source.bin / "pg_basebackup"), "-D", str(folder / "data"), "-R", "-c", "fast", *to],
        check=True,
        capture_output=True,
        env=source.environment(),
        user=unprivileged(),
        cwd="/",
    )
    standby.configure(port=str(standby.port), unix_socket_directories=str(folder))
    standby.start()
    return standby


def replayed(source: Server, standby: Server, seconds: float = 30) -> None:
    """Wait until the standby has all that its source has."""
    here = ask(source, "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END")
    until_true(standby, f"SELECT pg_last_wal_replay_lsn() >= '{here}'", seconds)


def promote(standby: Server) -> None:
    """Make a primary of a standby; it is one when this returns."""
    assert ask(standby, "SELECT pg_promote()") == "t"


def cut(standby: Server) -> None:
    """The standby's WAL receiver finds no primary from now on."""
    ask(standby, f"ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port={free_port()}'")
    ask(standby, "SELECT pg_reload_conf()")
    until_true(standby, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")


def ask(server: Server, sql: str, database: str = "postgres") -> str:
    return server.client("psql", "-XAtqc", sql, database).strip()


def until_true(server: Server, sql: str, seconds: float = 30) -> None:
    """Wait until a query gives true."""
    until(lambda: ask(server, sql) == "t", seconds)
