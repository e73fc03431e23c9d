"""A site: servers in a network of their own, without a port on this machine, and bastions, with one foot in that network.

The tests must not read or write the developer's own ~/.ssh, and OpenSSH finds it by the user and not by HOME: an `ssh` that is
first on the PATH adds a configuration file and notes how it was called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from deploy.connection.ssh import LOOPBACK
from support.containers import DATABASE, HERE, PASSWORD, USER, write_tls
from support.files import password_file
from support.waiting import until

DB = "db.internal"
"""A server with a certificate for this name; its other name is in no certificate."""
OTHER = "other.internal"
PLAIN = "plain.internal"
"""A server without TLS."""

CONFIG = """
Host bastion
    HostName 127.0.0.1
    Port {port}
    User ops
Host inner
    HostName localhost
    User ops
    ProxyJump bastion
Host unknown
    HostName 127.0.0.1
    Port {port}
    User ops
    UserKnownHostsFile /dev/null
Host trusting
    HostName 127.0.0.1
    Port {port}
    User ops
    UserKnownHostsFile /dev/null
    StrictHostKeyChecking accept-new
Host changed
    HostName 127.0.0.1
    Port {port}
    User ops
    UserKnownHostsFile {folder}/changed_hosts
Host bastion inner unknown trusting changed
    IdentityFile {folder}/user
Host *
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
"""


def docker(*words: str, stdin: str | None = None) -> str:
    done = subprocess.run(["docker", *words], input=stdin, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Site:
    """`folder` holds keys and files of ssh and libpq, `port` is the loopback's for the first bastion."""

    folder: Path
    image: str
    network: str = field(default_factory=lambda: f"integration-health-{uuid.uuid4().hex[:8]}")
    containers: list[str] = field(default_factory=list)
    port: int = 0

    def run(self, *words: str) -> str:
        name = f"{self.network}-{len(self.containers)}"
        self.containers.append(name)
        docker("run", "-d", "--name", name, *words)
        return name

    def server(self, *names: str) -> str:
        aliases = [word for name in names for word in ("--network-alias", name)]
        folder = [
            "-v",
            f"{self.folder / 'server'}:/tls:ro",
            "-v",
            f"{self.folder / 'tls.sh'}:/docker-entrypoint-initdb.d/tls.sh:ro",
        ]
        made = self.run(
            *("--network", self.network, *aliases),
            *("-e", f"POSTGRES_USER={USER}", "-e", f"POSTGRES_PASSWORD={PASSWORD}", "-e", f"POSTGRES_DB={DATABASE}"),
            *(folder if DB in names else []),
            *(self.image, "postgres", "-c", "fsync=off", "-c", "log_connections=on"),
        )
        ready = ["docker", "exec", made, "pg_isready", "-q", "-h", LOOPBACK]
        until(lambda: subprocess.run(ready).returncode == 0, 60)
        return made

    def bastion(self) -> tuple[str, int]:
        """A running one: its container and its port on the loopback."""
        mounts = ["-v", f"{self.folder / 'keys'}:/keys:ro", "-v", f"{HERE / 'sshd.sh'}:/sshd.sh:ro"]
        made = self.run("-p", "127.0.0.1::22", *mounts, "--entrypoint", "bash", self.image, "/sshd.sh")
        docker("network", "connect", self.network, made)
        until(lambda: "Server listening" in self.log(made))
        return made, int(docker("port", made, "22").split(":")[-1])

    def log(self, container: str) -> str:
        done = subprocess.run(["docker", "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout

    def psql(self, sql: str, server: int = 0) -> str:
        """Rows of `sql` on the server with TLS, or on the one without (1), by its own psql."""
        return docker("exec", "-i", self.containers[server], "psql", "-XAtq", "-U", USER, "-d", DATABASE, stdin=sql)

    def data(self, **more: object) -> dict[str, object]:
        """The server with TLS, checked as strictly as can be, behind the first bastion."""
        return {
            "postgres_host": DB,
            "postgres_user": USER,
            "postgres_dbname": DATABASE,
            "postgres_sslmode": "verify-full",
            "postgres_sslrootcert": str(self.folder / "root.crt"),
            "postgres_ssh": "bastion",
            **more,
        }

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PGPASSFILE": str(self.folder / "pgpass"),
            "PGSERVICEFILE": str(self.folder / "services.conf"),
        }

    def logins(self, container: str | None = None) -> int:
        """How many logins sshd of a bastion, by default the first, has accepted."""
        return self.log(container or self.containers[2]).count("Accepted publickey")

    def calls(self) -> list[str]:
        """The command lines of all ssh that were started since this was asked last."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def processes(self) -> list[str]:
        """The command lines of all ssh of the tests that run right now."""
        marker, found = str(self.folder / "config"), []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[0].endswith("ssh") and marker in words:
                found.append(" ".join(words))
        return found


def write_files(folder: Path) -> None:
    write_tls(folder, DB)
    (folder / "keys").mkdir()
    for name in ("keys/host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user.pub", folder / "keys")
    (folder / "known_hosts").write_text(f"* {(folder / 'keys' / 'host.pub').read_text()}")
    (folder / "changed_hosts").write_text(f"* {(folder / 'stranger.pub').read_text()}")
    password_file(folder / "pgpass", PASSWORD, *(f"{host}:5432:{DATABASE}:{USER}" for host in (DB, OTHER, PLAIN)))
    (folder / "services.conf").write_text(
        f"[app]\nhost={DB}\ndbname={DATABASE}\nuser={USER}\nsslmode=verify-full\nsslrootcert={folder / 'root.crt'}\n"
    )
    (folder / "bin").mkdir()
    wrapper = folder / "bin" / "ssh"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >>"{folder}/calls"\nexec "{shutil.which("ssh")}" -F "{folder}/config" "$@"\n')
    wrapper.chmod(0o755)
