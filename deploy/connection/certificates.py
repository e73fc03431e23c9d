"""What is wrong with a server's certificate: libpq keeps that to itself, so the handshake is done once more to hear it."""

from __future__ import annotations

from pathlib import Path

from psycopg.pq.abc import PGconn

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""The message that asks a Postgres server for TLS (protocol-message-formats, SSLRequest)."""

_TIMEOUT = 5.0
"""Seconds for connecting and for each answer."""


def problem(failed: PGconn) -> str | None:
    """Why the server of a connection that ended in "certificate verify failed" isn't trusted, in OpenSSL's words.

    Only the handshake is repeated, with the same authorities; no user, database or password is sent. None when it doesn't
    tell: the server is gone, or this handshake succeeds.
    """
    import socket
    import ssl  # only here: pyinfra's command line lets gevent patch it first

    given = {option.keyword.decode(): option.val.decode() for option in failed.info if option.val}
    root = given.get("sslrootcert") or str(Path.home() / ".postgresql" / "root.crt")
    host = failed.host.decode()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    try:
        if root == "system":
            context.set_default_verify_paths()
        else:
            context.load_verify_locations(root)
        if crl := given.get("sslcrl"):
            context.load_verify_locations(crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        with socket.create_connection((failed.hostaddr.decode() or host, int(failed.port)), _TIMEOUT) as plain:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) == b"S":
                context.wrap_socket(plain, server_hostname=host or None).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        pass
    return None
