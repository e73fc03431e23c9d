"""Why a connection could not be opened, and what to do about it."""

from __future__ import annotations

import os
import re
import shlex

import psycopg

from deploy.connection import ssh
from deploy.connection.endpoint import Endpoint
from deploy.connection.quoting import ident
from deploy.problems import Problem

_FULL = ("too many clients", "too many connections", "connection slots are reserved", "no more connections allowed")
"""What a server or pooler says in English that has no connection free (SQLSTATE 53300)."""

_WAITED = "waited for one; run the command again later, raise lock_wait, or lower max_connections_per_server"

_UNTRUSTED = "certificate verify failed"

_BY_HAND = "run psql with the same parameters to try it by hand"

_NEXT_STEPS = (
    *ssh.NEXT_STEPS,
    ("|".join(_FULL), _WAITED),
    (
        "does not match host name",
        "connect by a name in the certificate (hostaddr takes the address), or issue one for this name",
    ),
    ("root certificate file", "set sslrootcert to the PEM file of the authority that signed the server's certificate"),
    ("bad decrypt", "put the key's pass phrase into the service file as sslpassword"),  # else ours is tried, and nobody is asked
    ("server does not support SSL", "check host and port, or set ssl = on in the server's postgresql.conf"),
    ("password authentication failed", "check .pgpass, PGPASSWORD or the service file for this user and host"),
    ("no password supplied", "put the password into .pgpass, PGPASSWORD or the service file"),
    (
        "no pg_hba.conf entry .*no encryption",
        "set sslmode=verify-full, or admit this user, database and address without TLS in the server's pg_hba.conf",
    ),
    ("no pg_hba.conf entry", "admit this user, database and address in the server's pg_hba.conf"),
    (
        "definition of service|section of the service file",
        "add the section with a host to pg_service.conf, or set PGSERVICEFILE to the file that has it",
    ),
    (
        "too long in service file",
        "libpq reads no line of more than 1,023 bytes there; put a long password or token into .pgpass or PGPASSWORD",
    ),
    ("local user with ID", "set postgres_user, because the user of the operating system has no name"),
    ("service file .* not found", "set PGSERVICEFILE to a file that exists"),
    ("failed to resolve host|could not translate host name", "check the host's name in the inventory or the service file"),
    ("Connection refused", "check the port and that the server runs"),
    ('(role|database) ".*" does not exist', "check the name, or create it"),
    ("No such file or directory", "check the folder of the socket and that the server runs"),
    ("timeout expired|timed out", "check the address, the firewall and that the server runs"),
)
"""A pattern in libpq's, psycopg's or the server's words, and what to do then. The first that is found counts."""

_ATTEMPT = re.compile(
    r"^(?:- host: '?(?P<host>.*?)'?, port: .*?, hostaddr: .*?: )?(?:connection (?:failed|is bad): )?(?P<reason>.*)$"
)

_ADVICE = re.compile(r" (Is the server running|Either provide the file|This may indicate)\b.*$")
"""What libpq advises, where ours is better: its own is to switch verification off."""


class ServerFull(psycopg.OperationalError):
    """The server, or a pooler before it, has no connection free."""


def says_full(text: str) -> bool:
    return any(words in text for words in _FULL)


def is_understood(text: str) -> bool:
    """Whether these are words that we know, in English, or libpq's own: where TLS fails, no server has said why it refuses."""
    return "SSL error" in text or any(re.search(words, text) for words, _ in _NEXT_STEPS)


def explain(error: Exception, endpoint: Endpoint) -> Problem:
    """For a failed attempt to connect: where, the reason in libpq's, ssh's or the server's words, and what next."""
    reason = ", then ".join(_reasons(str(error)))
    step = _command(error, reason, endpoint) or next((step for words, step in _NEXT_STEPS if re.search(words, reason)), _BY_HAND)
    return Problem("connection", f"can't connect to {endpoint.label}: {reason}", step)


def _command(error: Exception, reason: str, endpoint: Endpoint) -> str | None:
    """What to do where that is known exactly: for a full server, a role that may not log in, a certificate that isn't trusted."""
    if isinstance(error, ServerFull):
        return _WAITED
    if not isinstance(error, psycopg.Error) or error.pgconn is None:
        return None
    role, database = ident(error.pgconn.user.decode()), ident(error.pgconn.db.decode())
    if "permission denied for database" in reason:
        return f"run GRANT CONNECT ON DATABASE {database} TO {role}"
    if "is not permitted to log in" in reason:
        return f"run ALTER ROLE {role} LOGIN"
    if _UNTRUSTED in reason:
        return _show_certificate(error.pgconn, endpoint)
    return None


def _show_certificate(pgconn: psycopg.pq.abc.PGconn, endpoint: Endpoint) -> str:
    """libpq keeps to itself what is wrong with a certificate; openssl says it, at the place from where the server is reached."""
    name = pgconn.host.decode()
    address = next((one for one in endpoint.hosts if one.name == name), endpoint.hosts[0])
    host = address.hostaddr or address.host or ""
    command = [
        "openssl",
        "s_client",
        "-starttls",
        "postgres",
        "-connect",
        f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}",
    ]
    if endpoint.bastion is not None:
        return f"see why, on the bastion: {shlex.join(command)}"
    given = {option.keyword: option.val for option in pgconn.info if option.val}
    root = given.get(b"sslrootcert", b"").decode() or os.path.expanduser("~/.postgresql/root.crt")  # noqa: PTH111
    return f"see why: {shlex.join(command if root == 'system' else [*command, '-CAfile', root])}"


def _reasons(text: str) -> list[str]:
    """What each attempt failed for, once: libpq tries with and without TLS, and every address of every host."""
    reasons: list[str] = []
    for line in text.rpartition("All failures were:\n")[2].splitlines():
        match = _ATTEMPT.match(line)
        assert match is not None
        if reasons and match["reason"] == line and not line.startswith("connection to server"):
            reasons[-1] += f" {line}"  # a detail or a hint
        else:
            shown = match["host"] is None or match["reason"].startswith("connection to server")
            reasons.append(match["reason"] if shown else f"{match['host']}: {match['reason']}")
    return list(dict.fromkeys(_ADVICE.sub("", " ".join(reason.split())) for reason in reasons))
