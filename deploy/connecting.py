"""Why a connection could not be opened, and what to do about it. Pure."""

from __future__ import annotations

import re

from deploy import bastion
from deploy.conninfo import Endpoint

FULL = ("too many clients", "too many connections", "connection slots are reserved", "no more connections allowed")
"""What such a server or pooler says (SQLSTATE 53300; libpq keeps the code of a refused connection to itself)."""

_NEXT_STEPS = (
    *bastion.NEXT_STEPS,
    *(
        (words, "waited for one; run the command again later, raise lock_wait, or lower max_connections_per_server")
        for words in FULL
    ),
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
    reason = re.sub(r"^connection (failed|is bad): | Is the server running .*\?$", "", " ".join(str(error).split()))
    step = next((step for words, step in _NEXT_STEPS if words in reason), "run psql with the same parameters to try it by hand")
    return f"can't connect to {endpoint.label}: {reason}; {step}"
