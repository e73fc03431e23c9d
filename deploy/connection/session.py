"""One host's connection: opened when needed, given up when idle, its rows and errors as values."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import generators, pq

from deploy.connection import driver, results, sql_errors
from deploy.connection.connect_errors import ServerFull
from deploy.connection.driver import Connection, NoAnswer
from deploy.connection.endpoint import Endpoint
from deploy.connection.limits import ConnectionLimit
from deploy.connection.message import Answer, Fragment
from deploy.connection.ssh import Bastions
from deploy.connection.timeouts import GRACE
from deploy.errors import SqlError

_CANCEL_TIMEOUT = 3.0
"""Seconds to wait until the server has taken a cancel request."""

_WAITS_FOR_STANDBY = "SyncRepWaitForLSN"
"""The server's function that waits, after a commit, until a synchronous standby has it. Cancelled, it warns; the commit stays."""

_FULL_POLL = 0.5
"""Seconds between two attempts to get a connection of a server that has none free."""


class Session:
    """The connection of one host, at most one at a time, as the server and the process have a slot for it.

    For `patience` in seconds a server that has no connection free is asked again.
    """

    def __init__(
        self, endpoint: Endpoint, server: ConnectionLimit, process: ConnectionLimit, patience: float, bastions: Bastions
    ) -> None:
        self.endpoint = endpoint
        self._server, self._process = server, process
        self._patience = patience
        self._bastions = bastions
        self._connection: Connection | None = None
        self._notices: list[str] = []
        self._unconfirmed: str | None = None
        """The server's warning that it has committed without the word of a synchronous standby."""
        self.login_pid: int | None = None
        self.label = endpoint.label
        """For messages: of several hosts the one that was reached."""

    def open(self) -> None:
        """Open the connection unless it is open. Raises psycopg.Error, OSError or UnicodeError."""
        if self._connection is not None:
            was_idle = self._server.reuse(self)
            self._process.reuse(self)
            if not was_idle or not _is_closed_by_server(self._connection):
                return
            self.close()
        self._server.acquire(self)
        try:
            self._process.acquire(self)
            try:
                self._connection = self._wait_for_connection()
            except BaseException:
                self._process.release(self)
                raise
        except BaseException:
            self._server.release(self)
            raise
        self.login_pid = self._connection.info.backend_pid
        if self.endpoint.alternatives:
            self.label = self.endpoint.label_of(self._connection.address)
        self._connection.add_notice_handler(self._notice)

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        text = f"{notice.severity}: {notice.message_primary}"
        self._notices.append(text)
        if notice.source_function == _WAITS_FOR_STANDBY:  # its words are in the server's language
            self._unconfirmed = text

    def _wait_for_connection(self) -> Connection:
        full = self._server.full
        while True:
            try:
                connection = driver.connect(self.endpoint, self.endpoint.parameters, self._bastions)
            except ServerFull:
                if full.seconds_without_a_slot() >= self._patience:
                    raise
            else:
                full.accepted()
                return connection
            self._server.close_idle()
            time.sleep(_FULL_POLL)

    @property
    def server_version(self) -> int:
        """As `server_version_num`, 150018 for 15.18. The connection must be open."""
        assert self._connection is not None
        return self._connection.info.server_version

    def release(self) -> None:
        """Leave the connection open, outside a transaction, until another host needs a slot of it."""
        self._server.release_idle(self, lambda: self._drop(self._process))
        if self._connection is not None:
            self._process.release_idle(self, lambda: self._drop(self._server))

    def close(self) -> None:
        """Close the connection; the server rolls back what was open. Safe twice."""
        if self._connection is not None:
            self._drop(self._server, self._process)

    def _drop(self, *limits: ConnectionLimit) -> None:
        """Close the connection, and give up the slots of it that nobody else has taken."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            for limit in limits:
                limit.release(self)

    def run(
        self, fragments: Sequence[Fragment], timeout: float | None, *, keep_session: bool = False, repeatable: bool = True
    ) -> tuple[Answer, list[str]]:
        """Send the joined fragments as one message; give the answer and the server's notices. A failed command rolls back.

        After `timeout` in seconds the command is cancelled and the connection closed; None: it may take as long as the
        connection lives. With `keep_session` the connection is not given up afterwards, also outside a transaction. What is
        `repeatable` may be run again, whatever became of it.
        """
        connection = self._connection
        assert connection is not None
        self._notices, self._unconfirmed = [], None
        connection.set_deadline(timeout)
        try:
            if connection.info.encoding != "utf-8":  # a file has changed it, and the server reads the whole message by it
                connection.execute(b"SET client_encoding = 'UTF8'")
            answer = Answer(rows=tuple(results.read(connection.execute("".join(part.sql for part in fragments).encode()))))
        except NoAnswer as given_up:
            if (rows := self._cancel(connection)) is not None:
                answer = Answer(rows)
            else:
                words = f"no answer from {self.label} {given_up}; the command was cancelled; run it again when the server answers"
                answer = Answer(error=SqlError(words))
        except UnicodeEncodeError:
            answer = Answer(
                error=SqlError("the SQL contains invalid Unicode, which Postgres refuses; write it without", kind="statement")
            )
            self._roll_back(connection)
        except psycopg.Error as error:
            if connection.closed:
                answer = Answer(error=sql_errors.lost(self.label, error, connection.ssh_failure(), fragments, repeatable))
            else:
                answer = Answer(error=sql_errors.of(error, fragments))
            self._roll_back(connection)
        except BaseException:
            self.close()  # its slot too, for which other hosts may wait
            raise
        finally:
            connection.set_deadline(None)
        if self._unconfirmed is not None:
            answer = Answer(answer.rows, sql_errors.unconfirmed(self._unconfirmed, fragments))
        if connection.closed:
            self.close()
        elif connection.info.transaction_status == pq.TransactionStatus.IDLE and not keep_session:
            self.release()
        return answer, self._notices

    def _cancel(self, connection: Connection) -> tuple[dict[str, Any], ...] | None:
        """Cancel the command, and close the connection; the rows of a command that came to its end all the same."""
        connection.set_deadline(None)
        try:
            with contextlib.suppress(psycopg.Error, NoAnswer):  # a server that takes no cancel request sees the closed socket
                connection.cancel_safe(timeout=_CANCEL_TIMEOUT)
                connection.set_deadline(_CANCEL_TIMEOUT)
                found = connection.wait(generators.fetch_many(connection.pgconn))
                if all(one.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK) for one in found):
                    return tuple(row for one in found for row in results.rows_of(one))
            return None
        finally:
            connection.close()

    def _roll_back(self, connection: Connection) -> None:
        if connection.closed or connection.info.transaction_status == pq.TransactionStatus.IDLE:
            return
        connection.set_deadline(GRACE)
        try:
            connection.rollback()
        except (psycopg.Error, NoAnswer):
            connection.close()


def _is_closed_by_server(connection: Connection) -> bool:
    """Doesn't wait. The first read may find the server's last message, the second the end of the stream."""
    try:
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return False
