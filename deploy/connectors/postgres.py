"""The `@postgres` connector: commands are SQL.

Every pyinfra run of an environment imports this module, also runs that have nothing to do with us. So it is a shim: what it does
is in deploy.connectors.database, which is imported (with psycopg and pydantic) when the first `@postgres` host appears.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyinfra.api.exceptions import InventoryError
from pyinfra.connectors.base import BaseConnector

if TYPE_CHECKING:
    from pyinfra.api.command import StringCommand
    from pyinfra.api.host import Host
    from pyinfra.api.state import State
    from pyinfra.connectors.util import CommandOutput


_ANOTHER_NAME = re.compile(r"@(?:(?:postgres|pgservices|pgdatabases|ssh|docker)/|local$)")


def check_name(connector: str, name: str | None) -> None:
    """Raise RunRefused for two names of hosts in one: Python joins texts between which a comma is missing."""
    if name and (second := _ANOTHER_NAME.search(name)):
        from deploy.errors import RunRefused
        from deploy.problems import Problem

        first, rest = f"@{connector}/{name[: second.start()]}", name[second.start() :]
        raise RunRefused(
            Problem("settings", f"{first + rest!r} is two names of hosts", f"put a comma between {first!r} and {rest!r}")
        )


class PostgresConnector(BaseConnector):
    """One database of one Postgres server.

    `@postgres/NAME` takes its connection from the host data `postgres_*`, else NAME is `HOST[:PORT][/DBNAME]`. Facts are
    queries, operations yield statements, `exec` runs SQL. Each command is sent as one simple-protocol message and answered
    by one JSON document: a list of the rows of all its statements, each an object.
    """

    handles_execution = True

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        from deploy.text import one_line

        if not name:
            raise InventoryError("@postgres needs a name: @postgres/HOST[:PORT][/DBNAME] or @postgres/NAME with host data")
        check_name("postgres", name)
        yield f"@postgres/{one_line(name)}", {}, ["@postgres"]

    def __init__(self, state: State, host: Host) -> None:
        from deploy.connectors import database

        self.data_cls, self.data_meta = database.PostgresData, database.DATA_META
        super().__init__(state, host)
        self.database = database.Database(state, host)

    def connect(self) -> None:
        self.database.connect()

    def disconnect(self) -> None:
        self.database.disconnect()

    def run_shell_command(
        self,
        command: StringCommand | str,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> tuple[bool, CommandOutput]:
        return self.database.run(command, print_output, print_input, arguments)

    def put_file(self, *args: Any, **kwargs: Any) -> bool:
        return self.database.refuse_file()

    def get_file(self, *args: Any, **kwargs: Any) -> bool:
        return self.database.refuse_file()
