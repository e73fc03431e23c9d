"""`Message`: SQL that is sent to the server at once, and the answer that comes back.

It is made of named fragments, so that the position of an error in it can be given as file, line and column.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pyinfra.api.command import PyinfraCommand, StringCommand

from deploy.errors import SqlError

if TYPE_CHECKING:
    from pyinfra.api.arguments import ConnectorArguments
    from pyinfra.api.host import Host
    from pyinfra.api.state import State
    from pyinfra.connectors.util import CommandOutput


Commands = Generator[PyinfraCommand, None, None]
"""What the body of an operation yields."""


@dataclass(frozen=True)
class Fragment:
    """SQL text; `name` is what an error in it is reported under (a file name), None for text of no file."""

    sql: str
    name: str | None = None


@dataclass(frozen=True)
class File(Fragment):
    """The text of a migration, with any number of statements."""


@dataclass(frozen=True)
class Answer:
    """The rows of all statements of a message, in order, or the error that ended it.

    With an error of the kind `unconfirmed` the message came to its end, and its rows are there too.
    """

    rows: tuple[dict[str, Any], ...] = ()
    error: SqlError | None = None

    def to_json(self) -> Any:
        """A list of rows, or an object with `error` and `rows`; pyinfra's CLI calls this too."""
        return list(self.rows) if self.error is None else {"error": asdict(self.error), "rows": list(self.rows)}

    @classmethod
    def from_json(cls, document: str) -> Answer:
        value = json.loads(document)
        if isinstance(value, dict):
            return cls(tuple(value["rows"]), SqlError(**value["error"]))
        return cls(rows=tuple(value))

    def value(self, name: str) -> Any:
        """The value of the last row that has a column `name`. Raises KeyError when no row has it."""
        for row in reversed(self.rows):
            if name in row:
                return row[name]
        raise KeyError(name)


class Message(StringCommand):
    """SQL for one round trip, as a command of pyinfra.

    An SQL error does not fail the command, it is in the answer: `yield message`, then look at `message.answer`.
    `statement_timeout` is the one that the message sets for its statements, in milliseconds (0: none); None where the host's
    holds. With `keep_session` the connection is not given up after it, although it is outside a transaction: it holds a lock or
    settings.
    """

    def __init__(self, *parts: Fragment | str, statement_timeout: int | None = None, keep_session: bool = False) -> None:
        self.parts = tuple(Fragment(part) if isinstance(part, str) else part for part in parts)
        self.statement_timeout = statement_timeout
        self.keep_session = keep_session
        self.answer = Answer(error=SqlError("not run yet"))
        super().__init__("".join(part.sql for part in self.parts))

    def get_masked_value(self) -> str:
        """For pyinfra's own lines. The SQL may hold secrets: deploy.connectors.database prints it, masked."""
        names = dict.fromkeys(part.name for part in self.parts if part.name is not None)
        return f"{sum(len(part.sql) for part in self.parts)} characters of SQL{''.join(f', {name}' for name in names)}"

    def execute(self, state: State, host: Host, connector_arguments: ConnectorArguments) -> tuple[bool, CommandOutput]:
        status, output = super().execute(state, host, connector_arguments)
        if status:
            self.answer = Answer.from_json(output.stdout)
        return status, output


def locate(parts: Sequence[Fragment], position: int) -> tuple[str | None, int, int, str]:
    """Name, line, column and text of the line at `position`, a 1-based character offset into the joined parts."""
    offset = position - 1
    for part in parts:
        if offset < len(part.sql) or part is parts[-1]:
            break
        offset -= len(part.sql)
    start = part.sql.rfind("\n", 0, offset) + 1
    text = part.sql[start:].split("\n", 1)[0].rstrip("\r")
    return part.name, part.sql.count("\n", 0, offset) + 1, offset - start + 1, text
