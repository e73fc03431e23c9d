"""How many connections to one server are open at once.

pyinfra connects all hosts before it does anything and keeps them to the end; 500 databases on one server would exhaust it.
Here each open connection holds a slot of its server. A connection that is idle, outside a transaction, gives its slot up when
another host waits for one, and its host opens a new connection when it needs one again. A server that has no connection free
for us is waited for; how long it has been so is the same for all its hosts, so that many of them don't wait one after another.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable

from gevent.event import Event


class ConnectionLimit:
    """The slots of one server. `holder` is whoever holds a connection; a holder is parked while it is idle."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._parked: dict[Hashable, Callable[[], None]] = {}
        self._waiting: deque[Event] = deque()
        self._refused: tuple[float, float] | None = None

    def take(self, holder: Hashable) -> None:
        """Before a connection is opened: waits until there is a slot for it."""
        if self._free:
            self._free -= 1
        elif self._parked:
            close = self._parked.pop(next(iter(self._parked)))
            close()
        else:
            turn = Event()
            self._waiting.append(turn)
            turn.wait()

    def resume(self, holder: Hashable) -> bool:
        """Before a connection is used again. Whether it was parked."""
        return self._parked.pop(holder, None) is not None

    def park(self, holder: Hashable, close: Callable[[], None]) -> None:
        """After use: the connection stays open until someone needs its slot; `close` must not block."""
        if self._waiting:
            close()
            self._waiting.popleft().set()
        else:
            self._parked[holder] = close

    def give_back(self, holder: Hashable) -> None:
        """After the connection was closed."""
        self._parked.pop(holder, None)
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._free += 1

    def shed(self) -> None:
        """Close every idle connection, because the server has none free for the one that is needed."""
        parked, self._parked = self._parked, {}
        for holder, close in parked.items():
            close()
            self.give_back(holder)

    def refused(self) -> float:
        """The server said that it has no connection free: seconds for which it has been saying so."""
        now = time.monotonic()
        first, last = self._refused or (now, now)
        self._refused = (first if now - last < _PAUSE else now, now)
        return now - self._refused[0]

    def accepted(self) -> None:
        """The server opened a connection."""
        self._refused = None


_PAUSE = 10.0
"""Seconds without a refusal after which the next one is the first of a new row."""
