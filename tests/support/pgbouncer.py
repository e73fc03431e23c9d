"""A real PgBouncer in front of a test server, in transaction mode, with one connection to the server for all its clients."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from support.servers import PASSWORD, SUPERUSER, Server, free_port, unprivileged
from support.waiting import until


def pgbouncer() -> str | None:
    """The executable, where Debian's package pgbouncer is installed."""
    return shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


@dataclass
class Pooler:
    """A running PgBouncer; `stop` ends it and deletes its folder."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def create(cls, server: Server, mode: str = "transaction") -> Pooler:
        program = pgbouncer()
        assert program is not None
        folder = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir="/tmp"))
        port = free_port()
        password = PASSWORD.replace('"', '""')
        (folder / "users.txt").write_text(f'"{SUPERUSER}" "{password}"\n', encoding="utf-8")
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {folder}/users.txt\npool_mode = {mode}\n"
            "default_pool_size = 1\nlogfile =\npidfile =\n",
            encoding="utf-8",
        )
        for path in (folder, *folder.iterdir()):
            if unprivileged():
                shutil.chown(path, unprivileged())
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, str(folder / "pgbouncer.ini")], user=unprivileged(), stdout=log, stderr=log)
        until(lambda: process.poll() is not None or _listens(port), 20)
        assert process.poll() is None, (folder / "log").read_text()
        return cls(port, folder, process)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
