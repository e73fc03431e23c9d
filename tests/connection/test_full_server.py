"""A server without a free connection is waited for in any language: its SQLSTATE tells, not its words."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from psycopg import pq
from support.operator import Pyinfra, is_deployed, run
from support.servers import Database
from support.sqlx import HOST

pytestmark = pytest.mark.everything

SSL_REQUEST = (80877103).to_bytes(4, "big")

needs_a_trace = pytest.mark.skipif(sys.platform != "linux" or pq.version() < 180000, reason="libpq keeps no trace of refusals")


@contextlib.contextmanager
def refusing(target: int, sqlstate: str, words: str, times: int) -> Iterator[tuple[int, list[float]]]:
    """The port of a front that refuses so many logins in these words, then leads to `target`; and when each login came."""
    logins: list[float] = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=50)

    def serve(client: socket.socket) -> None:
        with client:
            if client.recv(8, socket.MSG_PEEK)[4:8] == SSL_REQUEST:
                client.recv(8)
                client.sendall(b"N")
            client.recv(1, socket.MSG_PEEK)
            logins.append(time.monotonic())
            if len(logins) <= times:
                client.recv(4096)
                body = "".join(f"{field}\0" for field in ("SFATAL", "VFATAL", f"C{sqlstate}", f"M{words}", "")).encode()
                client.sendall(b"E" + (len(body) + 4).to_bytes(4, "big") + body)
                return
            with socket.create_connection(("127.0.0.1", target)) as server:
                back = threading.Thread(target=pump, args=(server, client), daemon=True)
                back.start()
                pump(client, server)
                back.join()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], logins
    finally:
        listener.close()


@needs_a_trace
@pytest.mark.parametrize(
    "words",
    ["tut mir leid, schon zu viele Verbindungen", "извините, уже слишком много клиентов", "sorry, too many clients already"],
)
def test_a_full_server_is_waited_for_whatever_its_language(pyinfra: Pyinfra, database: Database, words: str) -> None:
    with refusing(database.server.port, "53300", words, 4) as (port, _):
        got = run(pyinfra, {HOST: {**database.data, "postgres_port": port}})
    assert got.code == 0, got.out
    assert is_deployed(database)


@needs_a_trace
def test_one_that_stays_full_fails_after_lock_wait_with_its_own_words(pyinfra: Pyinfra, database: Database) -> None:
    words = "tut mir leid, schon zu viele Verbindungen"
    with refusing(database.server.port, "53300", words, 1000) as (port, logins):
        got = run(pyinfra, {HOST: {**database.data, "postgres_port": port, "lock_wait": "2s"}})
    assert got.code == 1
    assert logins[-1] - logins[0] > 1.5
    (line,) = [line for line in got.lines(HOST) if words in line]
    assert line.endswith("waited for one; run the command again later, raise lock_wait, or lower max_connections_per_server")


@needs_a_trace
def test_another_refusal_in_another_language_fails_at_once(pyinfra: Pyinfra, database: Database) -> None:
    with refusing(database.server.port, "28P01", "Passwort-Authentifizierung fehlgeschlagen", 1000) as (port, logins):
        got = run(pyinfra, {HOST: {**database.data, "postgres_port": port}})
    assert got.code == 1
    assert len(logins) <= 2
    assert any("Passwort-Authentifizierung fehlgeschlagen; run psql" in line for line in got.lines(HOST)), got.out
