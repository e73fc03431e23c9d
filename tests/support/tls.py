"""Real servers and clients with certificates of a private authority."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.servers import SUPERUSER, Database, Server, unprivileged
from support.versions import programs

NAME = "db.example.com"
"""What the servers' certificates are for; `hostaddr` leads there."""


def new_authority() -> Any:
    import trustme  # imports ssl, which gevent wants to patch before, when other tests import pyinfra

    return trustme.CA()


def write_pem(path: Path, *blobs: Any, mode: int = 0o600) -> Path:
    """The PEM blobs of trustme as one file."""
    path.write_bytes(b"".join(blob.bytes() for blob in blobs))
    path.chmod(mode)
    return path


@dataclass
class Secure:
    """A server with TLS, and the authority that its clients are to trust. `root` is the authority's file."""

    server: Server
    authority: Any
    root: Path

    @classmethod
    def create(cls, folder: Path, authority: Any, access: str, **issued: Any) -> Secure:
        """Debian's PostgreSQL, which has TLS (PyPI's has not). `access` is its pg_hba.conf, `issued` how its certificate is."""
        server = Server.create(programs("debian15"), log_connections="on")
        data = server.folder / "data"
        certificate = authority.issue_cert(NAME, **issued)
        files = {
            write_pem(data / "server.key", certificate.private_key_pem),
            write_pem(data / "server.crt", *certificate.cert_chain_pems),
            write_pem(data / "root.crt", authority.cert_pem),
        }
        if owner := unprivileged():
            for path in files:
                shutil.chown(path, owner)
        server.configure(ssl="on", ssl_ca_file="root.crt")
        (data / "pg_hba.conf").write_text(access)
        server.stop("fast")
        server.start()
        return cls(server, authority, write_pem(folder / "root.crt", authority.cert_pem))

    def data(self, database: Database, more: str = "", *, host: str = NAME, user: str = SUPERUSER) -> dict[str, object]:
        """Host data for verify-full; what `more` says in libpq's words wins over it."""
        return {
            "postgres_conninfo": f"host={host} hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={self.root} {more}",
            "postgres_port": database.server.port,
            "postgres_user": user,
            "postgres_dbname": database.name,
        }

    def remove(self) -> None:
        self.server.remove()


def encrypted(key: Path, phrase: str) -> Path:
    """The same key, which opens with `phrase`."""
    from cryptography.hazmat.primitives import serialization

    opened = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(phrase.encode())
    path = key.with_name(f"encrypted-{key.name}")
    path.write_bytes(opened.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A server with TLS. The test's module says who may log in: ACCESS is its pg_hba.conf, ROLES is SQL that makes the roles."""
    made = Secure.create(tmp_path_factory.mktemp("tls"), new_authority(), request.module.ACCESS)
    made.server.client("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "postgres", stdin=request.module.ROLES)
    yield made
    made.remove()


@pytest.fixture
def healthy(secure: Secure) -> Iterator[Database]:
    """A fresh, empty database of the server with TLS."""
    made = secure.server.database()
    yield made
    made.drop()
