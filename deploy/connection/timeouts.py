"""How long the answer to a message is waited for. Nothing else decides it.

The server ends each statement of ours by its `statement_timeout`. When it had that long for all that a message holds, and some
seconds more, it is given up: a server that says nothing holds no run. pyinfra's `_timeout` goes before that. Without either (a
`-- no-transaction` file, a `statement_timeout` of 0, SQL of `exec`) a message may take for ever, but only on a server that still
lets others in: that is what a Watch looks at. TCP keepalives (deploy.conninfo) end the wait when a machine or the network is gone;
for a process that is stopped or a container that is paused the kernel goes on answering them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from deploy.connection.message import File, Message

GRACE = 10.0
"""Seconds beyond what the server was given."""

_EVERY = 10.0
"""Seconds between two looks at a server that takes its time."""

_REFUSALS = 3
"""So many attempts in a row must get no answer: a server may be busy, but not for three times `connect_timeout`."""


class NoAnswer(Exception):
    """The server is not waited for any longer; the argument ends the sentence `no answer from SERVER`."""


Check = Callable[[], None]
"""Called ten times a second while a message is waited for; raises NoAnswer."""


def seconds(script: Message, statement_timeout: int) -> float | None:
    """How long to wait for the answer on a host with this `statement_timeout` in milliseconds; None: see Watch.

    A file has at most one statement more than semicolons. Other messages of ours are as quick as a single statement may be slow.
    """
    allowed = statement_timeout if script.statement_timeout is None else script.statement_timeout
    statements = sum(part.sql.count(";") + 1 for part in script.parts if isinstance(part, File))
    return allowed / 1000 * max(1, statements) + GRACE if allowed else None


def until(seconds: float) -> Check:
    """Gives up after so many seconds."""
    deadline = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > deadline:
            raise NoAnswer(f"within {seconds:g} s")

    return check


class Watch:
    """Gives a server up that lets nobody in. `knock` opens a connection more and closes it; False when nothing answered."""

    def __init__(self, knock: Callable[[], bool]) -> None:
        self._knock = knock
        self._next = time.monotonic() + _EVERY
        self._refusals = 0

    def __call__(self) -> None:
        if time.monotonic() < self._next:
            return
        if self._knock():
            self._refusals = 0
            self._next = time.monotonic() + _EVERY
            return
        self._refusals += 1
        if self._refusals == _REFUSALS:
            raise NoAnswer("any more, which takes no new connection either")
