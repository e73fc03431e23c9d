"""Hosts of one run that need the same advisory lock, one after another: a run never waits for itself on a server.

Hosts may be schemas of one database, and an advisory lock is the database's. They queue here, before they ask the server for it,
so that the server's lock is waited for only while somebody else holds it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.lock import Semaphore

from deploy.errors import HostFailed


class LockQueue:
    """The queue for one lock of one database."""

    def __init__(self) -> None:
        self._next = Semaphore()
        self._blocked = (0.0, 0.0)
        """From when to when somebody outside the run was last found to hold the lock, in monotonic seconds."""

    @contextmanager
    def turn(self) -> Iterator[int]:
        """Waits for those before; gives the milliseconds of that in which somebody outside the run had the lock."""
        joined = time.monotonic()
        with self._next:
            began = time.monotonic()
            since, until = self._blocked
            waited = max(0.0, until - max(since, joined))
            try:
                yield round(waited * 1000)
            except HostFailed as failed:
                if failed.problem.kind == "lock":
                    self._blocked = (since if waited else began, time.monotonic())
                raise
