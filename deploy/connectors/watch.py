"""While a file runs: whom it waits for, and who waits behind it. A wait for a lock is not silent, however long it may last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gevent

from deploy.connection.message import Fragment
from deploy.connection.session import Session
from deploy.statements import statement

_QUIET = 3.0
"""Seconds for which nothing is asked: most files are done by then."""

_POLL = 5.0
"""Seconds between two looks."""

_ANSWER_TIMEOUT = 3.0


@contextmanager
def waits(name: str, pid: int | None, spare: Callable[[], Session | None], log: Callable[[str], None]) -> Iterator[None]:
    """Around the message of the file `name` in session `pid`; `spare` gives a session to look from, if one may be opened.

    Behind a pooler the session has another process id, and nothing is seen.
    """
    if pid is None:
        yield
        return
    watcher = gevent.spawn(_watch, name, pid, spare, log)
    try:
        yield
    finally:
        watcher.kill()


def _watch(name: str, pid: int, spare: Callable[[], Session | None], log: Callable[[str], None]) -> None:
    said = ""
    gevent.sleep(_QUIET)
    while True:
        if (session := spare()) is not None and (now := _look(session, name, pid)) is not None and now != said:
            log(now)
            said = now
        gevent.sleep(_POLL)


def _look(session: Session, name: str, pid: int) -> str | None:
    try:
        session.open()
        answer, _ = session.run([Fragment(statement("session/waiting.sql.j2", pid=pid))], _ANSWER_TIMEOUT)
    except Exception:
        return None  # who can't look says nothing
    finally:
        session.close()
    if answer.error is not None or not answer.value("holders"):
        return None
    return sentence(name, answer.value("holders"), answer.value("behind"))


def sentence(name: str, holders: Sequence[Mapping[str, Any]], behind: int) -> str:
    """Whom a file waits for, and how many wait behind it."""
    whom = ", ".join(
        f"pid {one['pid']} (application {one['application'] or 'unknown'}, {one['state'] or 'unknown'}, "
        f"in a transaction since {one['since'] or 'unknown'})"
        for one in holders
    )
    queue = f"; {behind} session{'' if behind == 1 else 's'} wait{'s' if behind == 1 else ''} behind it" if behind else ""
    return f"{name}: waits for {whom}{queue}"
