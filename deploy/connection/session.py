"""One host's connection: opened when needed, given up when idle, its rows and errors as values."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import psycopg
from psycopg import pq

from deploy.connection import driver, results, sql_errors
from deploy.connection.connect_errors import FULL
from deploy.connection.driver import Connection, NoAnswer
from deploy.connection.endpoint import Endpoint
from deploy.connection.limits import ConnectionLimit
from deploy.connection.message import Answer, Fragment
from deploy.connection.ssh import Bastions
from deploy.connection.timeouts import GRACE
from deploy.errors import SqlError

_CANCEL_TIMEOUT = 3.0
"""Seconds to wait until the server has taken a cancel request."""

_FULL_POLL = 0.5
"""Seconds between two attempts to get a connection of a server that has none free."""


class Session:
    """The connection of one host, at most one at a time, as `limit` has a slot for it.

    For `patience` in seconds a server that has no connection free is asked again.
    """

    def __init__(self, endpoint: Endpoint, limit: ConnectionLimit, patience: float, bastions: Bastions) -> None:
        self.endpoint = endpoint
        self._limit = limit
        self._patience = patience
        self._bastions = bastions
        self._connection: Connection | None = None
        self._notices: list[str] = []
        self.login_pid: int | None = None
        self.label = endpoint.label
        """For messages: of several hosts the one that was reached."""

    def open(self) -> None:
        """Open the connection unless it is open. Raises psycopg.Error, OSError or UnicodeError."""
        if self._connection is not None:
            if not self._limit.reuse(self) or not _is_closed_by_server(self._connection):
                return
            self.close()
        self._limit.acquire(self)
        try:
            self._connection = self._wait_for_connection()
        except BaseException:
            self._limit.release(self)
            raise
        self.login_pid = self._connection.info.backend_pid
        if self.endpoint.alternatives:
            self.label = self.endpoint.label_of(self._connection.address)
        self._connection.add_notice_handler(lambda notice: self._notices.append(f"{notice.severity}: {notice.message_primary}"))

    def _wait_for_connection(self) -> Connection:
        full = self._limit.full
        while True:
            try:
                connection = self._connect()
            except psycopg.OperationalError as error:
                if not any(words in str(error) for words in FULL) or full.seconds_without_a_slot() >= self._patience:
                    raise
            else:
                full.accepted()
                return connection
            self._limit.close_idle()
            time.sleep(_FULL_POLL)

    def _connect(self) -> Connection:
        parameters = self.endpoint.parameters
        try:
            return driver.connect(self.endpoint, parameters, self._bastions)
        except psycopg.OperationalError as error:
            # PgBouncer refuses `options`; ours can be left out, because each transaction brings its settings along
            if "unsupported startup parameter: options" not in str(error) or self.endpoint.has_options:
                raise
        return driver.connect(self.endpoint, {k: v for k, v in parameters.items() if k != "options"}, self._bastions)

    @property
    def server_version(self) -> int:
        """As `server_version_num`, 150018 for 15.18. The connection must be open."""
        assert self._connection is not None
        return self._connection.info.server_version

    def release(self) -> None:
        """Leave the connection open, outside a transaction, until another host needs its slot."""
        self._limit.release_idle(self, self._drop)

    def close(self) -> None:
        """Close the connection; the server rolls back what was open. Safe twice."""
        if self._connection is not None:
            self._drop()
            self._limit.release(self)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

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
        self._notices = []
        connection.set_deadline(timeout)
        try:
            answer = Answer(rows=tuple(results.read(connection.execute("".join(part.sql for part in fragments).encode()))))
        except NoAnswer as given_up:
            self._cancel(connection)
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
        if connection.closed:
            self.close()
        elif connection.info.transaction_status == pq.TransactionStatus.IDLE and not keep_session:
            self.release()
        return answer, self._notices

    def _cancel(self, connection: Connection) -> None:
        connection.set_deadline(None)
        try:
            with contextlib.suppress(psycopg.Error):  # a server that takes no cancel request sees the closed socket
                connection.cancel_safe(timeout=_CANCEL_TIMEOUT)
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
