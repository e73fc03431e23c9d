"""One host's connection: opened when needed, given up when idle, its rows and errors as values. Used by the connector alone."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from deploy.connection import limits, results, timeouts, tunnel
from deploy.connection.connect_errors import FULL
from deploy.connection.conninfo import Endpoint
from deploy.connection.driver import Connection
from deploy.connection.message import Answer, Fragment, locate
from deploy.connection.timeouts import NoAnswer
from deploy.errors import SqlError

_CANCEL_TIMEOUT = 3.0
"""Seconds to wait until the server has taken a cancel request."""

_FULL_POLL = 0.5
"""Seconds between two attempts to get a connection of a server that has none free."""


class Session:
    """The connection of one host, at most one at a time.

    `limit` bounds the open ones of its server (None: this one doesn't count). For `patience` seconds a server that has no
    connection free is asked again.
    """

    def __init__(self, endpoint: Endpoint, limit: limits.ConnectionLimit | None, patience: float = 0) -> None:
        self.endpoint = endpoint
        self._slots = limit or limits.ConnectionLimit(1)
        self._kind = Connection.through(endpoint.bastion)
        self._patience = patience
        self._connection: Connection | None = None
        self._notices: list[str] = []
        self.login_pid: int | None = None
        self.label = endpoint.label
        """For messages: of several hosts the one that was reached."""

    def open(self) -> None:
        """Open the connection unless it is open. Raises psycopg.Error, OSError or UnicodeError."""
        if self._connection is not None:
            if not self._slots.resume(self) or not _gone(self._connection):
                return
            self.close()
        self._slots.take(self)
        try:
            self._connection = self._wait_for_connection()
        except BaseException:
            self._slots.give_back(self)
            raise
        self.login_pid = self._connection.info.backend_pid
        if self.endpoint.choices:
            self.label = self.endpoint.named(*self._connection.reached)
        self._connection.add_notice_handler(lambda notice: self._notices.append(f"{notice.severity}: {notice.message_primary}"))

    def _wait_for_connection(self) -> Connection:
        while True:
            try:
                connection = self._connect()
            except psycopg.OperationalError as error:
                if not any(words in str(error) for words in FULL) or self._slots.refused() >= self._patience:
                    raise
            else:
                self._slots.accepted()
                return connection
            self._slots.shed()
            time.sleep(_FULL_POLL)

    def _connect(self) -> Connection:
        parameters = self.endpoint.parameters
        with tunnel.turn(self.endpoint.bastion):
            try:
                return self._kind.connect(make_conninfo(**parameters), autocommit=True)
            except psycopg.OperationalError as error:
                # PgBouncer refuses `options`; ours can be left out, because each transaction brings its settings along
                if "unsupported startup parameter: options" not in str(error) or self.endpoint.has_options:
                    raise
            return self._kind.connect(make_conninfo(**{k: v for k, v in parameters.items() if k != "options"}), autocommit=True)

    @property
    def server_version(self) -> int:
        """As `server_version_num`, 150018 for 15.18. The connection must be open."""
        assert self._connection is not None
        return self._connection.info.server_version

    def park(self) -> None:
        """Leave the connection open, outside a transaction, until another host needs its slot."""
        self._slots.park(self, self._drop)

    def close(self) -> None:
        """Close the connection; the server rolls back what was open. Safe twice."""
        if self._connection is not None:
            self._drop()
            self._slots.give_back(self)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def run(
        self, parts: Sequence[Fragment], timeout: float | None, *, keep_session: bool = False, ours: bool = True
    ) -> tuple[Answer, list[str]]:
        """Send the joined parts as one message; give the answer and the server's notices. A failed command rolls back.

        After `timeout` in seconds, or without it when the server lets nobody in any more, the command is cancelled and the
        connection closed. With `keep_session` the connection is not given up afterwards, also outside a transaction. What is
        `ours` may be run again, whatever became of it.
        """
        connection = self._connection
        assert connection is not None
        self._notices = []
        connection.check = timeouts.Watch(self._knock) if timeout is None else timeouts.until(timeout)
        try:
            answer = Answer(rows=tuple(results.read(connection.execute("".join(part.sql for part in parts).encode()))))
        except NoAnswer as given_up:
            self._cancel(connection)
            lost = f"no answer from {self.label} {given_up}; the command was cancelled"
            answer = Answer(error=SqlError(f"{lost}; run it again when the server answers"))
        except UnicodeEncodeError:
            answer = Answer(error=SqlError("the SQL holds invalid Unicode, which Postgres refuses; write it without"))
            self._roll_back(connection)
        except psycopg.Error as error:
            answer = Answer(error=self._lost(connection, error, parts, ours) if connection.closed else _sql_error(error, parts))
            self._roll_back(connection)
        except BaseException:
            self.close()  # its slot too, for which other hosts may wait
            raise
        finally:
            connection.check = None
        if connection.closed:
            self.close()
        elif connection.info.transaction_status == pq.TransactionStatus.IDLE and not keep_session:
            self.park()
        return answer, self._notices

    def _knock(self) -> bool:
        """Whether the server lets one more in, or says why not."""
        try:
            self._connect().close()
        except psycopg.errors.ConnectionTimeout:
            return False
        except (psycopg.Error, OSError):
            pass
        return True

    def _lost(self, connection: Connection, error: psycopg.Error, parts: Sequence[Fragment], ours: bool) -> SqlError:
        reason = re.sub("^consuming input failed: | This probably means .*$", "", " ".join(str(error).split()))
        if error.diag.sqlstate is not None:
            reason = f"{error.diag.sqlstate}: {error.diag.severity}: {error.diag.message_primary}"
        advice = (
            "what was committed stays, run the command again" if ours else "look whether it was committed before you run it again"
        )
        return SqlError(f"connection to {self.label} lost: {connection.failure() or reason}; {advice}", **_file(parts))

    def _cancel(self, connection: Connection) -> None:
        connection.check = None
        try:
            with contextlib.suppress(psycopg.Error):  # a server that takes no cancel request sees the closed socket
                connection.cancel_safe(timeout=_CANCEL_TIMEOUT)
        finally:
            connection.close()

    def _roll_back(self, connection: Connection) -> None:
        if connection.closed or connection.info.transaction_status == pq.TransactionStatus.IDLE:
            return
        connection.check = timeouts.until(timeouts.GRACE)
        try:
            connection.rollback()
        except (psycopg.Error, NoAnswer):
            connection.close()


def _gone(connection: Connection) -> bool:
    """Whether the server closed an idle connection. Doesn't wait; the first read may find a farewell, the second the end."""
    try:
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return False


def _file(parts: Sequence[Fragment]) -> dict[str, Any]:
    named = {part.name for part in parts if part.name is not None}
    return {"name": named.pop()} if len(named) == 1 else {}


def _sql_error(error: psycopg.Error, parts: Sequence[Fragment]) -> SqlError:
    diag = error.diag
    if diag.sqlstate is None:
        reason = " ".join(str(error).split())
        if reason.startswith("COPY cannot"):  # psycopg's advice is for programmers
            reason = "COPY FROM STDIN and TO STDOUT have no data here; write INSERT instead"
        return SqlError(reason, **_file(parts))
    place = _file(parts)
    if diag.statement_position:
        name, line, column, text = locate(parts, int(diag.statement_position))
        place = {"name": name, "line": line, "column": column, "text": text}
    return SqlError(
        message=f"{diag.severity}: {diag.message_primary}",
        sqlstate=diag.sqlstate,
        detail=diag.message_detail,
        hint=diag.message_hint,
        context=diag.context,
        **place,
    )
