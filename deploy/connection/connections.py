"""What the connections of one run share: limits of servers and of the process, queues for locks, logins to bastions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

from gevent.lock import Semaphore

from deploy.connection.endpoint import Endpoint
from deploy.connection.limits import ConnectionLimit, process_slots
from deploy.connection.lock_queue import LockQueue
from deploy.connection.server import Server
from deploy.connection.session import Session
from deploy.connection.ssh import Bastions


class Connections:
    """Made once for a run, and closed at its end."""

    def __init__(self) -> None:
        self._limits: dict[str, ConnectionLimit] = {}
        self._process = ConnectionLimit(process_slots())
        self._exclusive: dict[str, Semaphore] = defaultdict(Semaphore)
        self._queues: dict[Hashable, LockQueue] = defaultdict(LockQueue)
        self._bastions = Bastions()

    def session(self, endpoint: Endpoint, slots: int, patience: float) -> Session:
        """A session of this server, with at most so many open at once; what the first caller says holds for the run.

        For `patience` in seconds a server that has no connection free is asked again.
        """
        limit = self._limits.setdefault(endpoint.key, ConnectionLimit(slots))
        return Session(endpoint, limit, self._process, patience, self._bastions)

    def spare_session(self, endpoint: Endpoint) -> Session | None:
        """One more session of a server that is in use, if a connection may be opened without waiting for another host's."""
        limit = self._limits[endpoint.key]
        if not limit.has_room or not self._process.has_room:
            return None
        return Session(endpoint, limit, self._process, 0, self._bastions)

    def exclusive_use(self, endpoint: Endpoint) -> Semaphore:
        """For what one connection at a time may do to this server: `with exclusive_use(...)`, outside a transaction."""
        return self._exclusive[endpoint.key]

    def lock_queue(self, server: Server, database: str, key: int) -> LockQueue:
        """Where hosts of this run queue for the advisory lock `key` of a database, by whatever name each reaches the server."""
        return self._queues[server.system, server.started, database, key]

    def close(self) -> None:
        """After the last session. Safe twice."""
        self._bastions.close()
