"""What the connections of one run share: the limit of each server, the queue for each lock, and the login to each bastion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

from gevent.lock import Semaphore

from deploy.connection.endpoint import Endpoint
from deploy.connection.limits import ConnectionLimit
from deploy.connection.lock_queue import LockQueue
from deploy.connection.server import Server
from deploy.connection.session import Session
from deploy.connection.ssh import Bastions


class Connections:
    """Made once for a run, and closed at its end."""

    def __init__(self) -> None:
        self._limits: dict[str, ConnectionLimit] = {}
        self._exclusive: dict[str, Semaphore] = defaultdict(Semaphore)
        self._queues: dict[Hashable, LockQueue] = defaultdict(LockQueue)
        self._bastions = Bastions()

    def session(self, endpoint: Endpoint, slots: int, patience: float) -> Session:
        """A session of this server, with at most so many open at once; what the first caller says holds for the run.

        For `patience` in seconds a server that has no connection free is asked again.
        """
        limit = self._limits.setdefault(endpoint.key, ConnectionLimit(slots))
        return Session(endpoint, limit, patience, self._bastions)

    def exclusive_use(self, endpoint: Endpoint) -> Semaphore:
        """For what one connection at a time may do to this server: `with exclusive_use(...)`, outside a transaction."""
        return self._exclusive[endpoint.key]

    def lock_queue(self, server: Server, database: str, key: int) -> LockQueue:
        """Where hosts of this run queue for the advisory lock `key` of a database, by whatever name each reaches the server."""
        return self._queues[server.system, server.started, database, key]

    def close(self) -> None:
        """After the last session. Safe twice."""
        self._bastions.close()
