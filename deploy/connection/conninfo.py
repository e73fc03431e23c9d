"""Settings and name of a host to libpq's connection parameters. Reads the service file and PG* variables, by libpq's own rules."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq.abc import PGconn

from deploy.connection import ssh
from deploy.connection.endpoint import Address, Endpoint
from deploy.errors import RunRefused
from deploy.problems import Problem
from deploy.settings import Settings

SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Parameters of libpq whose values are secret."""

NEEDS_LIBPQ = {"sslcrldir": 14, "sslsni": 14, "require_auth": 16, "sslcertmode": 16, "load_balance_hosts": 16, "sslnegotiation": 17}
"""Parameters that an older libpq than psycopg[binary] brings may not know, and the version they came with."""

APPLICATION_NAME = "integration-health-deploy"

CONNECT_TIMEOUT = "10"
"""Seconds for one attempt to connect, unless the connection string or the service file says otherwise."""

_NO_PASS_PHRASE = "none"
"""Given as `sslpassword` when the user gave none: OpenSSL would ask for an encrypted key's on the terminal, and all hosts wait."""

KEEPALIVES = {"keepalives_idle": "60", "keepalives_interval": "10", "keepalives_count": "6", "tcp_user_timeout": "60000"}
"""When a connection counts as broken on which nothing comes, in seconds, or nothing is acknowledged, in milliseconds: two minutes,
a minute. Not the kernel's two hours, after which a firewall has long forgotten it."""

_PORT = "5432"

_URL = re.compile(r"postgres(ql)?://([^@/]*@|(?![^/]*@))[^@/?]*(/[^@?]*)?(\?.*)?", re.DOTALL)
"""A URL without an `@` that libpq would take for a part of the host or the database while it was meant to end a password."""

_NAME = re.compile(r"^(?P<host>\[[^\]]+\]|[^:/\[\]]+)(?::(?P<port>\d+))?(?:/(?P<dbname>.+))?$")

_NOT_GIVEN = "(not given)"
"""Stands for a parameter whose value libpq must not look for elsewhere."""


def endpoint(name: str, settings: Settings) -> Endpoint:
    """Where the host `@postgres/NAME` is, from its `postgres_*` settings.

    What is added to what the user gives is nothing that a pooler refuses: settings travel in transactions. Raises RunRefused when
    the name or the connection string can't be read.
    """
    given = _given(name, settings)
    resolved = _resolve(given)
    timeout = resolved.get("connect_timeout") or CONNECT_TIMEOUT
    service = None if given.keys() & {"host", "hostaddr"} else given.get("service")
    hosts = _hosts(resolved)
    seconds = int(timeout) if re.fullmatch("[1-9][0-9]{0,5}", timeout) else None
    bastion = ssh.read(name, settings.postgres_ssh, settings.postgres_ssh_key, seconds)
    if bastion is not None and (service is None or hosts[0].name):  # of a missing section the connection says so
        _check_no_socket(name, hosts)
    return Endpoint(
        parameters={
            **_defaults(resolved),
            **given,
            "client_encoding": "utf8",
            "connect_timeout": timeout,  # also that of a service file, which psycopg doesn't read
        },
        hosts=hosts,
        dbname=resolved.get("dbname"),
        exposed=tuple(key for key in SECRET_PARAMETERS if key in given),
        secrets=tuple(filter(None, (os.environ.get("PGPASSWORD"), *(given.get(key) for key in SECRET_PARAMETERS)))),
        service=service,
        bastion=bastion,
    )


def password(parameters: Mapping[str, str]) -> str | None:
    """The password that libpq has for these parameters: their own, the service's, PGPASSWORD's or that of .pgpass."""
    return _unconnected(parameters).password.decode() or None


def _given(name: str, settings: Settings) -> dict[str, str]:
    """The parameters that the inventory gives: the connection string's, with those on top that are settings of their own."""
    own = settings.libpq_parameters
    if settings.postgres_conninfo is not None:
        return {**_parse(name, settings.postgres_conninfo), **own}
    return own if own.keys() & {"service", "host"} else {**_from_name(name), **own}


def _from_name(name: str) -> dict[str, str]:
    match = _NAME.match(name)
    if match is None:
        text = f"@postgres/{name}: {name!r} is not HOST[:PORT][/DBNAME]"
        raise RunRefused(Problem("settings", text, "name the database so, or give the host postgres_service or postgres_conninfo"))
    return {key: value.strip("[]") if key == "host" else value for key, value in match.groupdict().items() if value}


def _parse(name: str, conninfo: str) -> dict[str, str]:
    if conninfo.startswith(("postgres://", "postgresql://")) and not _URL.fullmatch(conninfo):
        raise _unreadable(name)
    try:
        parsed = {key: str(value) for key, value in conninfo_to_dict(conninfo).items() if value is not None}
    except psycopg.Error as error:
        unknown = re.search('invalid (?:connection option|URI query parameter:) "(.*)"', str(error))
        if unknown is None or unknown[1] not in NEEDS_LIBPQ:
            raise _unknown_parameter(name, conninfo, unknown[1] if unknown is not None else "") from None
        text = (
            f"@postgres/{name}: postgres_conninfo: libpq {pq.version() // 10000} does not know {unknown[1]}, "
            f"which came with {NEEDS_LIBPQ[unknown[1]]}"
        )
        raise RunRefused(Problem("settings", text, "use psycopg[binary], which brings a newer one")) from None
    if not re.fullmatch("[0-9,]*", parsed.get("port", "")):
        raise _unreadable(name)
    return parsed


def _unknown_parameter(name: str, conninfo: str, parameter: str) -> RunRefused:
    """Named only where it can't be a part of a password: after the `?` of a URL, behind which no `@` comes any more."""
    if not re.fullmatch(r"[A-Za-z][\w-]*", parameter) or not re.fullmatch(r"postgres(ql)?://[^?]*\?[^@]*", conninfo):
        return _unreadable(name)
    text = f"@postgres/{name}: postgres_conninfo: libpq does not know the parameter {parameter!r}"
    step = "remove it, it is one of another program's"
    return RunRefused(Problem("settings", text, f"{step}; set the data key `schema`" if parameter == "schema" else step))


def unreadable_service(parameters: Mapping[str, str]) -> str | None:
    """Why libpq can't read these parameters or the section of the service file that they name; None when it can."""
    message = _unconnected(parameters).get_error_message().strip()
    return None if "target_session_attrs" in message else message


def _unreadable(name: str) -> RunRefused:
    """Without a word of the string: what libpq can't read, or takes for a host or port, may be a part of a password."""
    text = f"@postgres/{name}: postgres_conninfo is not a connection string that libpq can read"
    step = (
        "write it as `host=... dbname=...` or postgresql://..., and put the password into .pgpass, PGPASSWORD or the service file"
    )
    return RunRefused(Problem("settings", text, step))


def _resolve(given: Mapping[str, str]) -> dict[str, str]:
    """`given` with what libpq takes for the rest: PG* variables, the section of the service file, its own defaults."""
    # without a user of its own, libpq would name the database after him; without a password it would read .pgpass, and complain
    read = _unconnected({**given, "user": _NOT_GIVEN, "password": _NOT_GIVEN}).info
    options = read if any(option.val for option in read) else pq.Conninfo.get_defaults()  # there is no such section
    found = {option.keyword.decode(): option.val.decode() for option in options if option.val}
    return {**{key: value for key, value in found.items() if value != _NOT_GIVEN}, **given}


def _unconnected(parameters: Mapping[str, str]) -> PGconn:
    """libpq's reading of these parameters. It goes nowhere, because it doesn't know this target_session_attrs."""
    return pq.PGconn.connect_start(make_conninfo("", **{**parameters, "target_session_attrs": _NOT_GIVEN}).encode())


def _hosts(resolved: Mapping[str, str]) -> tuple[Address, ...]:
    """What the lists of host, hostaddr and port say of each host; a single port is that of all."""
    lists = {key: resolved[key].split(",") for key in ("host", "hostaddr", "port") if resolved.get(key)}
    count = max((len(lists[key]) for key in ("host", "hostaddr") if key in lists), default=1)
    ports = lists.get("port", [_PORT])
    ports = ports * count if len(ports) == 1 else ports
    hosts, addresses = lists.get("host", [None] * count), lists.get("hostaddr", [None] * count)
    return tuple(Address(host, address, port or _PORT) for host, address, port in zip(hosts, addresses, ports, strict=False))


def _check_no_socket(name: str, hosts: tuple[Address, ...]) -> None:
    sockets = [one.name or "the default" for one in hosts if (one.hostaddr or one.host or "/").startswith(("/", "@"))]
    if sockets:
        text = f"@postgres/{name}: postgres_ssh needs a server's name or address, and this is a Unix socket: {sockets[0]}"
        step = "give the one that the bastion knows in postgres_host, the connection string or the service file"
        raise RunRefused(Problem("settings", text, step))


def _defaults(resolved: Mapping[str, str]) -> dict[str, str]:
    """Our own values for parameters that the user sets nowhere."""
    ours = {"application_name": APPLICATION_NAME, "sslpassword": _NO_PASS_PHRASE, **KEEPALIVES}
    return {key: value for key, value in ours.items() if not resolved.get(key)}
