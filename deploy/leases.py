"""How many connections to one server are open at once.

pyinfra connects all hosts before it does anything and keeps them to the end; 500 databases on one server would exhaust it.
Here each open connection holds a slot of its server. A connection that is idle, outside a transaction, gives its slot up when
another host waits for one, and its host opens a new connection when it needs one again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable

from gevent.event import Event
from gevent.lock import Semaphore


class Slots:
    """The slots of one server. `holder` is whoever holds a connection; a holder is parked while it is idle."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._parked: dict[Hashable, Callable[[], None]] = {}
        self._waiting: deque[Event] = deque()

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

    def resume(self, holder: Hashable) -> None:
        """Before a parked connection is used again."""
        self._parked.pop(holder, None)

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


_servers: dict[tuple[str, str], Slots] = {}


def slots(host: str, port: str, limit: int) -> Slots:
    """The slots of the server at `host` and `port`, the same for every caller of a run; the first caller's limit holds."""
    return _servers.setdefault((host, port), Slots(limit))


_turns: dict[tuple[str, str], Semaphore] = {}


def turn(host: str, port: str) -> Semaphore:
    """What one connection at a time may do to the server at `host` and `port`: `with turn(...)`. Hold no transaction before."""
    return _turns.setdefault((host, port), Semaphore())
