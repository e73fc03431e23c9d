"""The inventory connector `@pgdatabases/SERVICE/PATTERN`: a host for each database of a server whose name matches.

The server is asked by one query, once a run. pyinfra gives an inventory connector the name only, so the connection of that
query is the service's alone: TLS settings belong into the service file, and a server behind a bastion can't be asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from pyinfra.api.exceptions import ConnectError, InventoryError

from deploy.connectors.postgres import PostgresConnector

_PREFIX = "@pgdatabases/"
_TIMEOUT = 10.0
"""Seconds that the query may take."""
_PATIENCE = 60.0
"""Seconds to wait for a connection of a server that has none free; the hosts' own `lock_wait` is not known yet."""

_NOT_THROUGH = (
    "@pgdatabases asks the server itself and not through postgres_ssh, so name each database behind the bastion as a host"
)


class DatabasesConnector(PostgresConnector):
    """Runs the hosts it lists. A server that can't be listed, or has no database that matches, is one host that fails."""

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        service, _, pattern = (name or "").partition("/")
        if not service or not pattern:
            raise InventoryError("@pgdatabases needs a service and a pattern: @pgdatabases/SERVICE/tenant_*")
        names, _ = _list(service, pattern)
        for database in names:
            yield (
                f"@postgres/{service}/{_shown(database)}",
                {"postgres_service": service, "postgres_dbname": database},
                ["@postgres"],
            )
        if not names:
            yield f"{_PREFIX}{name}", {"postgres_service": service}, ["@postgres"]

    def connect(self) -> None:
        if self.host.name.startswith(_PREFIX):
            service, _, pattern = self.host.name.removeprefix(_PREFIX).partition("/")
            problem = _list(service, pattern)[1]
            if self.endpoint.bastion is not None:
                problem += f"; {_NOT_THROUGH}"
            raise ConnectError(problem)
        super().connect()


@cache
def _list(service: str, pattern: str) -> tuple[tuple[str, ...], str]:
    """The matching databases, and when there are none the sentence that says why."""
    found, problem = _databases(service)
    matching = tuple(name for name in found if fnmatchcase(name, pattern))
    return matching, problem or f"no database of service {service!r} matches {pattern!r}; check the pattern, or create the database"


@cache
def _databases(service: str) -> tuple[tuple[str, ...], str | None]:
    """All databases of the server that take connections, or why they can't be listed."""
    from deploy.connection import conninfo
    from deploy.connection.connect_errors import explain
    from deploy.connection.connections import Connections
    from deploy.connection.message import Fragment
    from deploy.settings import Settings
    from deploy.statements import statement

    endpoint = conninfo.endpoint(service, Settings(postgres_service=service))
    if endpoint.dbname is None:
        endpoint = conninfo.endpoint(service, Settings(postgres_service=service, postgres_dbname="postgres"))
    session = Connections().session(endpoint, 1, _PATIENCE)
    try:
        session.open()
        answer, _ = session.run([Fragment(statement("session/databases.sql.j2"))], _TIMEOUT)
    except Exception as error:
        return (), str(explain(error, endpoint))
    finally:
        session.close()
    if answer.error is not None:
        return (), f"can't list the databases of service {service!r}: {answer.error.summary}"
    return tuple(row["datname"] for row in answer.rows), None


def _shown(name: str) -> str:
    """A database's name as part of a host's: what would garble a terminal is escaped."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()
