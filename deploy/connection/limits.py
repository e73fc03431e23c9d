"""How many connections are open at once: to one server, and by this process.

pyinfra connects all hosts before it does anything and keeps them to the end; 500 databases on one server would exhaust it, and
500 servers the files that a process may open. Here each open connection holds a slot of its server and one of the process. A
connection that is idle, outside a transaction, gives them up when another host waits for one, and its host opens a new connection
when it needs one again.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections import deque
from collections.abc import Callable, Hashable

from gevent.event import Event

_SPARE_FILES = 64
"""Open files that a process needs beside its connections: its own, gevent's, those of ssh, of reports and of look-ups of names."""

_MOST_FILES = 65536
"""More is not asked for where the system sets no limit."""


def process_slots() -> int:
    """How many connections this process can have open; its soft limit of open files is raised to the hard one for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(1, (wanted if soft == resource.RLIM_INFINITY else soft) - _SPARE_FILES)


class ConnectionLimit:
    """The slots of one server, or of the process. `holder` is whoever holds a connection."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._idle: dict[Hashable, Callable[[], None]] = {}
        self._waiting: deque[Event] = deque()
        self.full = FullServer()

    @property
    def has_room(self) -> bool:
        """Whether `acquire` would not wait."""
        return bool(self._free or self._idle)

    def acquire(self, holder: Hashable) -> None:
        """Before a connection is opened: waits until there is a slot for it."""
        if self._free:
            self._free -= 1
        elif self._idle:
            close = self._idle.pop(next(iter(self._idle)))
            close()
        else:
            slot = Event()
            self._waiting.append(slot)
            slot.wait()

    def reuse(self, holder: Hashable) -> bool:
        """Before a connection is used again. Whether it was idle."""
        return self._idle.pop(holder, None) is not None

    def release_idle(self, holder: Hashable, close: Callable[[], None]) -> None:
        """After use: the connection stays open until someone needs its slot; `close` must not block."""
        if self._waiting:
            close()
            self._waiting.popleft().set()
        else:
            self._idle[holder] = close

    def release(self, holder: Hashable) -> None:
        """After the connection was closed."""
        self._idle.pop(holder, None)
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._free += 1

    def close_idle(self) -> None:
        """Close every idle connection, because the server has none free for the one that is needed."""
        idle, self._idle = self._idle, {}
        for holder, close in idle.items():
            close()
            self.release(holder)


class FullServer:
    """Since when a server has no connection free for us: all its hosts share that wait, and don't wait one after another."""

    _PAUSE = 10.0
    """Seconds without a refusal after which the next one begins a new wait."""

    def __init__(self) -> None:
        self._refused: tuple[float, float] | None = None

    def seconds_without_a_slot(self) -> float:
        """After the server has refused a connection: seconds for which it has been doing so."""
        now = time.monotonic()
        first, last = self._refused or (now, now)
        self._refused = (first if now - last < self._PAUSE else now, now)
        return now - self._refused[0]

    def accepted(self) -> None:
        """The server has opened a connection."""
        self._refused = None
