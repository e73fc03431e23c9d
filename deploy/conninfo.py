"""Host data and host name to libpq's connection parameters. Pure but for libpq's own defaults (service file, PG* variables)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy import bastion
from deploy.bastion import Bastion
from deploy.errors import Refused

_LIBPQ_KEYS = {
    "postgres_conninfo": "a libpq connection string or URL",
    "postgres_service": "a section of pg_service.conf",
    "postgres_host": "libpq's host",
    "postgres_port": "libpq's port",
    "postgres_dbname": "libpq's dbname",
    "postgres_user": "libpq's user",
    "postgres_password": "libpq's password; better in .pgpass, PGPASSWORD or the service file",
    "postgres_sslmode": "libpq's sslmode",
    "postgres_sslrootcert": "libpq's sslrootcert",
}

DATA_KEYS = {**_LIBPQ_KEYS, **bastion.DATA_KEYS}

SECRET_KEYS = {"postgres_conninfo", "postgres_password", "variables"}

APPLICATION_NAME = "integration-health-deploy"

CONNECT_TIMEOUT = 10
"""Seconds for one attempt to connect, unless the connection string or the service file says otherwise."""

STARTUP_SETTINGS = (
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO,MDY"),
    ("extra_float_digits", "2"),
)
"""What SQLx asks for at the start of a session (sqlx-postgres/src/connection/establish.rs); encoding apart."""

_URL = re.compile(r"postgres(ql)?://([^@/]*@|(?![^/]*@))[^@/?]*(/[^@?]*)?(\?.*)?", re.DOTALL)
"""A URL without an `@` that libpq would take for a part of the host or the database while it was meant to end a password."""

_NAME = re.compile(r"^(?P<host>\[[^\]]+\]|[^:/\[\]]+)(?::(?P<port>\d+))?(?:/(?P<dbname>.+))?$")


@dataclass(frozen=True)
class Endpoint:
    """Where a host's connection goes: libpq parameters, and host, port and database as libpq will resolve them, for show."""

    parameters: Mapping[str, str]
    host: str
    port: str
    dbname: str | None = None
    has_options: bool = False
    """Whether the user set libpq's `options`, which must not get lost."""
    bastion: Bastion | None = None
    """With one, `host` and `port` of the parameters are spelt out, and `hostaddr` is the address or name for the bastion."""

    @property
    def label(self) -> str:
        """For messages: the service, or host and port; and the bastion."""
        service = self.parameters.get("service")
        way = f" through {self.bastion}" if self.bastion else ""
        return (f"service {service!r}" if service else f"{self.host}:{self.port}") + way

    @property
    def server(self) -> tuple[str, str]:
        """What tells a server from others: host, on the other side of its bastion, and port."""
        return (f"{self.host} through {self.bastion}" if self.bastion else self.host), self.port


def endpoint(name: str, data: Mapping[str, Any], timeouts: Mapping[str, int]) -> Endpoint:
    """Connection parameters of the host `@postgres/NAME`.

    `data` holds the `postgres_*` keys of DATA_KEYS; `timeouts` are server settings in milliseconds for statements that run
    outside a transaction of ours. Raises Refused when the name or the connection string can't be read.
    """
    given = {key.removeprefix("postgres_"): str(data[key]) for key in _LIBPQ_KEYS if data.get(key) is not None}
    parameters = _parse(name, given.pop("conninfo")) if "conninfo" in given else {}
    parameters.update(given)
    if not parameters.keys() & {"service", "host", "hostaddr"} and "conninfo" not in _names(data):
        parameters = {**_from_name(name), **parameters}
    resolved = {**_libpq_defaults(parameters.get("service")), **parameters}

    parameters["client_encoding"] = "utf8"
    parameters.setdefault("connect_timeout", resolved.get("connect_timeout") or str(CONNECT_TIMEOUT))
    way = _way(name, data, parameters["connect_timeout"])
    if way is not None:
        parameters.update(_behind(name, resolved))
        if way.timeout is not None:
            parameters["connect_timeout"] = str(2 * way.timeout)  # as long for the server as for the bastion
    if not resolved.get("application_name"):
        parameters["application_name"] = APPLICATION_NAME
    settings = [*STARTUP_SETTINGS, *((key, str(value)) for key, value in timeouts.items())]
    parameters["options"] = " ".join([resolved.get("options") or "", *(f"-c {key}={value}" for key, value in settings)]).strip()
    return Endpoint(
        parameters=parameters,
        host=resolved.get("host") or resolved.get("hostaddr") or "local socket",
        port=resolved.get("port") or "5432",
        dbname=resolved.get("dbname"),
        has_options=bool(resolved.get("options")),
        bastion=way,
    )


def _way(name: str, data: Mapping[str, Any], timeout: str) -> Bastion | None:
    seconds = int(timeout) if re.fullmatch("[1-9][0-9]{0,5}", timeout) else None
    return bastion.read(name, data.get("postgres_ssh"), data.get("postgres_ssh_key"), seconds)


def _behind(name: str, resolved: Mapping[str, str]) -> dict[str, str]:
    """Where servers behind a bastion are, spelt out as lists of libpq; the names of hosts without an address are its to look up."""
    hosts = (resolved.get("host") or resolved.get("hostaddr") or "").split(",")
    if local := [host for host in hosts if not host or host.startswith(("/", "@"))]:
        raise Refused(
            f"@postgres/{name}: postgres_ssh needs a server's name or address, which a Unix socket ({local[0] or 'the default'}) "
            "does not have; give the one that the bastion knows in postgres_host, the connection string or the service file"
        )
    return {
        "host": ",".join(hosts),
        "hostaddr": resolved.get("hostaddr") or ",".join(hosts),
        "port": resolved.get("port") or "5432",
    }


def _names(data: Mapping[str, Any]) -> set[str]:
    return {key.removeprefix("postgres_") for key in _LIBPQ_KEYS if data.get(key) is not None}


def _from_name(name: str) -> dict[str, str]:
    match = _NAME.match(name)
    if match is None:
        raise Refused(
            f"@postgres/{name}: {name!r} is no HOST[:PORT][/DBNAME]; "
            "name the database so, or give the host postgres_service or postgres_conninfo"
        )
    return {key: value.strip("[]") if key == "host" else value for key, value in match.groupdict().items() if value}


def _parse(name: str, conninfo: str) -> dict[str, str]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    if conninfo.startswith(("postgres://", "postgresql://")) and not _URL.fullmatch(conninfo):
        raise _unreadable(name)
    try:
        parsed = {key: str(value) for key, value in conninfo_to_dict(conninfo).items() if value is not None}
    except psycopg.Error:
        raise _unreadable(name) from None
    if not re.fullmatch("[0-9,]*", parsed.get("port", "")):
        raise _unreadable(name)
    return parsed


def _unreadable(name: str) -> Refused:
    """Without a word of the string: what libpq can't read, or takes for a host or port, may be a part of a password."""
    return Refused(
        f"@postgres/{name}: postgres_conninfo is no connection string that libpq can read; write it as `host=... dbname=...` "
        "or postgresql://..., and put the password into .pgpass, PGPASSWORD or the service file"
    )


def _libpq_defaults(service: str | None) -> dict[str, str]:
    """What libpq takes for parameters that are not given: compiled-in, PG* variables, and the section of the service file."""
    from psycopg import pq

    before = os.environ.get("PGSERVICE")
    if service is not None:
        os.environ["PGSERVICE"] = service
    try:
        defaults = pq.Conninfo.get_defaults()
    finally:
        if before is not None:
            os.environ["PGSERVICE"] = before
        elif service is not None:
            del os.environ["PGSERVICE"]
    return {option.keyword.decode(): option.val.decode() for option in defaults if option.val}
