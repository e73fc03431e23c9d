"""The database of a `@postgres` host: its connection, opened when needed, and the answers of its commands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypedDict

from gevent.lock import Semaphore
from pyinfra import logger
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.output import echo
from pyinfra.api.state import State
from pyinfra.connectors.base import DataMeta
from pyinfra.connectors.util import CommandOutput, OutputLine

from deploy import settings
from deploy.connection import conninfo, timeouts
from deploy.connection.connect_errors import explain
from deploy.connection.connections import Connections
from deploy.connection.endpoint import Endpoint
from deploy.connection.lock_queue import LockQueue
from deploy.connection.message import Answer, File, Fragment, Message
from deploy.connection.server import Server
from deploy.connection.session import Session
from deploy.connectors import watch
from deploy.errors import SqlError
from deploy.report.run import Run
from deploy.settings import Settings
from deploy.statements import statement
from deploy.text import one_line

OLDEST_SERVER = 130000

_ANSWER_TIMEOUT = 10.0
"""Seconds to wait for what a server says of itself or of its databases."""

_LISTING_WAIT = 60.0
"""Seconds to wait for a connection of a server that has none free, to list it; the hosts' own `lock_wait` is not known yet."""

_ALWAYS_PASSED: Mapping[str, Sequence[Any]] = {
    "_shell_executable": ("sh",),
    "_success_exit_codes": ([0],),
    "_timeout": (),
    "_retries": (),
    "_retry_delay": (),
    "_retry_until": (),
}
"""Arguments that pyinfra always passes, with their defaults; () where any value is fine because we or pyinfra honour it."""

PostgresData = TypedDict("PostgresData", dict.fromkeys(settings.CONNECTION_KEYS, Any), total=False)  # type: ignore[misc]
"""The data keys of the connector for pyinfra; their types are checked by deploy.settings, in our own words."""

DATA_META = {key: DataMeta(sentence) for key, sentence in settings.CONNECTION_KEYS.items()}


@dataclass(frozen=True)
class Listing:
    """The databases of a server that take connections, or why they can't be listed; `left_out` has why one takes none of ours."""

    databases: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None


class Database:
    """What a `@postgres` host does. Raises RunRefused when its data is not usable."""

    def __init__(self, state: State, host: Host) -> None:
        self.host = host
        self._connections = Run.attach(state).connections
        self._host_run = Run.current(host)
        self.endpoint = conninfo.endpoint(host.name.removeprefix("@postgres/"), self._host_run.data_settings)
        for key in self.endpoint.exposed:
            what, places = ("a password", ".pgpass, PGPASSWORD or ") if key == "password" else (key, "")
            shown = "where `debug-inventory` shows it; put it into"
            logger.warning(f"{one_line(host.name)}: {what} is in the inventory, {shown} {places}the service file")
        self._host_run.passwords = self.endpoint.secrets
        self._session: Session | None = None
        self._set_up_for: int | None = None
        """The login whose session has the settings for commands of others."""

    def connect(self) -> None:
        """Open a connection, which proves the login. Raises ConnectError with one sentence."""
        try:
            session = self._open()
        except Exception as error:
            raise ConnectError(self.shown_line(str(explain(error, self.endpoint)))) from None
        version = session.server_version
        if version < OLDEST_SERVER:
            self.disconnect()
            raise ConnectError(
                f"{one_line(session.label)}: server version {version // 10000} is older than {OLDEST_SERVER // 10000}, "
                "the oldest that is supported; upgrade PostgreSQL"
            )
        session.release()

    def disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    @property
    def login_pid(self) -> int | None:
        """The process id that the connection was given at its login; a pooler in between gives one of its own invention."""
        return self._session.login_pid if self._session is not None else None

    def exclusive_use(self) -> Semaphore:
        """What one host of this server may do at a time: `with database.exclusive_use()`. Hold no transaction before."""
        return self._connections.exclusive_use(self.endpoint)

    def lock_queue(self, server: Server, database: str, key: int) -> LockQueue:
        """Where hosts of this run queue for one advisory lock."""
        return self._connections.lock_queue(server, database, key)

    def run(
        self, command: StringCommand | str, print_output: bool, print_input: bool, arguments: Mapping[str, Any]
    ) -> tuple[bool, CommandOutput]:
        """Run SQL. An error or a refusal becomes a failed command, or for a `Message` an answer that says so."""
        if print_input:
            self._echo(f">>> {command.get_raw_value() if isinstance(command, Message) else command}")
        notices: list[str] = []
        if refused := [key for key, value in arguments.items() if not _is_supported(key, value)]:
            verb = "is" if len(refused) == 1 else "are"
            reason = f"{', '.join(refused)} {verb} not supported on a @postgres host; remove it from the command or the data"
            answer = Answer(error=SqlError(reason, kind="unsupported"))
        elif isinstance(command, Message):
            answer, notices = self._run_message(command, self._timeout(arguments))
        else:
            sql = command.get_raw_value() if isinstance(command, StringCommand) else command
            answer, notices = self._answer([Fragment(sql)], self._timeout(arguments), keep_session=False, repeatable=False)
            if answer.error is not None and str(command) != sql:  # then the offending line may hold what pyinfra masks
                answer = Answer(error=replace(answer.error, text=None))
        stderr = [self.shown_line(notice) for notice in notices]
        if answer.error is not None and not isinstance(command, Message):
            return self._finish(False, [*stderr, *map(one_line, answer.error.lines())], print_output)
        return self._finish(True, stderr, print_output, json.dumps(answer.to_json(), ensure_ascii=False))

    def shown_line(self, text: str) -> str:
        """What a server or ssh says, as a line that may be seen."""
        return one_line(self._host_run.shown(text))

    def refuse_file(self) -> bool:
        self._host_run.log_error("a @postgres host has no files: put_file and get_file do not apply")
        return False

    def other_hosts(self) -> dict[str, Server]:
        """Of several hosts in a connection string those that were not reached, as far as they answer, by host and port."""
        answered = {}
        for endpoint in self.endpoint.alternatives:
            if self._session is not None and endpoint.label == self._session.label:
                continue
            answer = self._query_once(endpoint)
            if answer.error is None:
                answered[endpoint.label] = Server.of(answer)
            else:
                self._host_run.log(f"not known whether it takes writes too: {answer.error.summary}")
        return answered

    def _query_once(self, endpoint: Endpoint) -> Answer:
        """What another server says of itself, on a connection that is closed again."""
        session = self._new_session(endpoint)
        try:
            session.open()
            return session.run([Fragment(statement("session/other_server.sql.j2"))], _ANSWER_TIMEOUT)[0]
        except Exception as error:
            return Answer(error=SqlError(str(explain(error, endpoint))))
        finally:
            session.close()

    def _open(self) -> Session:
        if self._session is None:
            self._session = self._new_session(self.endpoint)
        before = self._session.label
        self._session.open()
        if self._session.label != before:
            self._host_run.log(f"reached {self._session.label} of {self.endpoint.label}")
        return self._session

    def _new_session(self, endpoint: Endpoint) -> Session:
        values = self._host_run.settings
        return self._connections.session(endpoint, values.max_connections_per_server, values.lock_wait / 1000)

    def _timeout(self, arguments: Mapping[str, Any]) -> float | None:
        """pyinfra's `_timeout` in seconds, also for what an operation sends by itself, where pyinfra passes no arguments."""
        of_operation: Mapping[str, Any] = self.host.current_op_global_arguments or {}
        return arguments.get("_timeout") or of_operation.get("_timeout") or None

    def _run_message(self, message: Message, timeout: float | None) -> tuple[Answer, list[str]]:
        if timeout is None:
            timeout = timeouts.message_timeout(message, self._host_run.settings.statement_timeout)
        file = next((part for part in message.parts if isinstance(part, File)), None)
        if file is None:
            return self._answer(message.parts, timeout, keep_session=message.keep_session, repeatable=True)
        spare = partial(self._connections.spare_session, self.endpoint)
        with watch.waits(file.name or "", self.login_pid, spare, self._host_run.log):
            return self._answer(message.parts, timeout, keep_session=message.keep_session, repeatable=True)

    def _answer(
        self, parts: Sequence[Fragment], timeout: float | None, *, keep_session: bool, repeatable: bool
    ) -> tuple[Answer, list[str]]:
        try:
            session = self._open()
        except Exception as error:
            return Answer(error=SqlError(str(explain(error, self.endpoint))).without(self._host_run.secrets)), []
        try:
            if repeatable:
                self._set_up_for = None  # what is ours ends with a RESET ALL
            elif (failed := self._set_up(session, timeout)) is not None:
                return failed, []
            answer, notices = session.run(parts, timeout, keep_session=keep_session, repeatable=repeatable)
            if answer.error is not None:
                answer = Answer(answer.rows, answer.error.without(self._host_run.secrets))
            return answer, notices
        except TimeoutError:
            raise  # pyinfra's, around a whole purge
        except Exception as error:  # pyinfra would end the run for all hosts
            return Answer(error=SqlError(f"internal error, please report it: {type(error).__name__}", kind="internal")), []

    def _set_up(self, session: Session, timeout: float | None) -> Answer | None:
        """Before commands of others, once: their settings, which are not in the startup packet. An answer only if it failed."""
        if self._set_up_for == session.login_pid:
            return None
        values = self._host_run.settings
        times = {"lock_timeout": values.lock_timeout, "statement_timeout": values.statement_timeout}
        sql = statement("session/commands.sql.j2", pid=session.login_pid, **times)
        answer, _ = session.run([Fragment(sql)], timeout, keep_session=True)
        self._set_up_for = session.login_pid
        return answer if answer.error is not None else None

    def _finish(self, status: bool, stderr: list[str], print_output: bool, stdout: str | None = None) -> tuple[bool, CommandOutput]:
        lines = [OutputLine("stderr", line) for line in stderr]
        if stdout is not None:
            lines.append(OutputLine("stdout", stdout))
        if print_output:
            for line in lines:
                self._echo(line.line)
        return status, CommandOutput(lines)

    def _echo(self, text: str) -> None:
        for line in self._host_run.secrets.mask(text).splitlines():
            echo(f"{self.host.print_prefix}{one_line(line.expandtabs())}", err=True)


def list_databases(service: str) -> Listing:
    """Ask the server of a service, on a connection that is closed again."""
    endpoint = conninfo.endpoint(service, Settings(postgres_service=service))
    if endpoint.dbname is None:
        endpoint = conninfo.endpoint(service, Settings(postgres_service=service, postgres_dbname="postgres"))
    session = Connections().session(endpoint, 1, _LISTING_WAIT)
    try:
        session.open()
        answer, _ = session.run([Fragment(statement("session/databases.sql.j2"))], _ANSWER_TIMEOUT)
    except Exception as error:
        return Listing(problem=str(explain(error, endpoint)))
    finally:
        session.close()
    if answer.error is not None:
        return Listing(problem=f"can't list the databases of service {service!r}: {answer.error.summary}")
    left_out = {row["datname"]: row["obstacle"] for row in answer.rows if row["obstacle"] is not None}
    return Listing(tuple(row["datname"] for row in answer.rows if row["datname"] not in left_out), left_out)


def _is_supported(key: str, value: Any) -> bool:
    if not value:
        return True
    allowed = _ALWAYS_PASSED.get(key)
    return allowed is not None and (allowed == () or value in allowed)
