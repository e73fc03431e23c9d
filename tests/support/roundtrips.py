"""A TCP proxy in front of a server: how often the clients waited for it, and how many connections they had open at once."""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

READY_FOR_QUERY = b"Z"
IDLE = b"Z\0\0\0\5I"
"""ReadyForQuery outside a transaction."""


@dataclass
class _Link:
    """One connection through the proxy. `waits` counts answers that follow a message, after the first ReadyForQuery.

    `sent` is all that the client sent.
    """

    client: socket.socket
    server: socket.socket
    started: bool = False
    asked: bool = False
    waits: int = 0
    unread: bytearray = field(default_factory=bytearray)
    sent: bytearray = field(default_factory=bytearray)

    def from_client(self, data: bytes) -> None:
        self.sent += data
        self.asked = self.started
        self.server.sendall(data)

    def from_server(self, data: bytes) -> None:
        if self.asked:
            self.waits += 1
            self.asked = False
        if not self.started:
            self.unread += data
            self._look_for_the_end_of_the_startup()
        self.client.sendall(data)

    def _look_for_the_end_of_the_startup(self) -> None:
        while self.unread[:1] == b"N":  # the answer to a request for TLS or GSS encryption has no length
            del self.unread[:1]
        while len(self.unread) >= 5 and not self.started:
            end = 1 + int.from_bytes(self.unread[1:5], "big")
            if len(self.unread) < end:
                return
            self.started = self.unread[:1] == READY_FOR_QUERY
            del self.unread[:end]


class Proxy:
    """Listens on `port` of the loopback; one loop serves all links, in the order of what happens."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        self.links: list[_Link] = []
        self.most_open = 0
        self._open: set[int] = set()
        self._move: tuple[int, int] | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    @property
    def waits(self) -> list[int]:
        """For each connection, in the order of opening, how often its client waited after it was logged in."""
        return [link.waits for link in self.links]

    def move(self, waits: int, target: int) -> None:
        """Cut a connection whose client has its answer number `waits` and no transaction; lead all later ones to `target`."""
        self._move = (waits, target)

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        for link in self.links:
            link.client.close()
            link.server.close()
        self._listener.close()
        self._selector.close()

    def _loop(self) -> None:
        while not self._ending.is_set():
            for key, _ in self._selector.select(timeout=0.05):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._forward(key.data, key.fileobj)  # type: ignore[arg-type]

    def _accept(self) -> None:
        """Whoever closed a connection before opening this one is seen to have done so."""
        client, _ = self._listener.accept()
        for link in self.links:
            while id(link) in self._open and select.select([link.client], [], [], 0)[0]:
                self._forward(link, link.client)
        link = _Link(client, socket.create_connection(("127.0.0.1", self._target)))
        self.links.append(link)
        self._open.add(id(link))
        self.most_open = max(self.most_open, len(self._open))
        for end in (link.client, link.server):
            self._selector.register(end, selectors.EVENT_READ, link)

    def _forward(self, link: _Link, source: socket.socket) -> None:
        if source.fileno() < 0:
            return
        try:
            data = source.recv(65536, socket.MSG_DONTWAIT)
            if data:
                (link.from_client if source is link.client else link.from_server)(data)
                if source is link.client or self._move is None or link.waits < self._move[0] or not data.endswith(IDLE):
                    return
                self._target, self._move = self._move[1], None
        except BlockingIOError:
            return  # read by _accept meanwhile
        except OSError:
            pass
        self._open.discard(id(link))
        for end in (link.client, link.server):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
            end.close()


@contextlib.contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy in front of `target`, a port of the loopback."""
    made = Proxy(target)
    try:
        yield made
    finally:
        made.close()
