"""The inventory connector `@pgdatabases/SERVICE/PATTERN`: a host for each database of a server whose name matches.

pyinfra gives an inventory connector the name only, so the connection of the query is the service's alone: TLS settings belong
into the service file, and a server behind a bastion can't be asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click
from pyinfra import logger
from pyinfra.api.exceptions import ConnectError, InventoryError

from deploy.connectors.postgres import PostgresConnector, check_name

if TYPE_CHECKING:
    from deploy.connectors.database import Listing

_PROBLEM = "pgdatabases_problem"
"""The host data key of the one host that stands for a server which can't be listed."""

_NOT_THROUGH = (
    "@pgdatabases asks the server itself and not through postgres_ssh, so name each database behind the bastion as a host"
)


class DatabasesConnector(PostgresConnector):
    """Runs the hosts it lists. A server that can't be listed, or has no database that matches, is one host that fails."""

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        from deploy.problems import first_few
        from deploy.text import one_line

        check_name("pgdatabases", name)
        service, _, pattern = (name or "").partition("/")
        if not service or not pattern:
            raise InventoryError("@pgdatabases needs a service and a pattern: @pgdatabases/SERVICE/tenant_*")
        listing = _listing(service)
        matching = [database for database in listing.databases if fnmatchcase(database, pattern)]
        left_out = [f"{one_line(one)} ({why})" for one, why in listing.left_out.items() if fnmatchcase(one, pattern)]
        if left_out:
            _warn_once(f"@pgdatabases/{name}: left out {first_few(left_out)}")
        for database in matching:
            data = {"postgres_service": service, "postgres_dbname": database}
            if re.search(r"[\x00-\x1f\x7f]", database):
                problem = f'the name of database "{one_line(database)}" holds a control character; rename it'
                data = {"postgres_service": service, _PROBLEM: problem}
            yield f"@postgres/{service}/{one_line(database)}", data, ["@postgres"]
        if not matching:
            no_match = f"no database of service {service!r} matches {pattern!r}; check the pattern, or create the database"
            if left_out:
                no_match = f"no database of service {service!r} that matches {pattern!r} can be connected to: {first_few(left_out)}"
            yield f"@pgdatabases/{name}", {"postgres_service": service, _PROBLEM: listing.problem or no_match}, ["@postgres"]

    def connect(self) -> None:
        if (problem := self.host.data.get(_PROBLEM)) is not None:
            sentence = f"{problem}; {_NOT_THROUGH}" if self.database.endpoint.bastion else problem
            raise ConnectError(self.database.shown_line(sentence))
        super().connect()


def _warn_once(text: str) -> None:
    """pyinfra makes each inventory twice."""
    from deploy.text import one_line

    context = click.get_current_context(silent=True)
    said: set[str] = context.meta.setdefault(f"{__name__}.said", set()) if context is not None else set()
    if text not in said:
        logger.warning(one_line(text))
        said.add(text)


def _listing(service: str) -> Listing:
    """The databases of a server. pyinfra makes each inventory twice: the answer is kept in the context of its command."""
    from deploy.connectors import database

    context = click.get_current_context(silent=True)
    known: dict[str, Listing] = context.meta.setdefault(__name__, {}) if context is not None else {}
    if service not in known:
        known[service] = database.list_databases(service)
    return known[service]
