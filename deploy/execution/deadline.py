"""How long what is busy is tried again, and how often."""

from __future__ import annotations

import time

_POLL = 0.2
"""Seconds between two attempts to take the lock, or to get at a busy table."""


class Deadline:
    """How long what is busy is tried again: for `milliseconds` from now on, every `poll` seconds."""

    def __init__(self, milliseconds: int, poll: float = _POLL) -> None:
        self._end, self._poll = time.monotonic() + milliseconds / 1000, poll

    @property
    def passed(self) -> bool:
        return time.monotonic() > self._end

    def pause(self) -> None:
        time.sleep(self._poll)

    def extend(self, seconds: float) -> None:
        """What was no waiting does not count."""
        self._end += max(0.0, seconds)
