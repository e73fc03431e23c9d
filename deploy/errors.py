"""What goes wrong, as values: `RunRefused` ends a run before anything is written, `SqlError` is one server's answer."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from typing import Any

from pyinfra.api.exceptions import PyinfraError

from deploy.problems import Problem
from deploy.secrets import MASK, Secrets
from deploy.text import one_line

BUSY = frozenset({"55P03", "40P01", "40001"})
"""SQLSTATEs that another attempt may not meet: lock_timeout, a deadlock's victim, a serialization failure."""

_DUPLICATE_KEY = "23505"
_INTERNAL_ERROR = "XX000"

_INSUFFICIENT_PRIVILEGE = "42501"
_UNTRUSTED = "DP002"
"""Ours: see statements/trust.sql.j2."""

_HINTS = {"57014": "raise `statement_timeout` when the statement needs longer"}
"""The next step for an SQLSTATE where the server names none: query_canceled."""


_TOKEN = re.compile(r'at or near ".*"', re.DOTALL)


# Of the class that pyinfra's CLI prints without file and line. Importing the CLI patches the whole process for gevent, so this
# is left to the CLI itself.
_cli = sys.modules.get("pyinfra_cli.exceptions")


class RunRefused(PyinfraError, *([_cli.CliError] if _cli else [])):  # type: ignore[misc]
    """The whole run is refused with one sentence and exit code 1."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(one_line(str(problem)))


class NoHosts(RunRefused):
    """The last host failed."""


def source_refused(place: object, text: str, next: str = "") -> RunRefused:
    """For what can't be read at `place`, a folder or a file of a source."""
    return RunRefused(Problem("source", f"{place}: {text}", next))


@dataclass(frozen=True)
class SqlError:
    """An error of the server or of the connection to it.

    `sqlstate` is None when the connection was lost or a deadline passed, or when we refused to send the SQL: then `kind` says
    of which kind that is. `line` and `column` count from 1 and are None when the server gave no position; `text` is that line
    of the SQL, `name` the file or statement it stands in, `caret` the column in `text` where that is not `column`. `schema` and
    `table` are those of the constraint it is about.
    """

    message: str
    sqlstate: str | None = None
    detail: str | None = None
    hint: str | None = None
    context: str | None = None
    name: str | None = None
    line: int | None = None
    column: int | None = None
    text: str | None = None
    caret: int | None = None
    kind: str = "connection"
    schema: str | None = None
    table: str | None = None

    @property
    def is_unconfirmed(self) -> bool:
        """Whether all was committed, and only the word of a synchronous standby is missing."""
        return self.kind == "unconfirmed"

    @property
    def is_busy(self) -> bool:
        """Whether another attempt may get through, of what was rolled back: somebody else was at the same thing.

        Two sessions collide also on a catalog, for which the server has no SQLSTATE; these words it translates into no language.
        """
        if self.sqlstate == _DUPLICATE_KEY:
            return self.schema == "pg_catalog"
        return self.sqlstate in BUSY or (self.sqlstate == _INTERNAL_ERROR and "tuple concurrently" in self.message)

    @property
    def problem(self) -> Problem:
        """The summary, as a problem of the kind that its SQLSTATE tells."""
        if self.sqlstate is None:
            return Problem(self.kind, self.summary)
        if self.is_busy:
            return Problem("busy", self.summary)
        return Problem(
            {_INSUFFICIENT_PRIVILEGE: "privilege", _UNTRUSTED: "untrusted"}.get(self.sqlstate, "statement"), self.summary
        )

    @property
    def summary(self) -> str:
        """`file:line:column: SQLSTATE: message`, as far as known, on one line."""
        place = ":".join(str(part) for part in (self.name, self.line, self.column) if part is not None)
        return ": ".join(part for part in (place, self.sqlstate, " ".join(self.message.split())) if part)

    @property
    def details(self) -> tuple[str, ...]:
        """What follows the summary: the offending line with a caret under the column, detail, hint and context."""
        lines = []
        caret = self.caret or self.column
        if self.text is not None and caret is not None:
            shown = self.text.expandtabs(1)
            start = max(0, caret - 60)
            lines += ["    " + shown[start : start + 100], "    " + " " * (caret - 1 - start) + "^"]
        hint = self.hint or _HINTS.get(self.sqlstate or "")
        for label, value in (("DETAIL", self.detail), ("HINT", hint), ("CONTEXT", self.context)):
            if value:
                lines.append(f"{label}: {' '.join(value.split())}")
        return tuple(lines)

    def lines(self) -> list[str]:
        return [self.summary, *self.details]

    def without(self, secrets: Secrets) -> SqlError:
        """The same, as it may be shown. Where the line holds a secret, the token that the server names may be a piece of it."""
        message, text, caret = self.message, None, None
        if self.text is not None and self.column is not None:
            shown = self.text.expandtabs(1)
            before, text = (one_line(secrets.mask(part)) for part in (shown[: self.column - 1], shown))
            caret = len(before) + 1
            if text != one_line(shown):
                message = _TOKEN.sub(f'at or near "{MASK}"', message)
        return replace(
            self,
            message=secrets.shown(message),
            detail=secrets.shown(self.detail),
            hint=secrets.shown(self.hint),
            context=secrets.shown(self.context),
            text=text,
            caret=caret,
        )


class HostFailed(Exception):
    """Raised anywhere below an operation body: its host fails for `problem`, and no other host does. `details` are more lines."""

    def __init__(self, problem: Problem, *details: str) -> None:
        self.problem = problem
        self.details = details
        super().__init__(str(problem), *details)

    @classmethod
    def of(cls, error: SqlError, *details: str) -> HostFailed:
        """For an error of the server; `details` come after its own."""
        return cls(error.problem, *error.details, *details)

    @property
    def lines(self) -> tuple[str, ...]:
        return (str(self.problem), *self.details)


class StatementFailed(Exception):
    """One SQL error; the transaction it happened in is rolled back, or committed when the error is that it is `unconfirmed`.

    `rows` came before it.
    """

    def __init__(self, error: SqlError, rows: tuple[dict[str, Any], ...] = ()) -> None:
        super().__init__(error.summary)
        self.error = error
        self.rows = rows
