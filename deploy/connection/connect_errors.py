"""Why a connection could not be opened, and what to do about it."""

from __future__ import annotations

import re

import psycopg

from deploy.connection import bastion, certificates
from deploy.connection.conninfo import Endpoint
from deploy.connection.quoting import ident

FULL = ("too many clients", "too many connections", "connection slots are reserved", "no more connections allowed")
"""What such a server or pooler says (SQLSTATE 53300; libpq keeps the code of a refused connection to itself)."""

_UNTRUSTED = "certificate verify failed"

_BY_HAND = "run psql with the same parameters to try it by hand"

_NEXT_STEPS = (
    *bastion.NEXT_STEPS,
    (
        "|".join(FULL),
        "waited for one; run the command again later, raise lock_wait, or lower max_connections_per_server",
    ),
    # the server's certificate
    (
        "does not match host name",
        "connect by a name in the certificate (hostaddr takes the address), or issue one for this name",
    ),
    ("root certificate file", "set sslrootcert to the PEM file of the authority that signed the server's certificate"),
    (f"{_UNTRUSTED}: certificate has expired", "renew the server's certificate, or the authority's in sslrootcert"),
    (f"{_UNTRUSTED}: certificate is not yet valid", "check the clock of this machine, and the certificate's dates"),
    (f"{_UNTRUSTED}: certificate revoked", "issue another certificate for the server"),
    (f"{_UNTRUSTED}: unable to get certificate CRL", "add the list of each authority to sslcrl"),
    (f"{_UNTRUSTED}: ", "set sslrootcert to the PEM file of the authority that signed the server's certificate"),
    (_UNTRUSTED, "check sslrootcert, and the dates of the server's certificate"),
    ("server does not support SSL", "check host and port, or set ssl = on in the server's postgresql.conf"),
    # ours
    ("requires a valid client certificate", "set sslcert and sslkey to files that exist"),
    (
        "certificate authentication failed",
        "set sslcert to one whose common name is this role, or map it in the server's pg_ident.conf",
    ),
    ("alert unknown ca", "set sslcert to a certificate of an authority in the server's ssl_ca_file"),
    ("alert certificate expired", "renew the certificate in sslcert"),
    ("alert .*certificate", "set sslcert to a certificate that the server accepts; its log says why it doesn't"),
    ("has group or world access", "chmod 600 it"),
    ("but not private key file|key values mismatch", "set sslkey to the key that belongs to sslcert"),
    ("private key file .*: bad decrypt", "put its pass phrase into the service file as sslpassword"),
    ("private key file", "set sslkey to a PEM file, with sslpassword in the service file when it is encrypted"),
    ("could not read certificate file", "set sslcert to a PEM file"),
    # how the server asks who we are
    (
        "method requirement .*hashed password",
        "set the role's password again with password_encryption = 'scram-sha-256', and scram-sha-256 in the server's pg_hba.conf",
    ),
    ("method requirement .*cleartext password", "write scram-sha-256 instead of that method into the server's pg_hba.conf"),
    (
        "method requirement .*did not complete",
        "write scram-sha-256 instead of trust into the server's pg_hba.conf; "
        "where a client certificate is the login, add none to require_auth",
    ),
    ("method requirement", "write a method of require_auth into the server's pg_hba.conf"),
    ("channel binding required, but SSL not in use", "set sslmode=verify-full, and ssl = on in the server's postgresql.conf"),
    (
        "channel binding (is )?required",
        "write scram-sha-256 for this user into the server's pg_hba.conf; where a pooler can't do it, leave channel_binding out",
    ),
    (
        "session is (not )?read-only|server is (not )?in hot standby",
        "check target_session_attrs, and which of the servers is the primary",
    ),
    ("password authentication failed", "check .pgpass, PGPASSWORD or the service file for this user and host"),
    ("no password supplied", "put the password into .pgpass, PGPASSWORD or the service file"),
    ("no pg_hba.conf entry .*SSL encryption", "admit this user, database and address in the server's pg_hba.conf"),
    (
        "no pg_hba.conf entry .*no encryption",
        "set sslmode=verify-full, or admit this user, database and address without TLS in the server's pg_hba.conf",
    ),
    ("pg_hba.conf", "admit this user, database and address in the server's pg_hba.conf"),
    # what was asked of libpq
    ("invalid sslmode value", "write disable, allow, prefer, require, verify-ca or verify-full"),
    ("weak sslmode", "set sslmode=verify-full"),
    ("invalid require_auth", "write scram-sha-256, or several of its methods with commas"),
    ("invalid channel_binding value", "write disable, prefer or require"),
    (
        "ssl_m.._protocol_version|SSL protocol version|alert protocol version",
        "write TLSv1.2 or TLSv1.3, the lower as the minimum",
    ),
    ("definition of service", "add the section to pg_service.conf, or set PGSERVICEFILE to the file that has it"),
    ("syntax error in service file", "correct that line"),
    ("service file", "set PGSERVICEFILE to a file that exists"),
    # the way there
    ("failed to resolve host|could not translate host name", "check the host's name in the inventory or the service file"),
    ("Connection refused", "check the port and that the server runs"),
    ("does not exist", "check the name, or create it"),
    ("No such file or directory", "check the folder of the socket and that the server runs"),
    ("timeout expired|timed out", "check the address, the firewall and that the server runs"),
)
"""A pattern in libpq's, psycopg's or the server's words, and what to do then. The first that is found counts."""

_ATTEMPT = re.compile(r"^(?:- host: (?P<host>.*?), port: .*?, hostaddr: .*?: )?(?:connection (?:failed|is bad): )?(?P<reason>.*)$")

_ADVICE = re.compile(r" (Is the server running|Either provide the file|This may indicate)\b.*$|; file must have permissions .*$")
"""What libpq advises, where ours is better: its own is to switch verification off."""


def _statement(error: Exception, reason: str) -> str | None:
    """What to run for a role that may not log in, or not into this database."""
    if not isinstance(error, psycopg.Error) or error.pgconn is None:
        return None
    role, database = ident(error.pgconn.user.decode()), ident(error.pgconn.db.decode())
    if "permission denied for database" in reason:
        return f"run GRANT CONNECT ON DATABASE {database} TO {role}"
    if "is not permitted to log in" in reason:
        return f"run ALTER ROLE {role} LOGIN"
    return None


def explain(error: Exception, endpoint: Endpoint) -> str:
    """One sentence for a failed attempt to connect: where, the reason in libpq's or the server's words, what next.

    For a certificate that isn't trusted the server is asked for it once more, because libpq doesn't say why; behind a bastion
    it can't be reached again.
    """
    reason = ", then ".join(_reasons(str(error)))
    if reason.endswith(_UNTRUSTED) and isinstance(error, psycopg.Error) and error.pgconn is not None and endpoint.bastion is None:
        reason = ": ".join(filter(None, (reason, certificates.problem(error.pgconn))))
    steps = (step for words, step in _NEXT_STEPS if re.search(words, reason))
    step = _statement(error, reason) or next(steps, _BY_HAND)
    return f"can't connect to {endpoint.label}: {reason}; {step}"


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
