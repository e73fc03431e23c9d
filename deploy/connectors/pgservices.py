"""The inventory connector `@pgservices/PATTERN`: a host for each section of the service file whose name matches.

One line makes a fleet: pyinfra looks through the installed packages for every `@name` of an inventory. Data of the line is
data of each host, and a later line wins, so waves are lines too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pyinfra.api.exceptions import ConnectError, InventoryError

from deploy.connectors.postgres import PostgresConnector, check_name

_PROBLEM = "pgservices_problem"
"""The host data key of the one host that stands for a pattern without a service."""


class ServicesConnector(PostgresConnector):
    """Runs the hosts it lists, because pyinfra gives them to the connector that named them. Without a match one host fails."""

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        from deploy.text import one_line

        check_name("pgservices", name)
        if not name:
            raise InventoryError(
                "@pgservices needs a pattern: @pgservices/integration-health-*, or @pgservices/* for every service"
            )
        matching = _matching(name)
        for section in matching:
            data = {"postgres_service": section}
            if re.search(r"[\x00-\x1f\x7f]", section):
                problem = f'the name of service "{one_line(section)}" holds a control character; rename it'
                data = {"postgres_service": "-", _PROBLEM: problem}
            yield f"@postgres/{one_line(section)}", data, ["@postgres"]
        if not matching:
            places = " or ".join(str(path) for path in files())
            problem = f"no service of {places} matches {name!r}; add a section, or set PGSERVICEFILE to the file that has it"
            yield f"@pgservices/{name}", {"postgres_service": name, _PROBLEM: problem}, ["@postgres"]

    def connect(self) -> None:
        if (problem := self.host.data.get(_PROBLEM)) is not None:
            raise ConnectError(self.database.shown_line(problem))
        super().connect()


def files() -> list[Path]:
    """Where libpq looks for services, in its order: the user's file, then the system's where PGSYSCONFDIR names it."""
    own = os.environ.get("PGSERVICEFILE")
    found = [Path(own or os.path.expanduser("~/.pg_service.conf"))]  # noqa: PTH111 - Path's own raises where there is no home
    if folder := os.environ.get("PGSYSCONFDIR"):
        found.append(Path(folder) / "pg_service.conf")
    return found


def _matching(pattern: str) -> list[str]:
    """The sections that match, each once, in the order of the files."""
    names: dict[str, None] = {}
    for path in files():
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in map(str.strip, lines):
            if line.startswith("[") and "]" in line:
                names.setdefault(line[1 : line.index("]")])
    return [name for name in names if fnmatchcase(name, pattern)]
