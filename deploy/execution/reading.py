"""Transactions that leave nothing behind: a snapshot that is read, and a scratch that is rolled back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from deploy.connection.message import Answer, Fragment, Message
from deploy.execution.conversation import Steps
from deploy.statements import statement

_SNAPSHOT = "TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SCRATCH = "TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE"
"""READ WRITE: a role may default to read only, which forbids temporary tables too."""
_COMMIT = "COMMIT;\n"
_ROLLBACK = "ROLLBACK;\n"

T = TypeVar("T")


def rolled_back(settings: str, sql: str, attempt: Callable[[Answer], Steps[T]], *, statement_timeout: int) -> Steps[T]:
    """What `attempt` gives, in a transaction that leaves nothing behind; `sql` goes before it, in the message that begins.

    The attempt sees errors in answers; after one the connection has rolled back already.
    """
    message = Message(_begin(settings, _SCRATCH), sql, statement_timeout=statement_timeout)
    yield message
    steps = attempt(message.answer)
    try:
        while True:
            message = next(steps)
            yield message
    except StopIteration as done:
        result: T = done.value
    except Exception:
        yield Message(_ROLLBACK)
        raise
    if message.answer.error is None:
        yield Message(_ROLLBACK)
    return result


def snapshot(settings: str, *queries: Fragment | str) -> Message:
    """Queries in one snapshot and one message, a whole transaction that only reads; `settings` are its SET LOCAL statements."""
    return Message(_begin(settings, _SNAPSHOT), *queries, _COMMIT)


def _begin(settings: str, mode: str) -> str:
    """A database may set how its catalogs are spelt; what is read is to be the same everywhere."""
    pinned = settings + statement("session/spelling.sql.j2")
    return statement("transaction/begin.sql.j2", mode=mode, settings=pinned, owner=None)
