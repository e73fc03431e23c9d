"""Postgres servers in containers: the image built from tests/containers/Dockerfile, or official ones.

`POSTGRES_IMAGES=postgres:13,postgres:18` chooses images.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.project import ROOT
from support.tls import new_authority

HERE = ROOT / "tests" / "containers"
OWN_IMAGE = "integration-health-postgres"
PASSWORD = """'"\\ %$:@/ü✓"""
USER = "deployer"
DATABASE = "app"
IMAGES = [image for image in os.environ.get("POSTGRES_IMAGES", "").split(",") if image] or [OWN_IMAGE]


def unavailable() -> str | None:
    """Why no container can be started here."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    asked = subprocess.run(["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, text=True)
    if asked.returncode:
        return "no Docker engine answers; start one, or run .ci/docker .venv/bin/pytest --everything tests/containers"
    if IMAGES == [OWN_IMAGE]:
        built = subprocess.run(["docker", "build", "-q", "-t", OWN_IMAGE, str(HERE)], capture_output=True, text=True)
        if built.returncode:
            return f"the image could not be built: {' '.join(built.stderr.split())[-300:]}"
    return None


TLS = """
cp /tls/server.crt /tls/server.key "$PGDATA"
chmod 600 "$PGDATA/server.key"
echo "ssl = on" >>"$PGDATA/postgresql.conf"
"""


def write_tls(folder: Path, name: str) -> None:
    """A private authority's root.crt; `server`, to be mounted as /tls, with a certificate for `name`; tls.sh, to be run."""
    authority = new_authority()
    authority.cert_pem.write_to_path(str(folder / "root.crt"))
    certificate = authority.issue_cert(name)
    (folder / "server").mkdir()
    certificate.private_key_pem.write_to_path(str(folder / "server" / "server.key"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "server" / "server.crt"))
    for path in (folder / "server", *(folder / "server").iterdir()):
        path.chmod(0o755)  # a key for the tests, read by the server's own user
    (folder / "tls.sh").write_text(TLS)


@dataclass
class Container:
    """A running server: `name` is the container's, `port` the one on loopback."""

    container: Any
    image: str

    @property
    def name(self) -> str:
        return str(self.container.get_wrapped_container().name)

    @property
    def port(self) -> int:
        return int(self.container.get_exposed_port(5432))

    @property
    def data(self) -> dict[str, object]:
        return {"postgres_host": "127.0.0.1", "postgres_port": self.port, "postgres_user": USER, "postgres_dbname": DATABASE}

    def psql(self, sql: str, dbname: str = DATABASE) -> str:
        """Unaligned rows of `sql`, run by the server's own psql inside the container."""
        done = self._psql(sql, dbname)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def answers(self) -> bool:
        return self._psql("SELECT 1", DATABASE).returncode == 0

    def _psql(self, sql: str, dbname: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "exec", "-i", self.name, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", dbname]
        return subprocess.run(command, input=sql, capture_output=True, text=True)

    def docker(self, verb: str, *arguments: str) -> str:
        done = subprocess.run(["docker", verb, *arguments, self.name], capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def deployed(self) -> bool:
        return self.psql("SELECT to_regclass('integration_events') IS NOT NULL") == "t"


Start = Callable[..., Container]
