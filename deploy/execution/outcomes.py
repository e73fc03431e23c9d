"""What an attempt gives at its end: how its transaction is to be ended. It does nothing of that itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deploy.execution.conversation import Steps


@dataclass(frozen=True)
class Commit:
    """Commit, with `sql` in the same message. `text` says what was done; an error of the COMMIT is reported under `file`."""

    text: str
    sql: str = ""
    file: str | None = None


@dataclass(frozen=True)
class CommitMarker:
    """Commit, with `sql` and `session_settings` in the same message, and keep the session with its lock for `rest`.

    `rest` runs outside of a transaction, records by `in_one_message` and gives the text.
    """

    sql: str
    session_settings: str
    rest: Callable[[], Steps[str]]


@dataclass(frozen=True)
class Skip:
    """Roll back: there is nothing to do. `text` says why."""

    text: str


@dataclass(frozen=True)
class Again:
    """Roll back and begin again a little later: something is busy."""
