"""Why a connection could not be opened, and what to do about it. Pure."""

from __future__ import annotations

import re

from deploy.conninfo import Endpoint

FULL = ("too many clients", "too many connections", "connection slots are reserved", "no more connections allowed")
"""What such a server or pooler says (SQLSTATE 53300; libpq keeps the code of a refused connection to itself)."""

_ROLES = ("session is read-only", "session is not read-only", "server is in hot standby", "server is not in hot standby")
"""What libpq says of a server that is not as `target_session_attrs` asks."""

_NEXT_STEPS = (
    *(
        (words, "waited for one; run the command again later, raise lock_wait, or lower max_connections_per_server")
        for words in FULL
    ),
    *((words, "check target_session_attrs, and which of the servers is the primary") for words in _ROLES),
    ("password authentication failed", "check .pgpass, PGPASSWORD or the service file for this user and host"),
    ("no password supplied", "put the password into .pgpass, PGPASSWORD or the service file"),
    ("resolve host", "check the host's name in the inventory or the service file"),
    ("could not translate host name", "check the host's name in the inventory or the service file"),
    ("Connection refused", "check the port and that the server runs"),
    ("definition of service", "add the section to pg_service.conf, or set PGSERVICEFILE to the file that has it"),
    ("service file", "set PGSERVICEFILE to a file that exists"),
    ("does not exist", "check the name, or create it"),
    ("No such file or directory", "check the folder of the socket and that the server runs"),
    ("pg_hba.conf", "admit this user, database and address in the server's pg_hba.conf, or change postgres_sslmode"),
    ("too many", "lower max_connections_per_server, or try again later"),
    ("ssl", "check postgres_sslmode and postgres_sslrootcert"),
    ("SSL", "check postgres_sslmode and postgres_sslrootcert"),
    ("certificate", "check postgres_sslmode and postgres_sslrootcert"),
    ("timeout", "check the address, the firewall and that the server runs"),
)


def explain(error: Exception, endpoint: Endpoint) -> str:
    """One sentence for a failed attempt to connect: where, the reason in libpq's or the server's words, what next."""
    _, several, attempts = str(error).partition("\nMultiple connection attempts failed. All failures were:\n- ")
    tried = dict.fromkeys(_reason(attempt) for attempt in attempts.split("\n- ")) if several else [_reason(str(error))]
    reason = "; ".join(tried)
    step = next((step for words, step in _NEXT_STEPS if words in reason), "run psql with the same parameters to try it by hand")
    return f"can't connect to {endpoint.label}: {reason}; {step}"


def _reason(attempt: str) -> str:
    """The server's or libpq's words for one attempt, on one line, without what psycopg puts before them."""
    words = re.sub(r"^host: .*?, hostaddr: \S+: ", "", " ".join(attempt.split()))
    return re.sub(r"^connection (failed|is bad): | Is the server running .*\?$", "", words)
