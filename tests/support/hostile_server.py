"""A server that speaks the protocol, lets everybody in and answers every query as a test wants it to."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Answer = Callable[[str], bytes]
"""What follows a query, without ReadyForQuery."""

_PARAMETERS = {"server_version": "18.4", "client_encoding": "UTF8", "standard_conforming_strings": "on", "integer_datetimes": "on"}


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def rows(*given: Mapping[str, str | None]) -> bytes:
    """One result of text columns."""
    names = list(given[0])
    columns = b"".join(name.encode() + b"\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0) for name in names)
    sent = message(b"T", struct.pack("!h", len(names)) + columns)
    for row in given:
        values = [None if value is None else value.encode() for value in row.values()]
        cells = b"".join(struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v for v in values)
        sent += message(b"D", struct.pack("!h", len(values)) + cells)
    return sent + message(b"C", f"SELECT {len(given)}".encode() + b"\0")


def error(text: str, sqlstate: str = "XX000") -> bytes:
    fields = {"S": "ERROR", "V": "ERROR", "C": sqlstate, "M": text}
    return message(b"E", b"".join(key.encode() + value.encode() + b"\0" for key, value in fields.items()) + b"\0")


@contextmanager
def listening(answer: Answer) -> Iterator[int]:
    """The port of such a server."""

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack("!i", self.rfile.read(4))
            self.rfile.read(length - 4)
            parameters = (message(b"S", f"{key}\0{value}\0".encode()) for key, value in _PARAMETERS.items())
            ready = message(b"Z", b"I")
            self.wfile.write(message(b"R", struct.pack("!i", 0)) + b"".join(parameters) + message(b"K", bytes(8)) + ready)
            while (kind := self.rfile.read(1)) not in (b"", b"X"):
                (length,) = struct.unpack("!i", self.rfile.read(4))
                body = self.rfile.read(length - 4)
                if kind == b"Q":
                    self.wfile.write(answer(body.rstrip(b"\0").decode()) + ready)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that has gone

    with Server(("127.0.0.1", 0), Session) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
