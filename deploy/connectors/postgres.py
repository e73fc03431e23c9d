"""The `@postgres` connector: commands are SQL. The only place that opens connections.

Every pyinfra run of an environment imports this module, also runs that have nothing to do with us: psycopg and pydantic are
imported when the first `@postgres` host appears.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pyinfra import logger
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError, InventoryError
from pyinfra.api.output import echo
from pyinfra.connectors.base import BaseConnector, ConnectorData, DataMeta
from pyinfra.connectors.util import CommandOutput, OutputLine

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

    from deploy.connection.connections import Connections
    from deploy.connection.endpoint import Endpoint
    from deploy.connection.message import Answer
    from deploy.connection.server import Server
    from deploy.connection.session import Session

OLDEST_SERVER = 130000

_ANSWER_TIMEOUT = 10.0
"""Seconds to wait for what a server says of itself or of its catalogs."""

_ALWAYS_PASSED: dict[str, tuple[Any, ...]] = {
    "_shell_executable": ("sh",),
    "_success_exit_codes": ([0],),
    "_timeout": (),
    "_retries": (),
    "_retry_delay": (),
    "_retry_until": (),
}
"""Arguments that pyinfra always passes, with their defaults; () where any value is fine because we or pyinfra honour it."""


class PostgresData(ConnectorData, total=False):
    """The documented data keys; their types are checked by deploy.settings, in our own words."""

    postgres_conninfo: Any
    postgres_service: Any
    postgres_host: Any
    postgres_port: Any
    postgres_dbname: Any
    postgres_user: Any
    postgres_password: Any
    postgres_sslmode: Any
    postgres_sslrootcert: Any
    postgres_ssh: Any
    postgres_ssh_key: Any


class PostgresConnector(BaseConnector):
    """One database of one Postgres server.

    `@postgres/NAME` takes its connection from the host data `postgres_*`, else NAME is `HOST[:PORT][/DBNAME]`. Facts are
    queries, operations yield statements, `exec` runs SQL. Each command is sent as one simple-protocol message and answered
    by one JSON document: a list of the rows of all its statements, each an object.
    """

    handles_execution = True
    data_cls = PostgresData
    data_meta: dict[str, DataMeta] = {key: DataMeta(f"see README: {key}") for key in PostgresData.__annotations__}  # noqa: RUF012 (the base class says so)

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        if not name:
            raise InventoryError("@postgres needs a name: @postgres/HOST[:PORT][/DBNAME] or @postgres/NAME with host data")
        yield f"@postgres/{name}", {}, ["@postgres"]

    def __init__(self, state: State, host: Host) -> None:
        super().__init__(state, host)
        from deploy import settings
        from deploy.connection import conninfo
        from deploy.connectors import prompts
        from deploy.report import run

        prompts.prepare(state)
        run.begin(state)
        self.settings = settings.read(host.name, host.data.dict())
        self.endpoint = conninfo.endpoint(host.name.removeprefix("@postgres/"), self.settings)
        for key in self.endpoint.exposed:
            what, places = ("a password", ".pgpass, PGPASSWORD or ") if key == "password" else (key, "")
            logger.warning(
                f"{host.name}: {what} is in the inventory, where `debug-inventory` shows it; put it into {places}the service file"
            )
        self._session: Session | None = None

    def connect(self) -> None:
        """Open a connection, which proves the login. Raises ConnectError with one sentence."""
        try:
            session = self._open()
        except Exception as error:
            from deploy.connection.connect_errors import explain

            raise ConnectError(str(explain(error, self.endpoint))) from None
        version = session.server_version
        if version < OLDEST_SERVER:
            self.disconnect()
            raise ConnectError(
                f"{session.label}: server version {version // 10000} is older than {OLDEST_SERVER // 10000}, "
                "the oldest that is supported; upgrade PostgreSQL"
            )
        session.release()

    def disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def run_shell_command(
        self,
        command: StringCommand | str,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> tuple[bool, CommandOutput]:
        """Run SQL. An error or a refusal becomes a failed command, or for a `Message` an answer that says so."""
        from deploy.connection import timeouts
        from deploy.connection.message import Answer, Fragment, Message
        from deploy.errors import SqlError

        script = command if isinstance(command, Message) else None
        if print_input:
            self._echo(f">>> {command}")
        if script is not None:
            parts = script.parts
        else:
            parts = (Fragment(command.get_raw_value() if isinstance(command, StringCommand) else command),)
        timeout = self._timeout(arguments)
        if timeout is None and script is not None:
            timeout = timeouts.message_timeout(script, self.settings.statement_timeout)
        notices: list[str] = []
        if refused := [key for key, value in arguments.items() if not _is_supported(key, value)]:
            reason = f"{', '.join(refused)}: makes no sense for SQL on a @postgres host; remove it from the command or the data"
            answer = Answer(error=SqlError(reason))
        else:
            answer, notices = self._run(
                parts, timeout, keep_session=script is not None and script.keep_session, repeatable=script is not None
            )
        if answer.error is not None and script is None:
            masked = str(command) != parts[0].sql  # then the offending line may hold what pyinfra hides
            error = replace(answer.error, text=None) if masked else answer.error
            return self._finish(False, [*notices, *error.lines()], print_output)
        return self._finish(True, notices, print_output, json.dumps(answer.to_json(), ensure_ascii=False))

    def _timeout(self, arguments: Mapping[str, Any]) -> float | None:
        """pyinfra's `_timeout` in seconds, also for what an operation sends by itself, where pyinfra passes no arguments."""
        of_operation: Mapping[str, Any] = self.host.current_op_global_arguments or {}
        return arguments.get("_timeout") or of_operation.get("_timeout") or None

    def put_file(self, *args: Any, **kwargs: Any) -> bool:
        return self._no_files()

    def get_file(self, *args: Any, **kwargs: Any) -> bool:
        return self._no_files()

    def _no_files(self) -> bool:
        self.host.log_styled("a @postgres host has no files: put_file and get_file do not apply", fg="red", log_func=logger.error)
        return False

    def _open(self) -> Session:
        if self._session is None:
            self._session = self._new_session(self.endpoint)
        before = self._session.label
        self._session.open()
        if self._session.label != before:
            self.host.log(f"reached {self._session.label} of {self.endpoint.label}")
        return self._session

    def _new_session(self, endpoint: Endpoint) -> Session:
        return connections(self.host).session(endpoint, self.settings.max_connections_per_server, self.settings.lock_wait / 1000)

    def others(self) -> dict[str, Server]:
        """Of several hosts in a connection string those that were not reached, as far as they answer, by host and port."""
        from deploy.connection.server import Server

        answered = {}
        for endpoint in self.endpoint.alternatives:
            if self._session is not None and endpoint.label == self._session.label:
                continue
            answer = self._ask(endpoint)
            if answer.error is None:
                answered[endpoint.label] = Server.of(answer)
            else:
                self.host.log(f"not known whether it takes writes too: {answer.error.summary}")
        return answered

    def _ask(self, endpoint: Endpoint) -> Answer:
        """What another server says of itself, on a connection that is closed again."""
        from deploy.connection.connect_errors import explain
        from deploy.connection.message import Answer, Fragment
        from deploy.errors import SqlError
        from deploy.statements import statement

        session = self._new_session(endpoint)
        try:
            session.open()
            return session.run([Fragment(statement("session/server.sql.j2"))], _ANSWER_TIMEOUT)[0]
        except Exception as error:
            return Answer(error=SqlError(str(explain(error, endpoint))))
        finally:
            session.close()

    @property
    def login_pid(self) -> int | None:
        """The process id that the connection was given at its login; a pooler in between gives one of its own invention."""
        return self._session.login_pid if self._session is not None else None

    def _run(self, parts: Any, timeout: float | None, *, keep_session: bool, repeatable: bool) -> tuple[Any, list[str]]:
        from deploy.connection.connect_errors import explain
        from deploy.connection.message import Answer
        from deploy.errors import SqlError

        try:
            session = self._open()
        except Exception as error:
            return Answer(error=SqlError(str(explain(error, self.endpoint)))), []
        try:
            answer, notices = session.run(parts, timeout, keep_session=keep_session, repeatable=repeatable)
        except TimeoutError:
            raise  # pyinfra's, around a whole purge
        except Exception as error:  # pyinfra would end the run for all hosts
            return Answer(error=SqlError(f"internal error, please report it: {type(error).__name__}")), []
        return answer, notices

    def _finish(self, status: bool, stderr: list[str], print_output: bool, stdout: str | None = None) -> tuple[bool, CommandOutput]:
        lines = [OutputLine("stderr", line) for line in stderr]
        if stdout is not None:
            lines.append(OutputLine("stdout", stdout))
        if print_output:
            for line in lines:
                self._echo(line.line)
        return status, CommandOutput(lines)

    def _echo(self, text: str) -> None:
        for line in text.splitlines():
            echo(f"{self.host.print_prefix}{line}", err=True)


_connections: WeakKeyDictionary[State, Connections] = WeakKeyDictionary()


def connections(host: Host) -> Connections:
    """What the connections of the host's run share."""
    from deploy.connection.connections import Connections

    if host.state not in _connections:
        _connections[host.state] = Connections()
    return _connections[host.state]


def _is_supported(key: str, value: Any) -> bool:
    if not value:
        return True
    allowed = _ALWAYS_PASSED.get(key)
    return allowed is not None and (allowed == () or value in allowed)
