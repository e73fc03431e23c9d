"""Host data and host name to libpq's connection parameters. Pure but for libpq's own defaults (service file, PG* variables)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deploy.connection import bastion
from deploy.connection.bastion import Bastion
from deploy.errors import RunRefused
from deploy.settings import CONNECTION_KEYS

_LIBPQ_KEYS = [key for key in CONNECTION_KEYS if key not in ("postgres_ssh", "postgres_ssh_key")]

SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Those of libpq that nobody may read."""

NEEDS_LIBPQ = {"sslcrldir": 14, "sslsni": 14, "require_auth": 16, "sslcertmode": 16, "load_balance_hosts": 16, "sslnegotiation": 17}
"""Parameters that an older libpq than psycopg[binary] brings may not know, and the version they came with."""

APPLICATION_NAME = "integration-health-deploy"

CONNECT_TIMEOUT = 10
"""Seconds for one attempt to connect, unless the connection string or the service file says otherwise."""

_NO_PASS_PHRASE = "none"
"""Given as `sslpassword` when the user gave none: OpenSSL would ask for an encrypted key's on the terminal, and all hosts wait."""

KEEPALIVES = {"keepalives_idle": "60", "keepalives_interval": "10", "keepalives_count": "6", "tcp_user_timeout": "60000"}
"""When a connection counts as broken on which nothing comes, in seconds, or nothing is acknowledged, in milliseconds: two minutes,
a minute. Not the kernel's two hours, after which a firewall has long forgotten it."""

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
    exposed: tuple[str, ...] = ()
    """The SECRET_PARAMETERS that are in the inventory."""
    service: str | None = None
    """The section of the service file that says where the server is."""
    bastion: Bastion | None = None
    """With one, `host` and `port` of the parameters are spelt out, and `hostaddr` is the address or name for the bastion."""
    choices: tuple[Mapping[str, str], ...] = ()
    """Of several hosts that libpq chooses from, host, hostaddr and port of each; empty for a single one."""

    @property
    def label(self) -> str:
        """For messages: the service, or host and port; and the bastion."""
        if self.service:
            return f"service {self.service!r}{self._way}"
        return ",".join(self.named(one.host, one.port) for one in self.each) or self.named(self.host, self.port)

    def named(self, host: str, port: str) -> str:
        """For messages: one of the hosts."""
        return f"{host}:{port}{self._way}"

    @property
    def _way(self) -> str:
        return f" through {self.bastion}" if self.bastion else ""

    @property
    def server(self) -> tuple[str, str]:
        """What tells a server from others: host, on the other side of its bastion, and port."""
        return self.host + self._way, self.port

    @property
    def each(self) -> tuple[Endpoint, ...]:
        """An endpoint for each of several hosts, whatever its role; empty for a single one."""
        return tuple(
            replace(
                self,
                parameters={**self.parameters, **choice, "target_session_attrs": "any"},
                host=choice.get("host") or choice.get("hostaddr") or "local socket",
                port=choice["port"],
                service=None,
                choices=(),
            )
            for choice in self.choices
        )


def endpoint(name: str, data: Mapping[str, Any], timeouts: Mapping[str, int]) -> Endpoint:
    """Connection parameters of the host `@postgres/NAME`.

    `data` holds the connection keys of deploy.settings; `timeouts` are server settings in milliseconds for statements that run
    outside a transaction of ours. Raises RunRefused when the name or the connection string can't be read.
    """
    given = {key.removeprefix("postgres_"): str(data[key]) for key in _LIBPQ_KEYS if data.get(key) is not None}
    parameters = _parse(name, given.pop("conninfo")) if "conninfo" in given else {}
    parameters.update(given)
    if not parameters.keys() & {"service", "host", "hostaddr"} and "conninfo" not in _names(data):
        parameters = {**_from_name(name), **parameters}
    resolved = {**_libpq_defaults(parameters.get("service")), **parameters}

    exposed = tuple(key for key in SECRET_PARAMETERS if key in parameters)
    parameters["client_encoding"] = "utf8"
    if not resolved.get("sslpassword"):
        parameters["sslpassword"] = _NO_PASS_PHRASE
    parameters.setdefault("connect_timeout", resolved.get("connect_timeout") or str(CONNECT_TIMEOUT))
    for key, value in KEEPALIVES.items():
        parameters.setdefault(key, resolved.get(key) or value)
    service = None if parameters.keys() & {"host", "hostaddr"} else parameters.get("service")
    way = _way(name, data, parameters["connect_timeout"])
    if way is not None:
        if service is None or resolved.get("host") or resolved.get("hostaddr"):  # else its connection says so
            parameters.update(_behind(name, resolved))
        resolved.update(parameters)
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
        exposed=exposed,
        service=service,
        bastion=way,
        choices=_choices(resolved),
    )


def _way(name: str, data: Mapping[str, Any], timeout: str) -> Bastion | None:
    seconds = int(timeout) if re.fullmatch("[1-9][0-9]{0,5}", timeout) else None
    return bastion.read(name, data.get("postgres_ssh"), data.get("postgres_ssh_key"), seconds)


def _behind(name: str, resolved: Mapping[str, str]) -> dict[str, str]:
    """Where servers behind a bastion are, spelt out as lists of libpq; the names of hosts without an address are its to look up."""
    hosts = (resolved.get("host") or resolved.get("hostaddr") or "").split(",")
    if local := [host for host in hosts if not host or host.startswith(("/", "@"))]:
        raise RunRefused(
            f"@postgres/{name}: postgres_ssh needs a server's name or address, which a Unix socket ({local[0] or 'the default'}) "
            "does not have; give the one that the bastion knows in postgres_host, the connection string or the service file"
        )
    return {
        "host": ",".join(hosts),
        "hostaddr": resolved.get("hostaddr") or ",".join(hosts),
        "port": resolved.get("port") or "5432",
        "gssencmode": "disable",  # libpq would connect a second time
        **({} if resolved.get("sslrootcert") == "system" else {"sslmode": resolved.get("sslmode") or "prefer"}),
    }


def _choices(resolved: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """What the lists of host, hostaddr and port say of each host; a single port is that of all. Empty when there is one host."""
    lists = {key: resolved[key].split(",") for key in ("host", "hostaddr") if resolved.get(key)}
    count = max((len(values) for values in lists.values()), default=0)
    lists["port"] = (resolved.get("port") or "5432").split(",")
    if count < 2:
        return ()
    filled = {key: values * count if len(values) == 1 else values for key, values in lists.items()}
    return tuple({**dict(zip(filled, one, strict=True)), "port": one[-1] or "5432"} for one in zip(*filled.values(), strict=False))


def _names(data: Mapping[str, Any]) -> set[str]:
    return {key.removeprefix("postgres_") for key in _LIBPQ_KEYS if data.get(key) is not None}


def _from_name(name: str) -> dict[str, str]:
    match = _NAME.match(name)
    if match is None:
        raise RunRefused(
            f"@postgres/{name}: {name!r} is no HOST[:PORT][/DBNAME]; "
            "name the database so, or give the host postgres_service or postgres_conninfo"
        )
    return {key: value.strip("[]") if key == "host" else value for key, value in match.groupdict().items() if value}


def _parse(name: str, conninfo: str) -> dict[str, str]:
    import psycopg
    from psycopg import pq
    from psycopg.conninfo import conninfo_to_dict

    if conninfo.startswith(("postgres://", "postgresql://")) and not _URL.fullmatch(conninfo):
        raise _unreadable(name)
    try:
        parsed = {key: str(value) for key, value in conninfo_to_dict(conninfo).items() if value is not None}
    except psycopg.Error as error:
        unknown = re.search('invalid (?:connection option|URI query parameter:) "(.*)"', str(error))
        if unknown is not None and unknown[1] in NEEDS_LIBPQ:
            raise RunRefused(
                f"@postgres/{name}: postgres_conninfo: libpq {pq.version() // 10000} does not know {unknown[1]}, which came with "
                f"{NEEDS_LIBPQ[unknown[1]]}; use psycopg[binary], which brings a newer one"
            ) from None
        raise _unreadable(name) from None
    if not re.fullmatch("[0-9,]*", parsed.get("port", "")):
        raise _unreadable(name)
    return parsed


def _unreadable(name: str) -> RunRefused:
    """Without a word of the string: what libpq can't read, or takes for a host or port, may be a part of a password."""
    return RunRefused(
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
