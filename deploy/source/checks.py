"""The checks of a folder: each file is one query whose rows are violations. No database.

A file `NAME.sql.j2` (or `.sql`) may say among its first comment lines what its rows are about, `-- about: WORD`:

    tables       each row is a table; one that is not there at all has `missing` as its actual value
    definition   what CREATE TABLE makes of a table, and IF NOT EXISTS would step over
    around       what stands around the tables and no migration makes: owners, settings

A check without that line is about something else that a migration makes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from deploy.connection.message import Fragment
from deploy.errors import source_refused
from deploy.source import sql_templates
from deploy.statements import statement
from deploy.statements.rendering import Templates

ABOUT = ("tables", "definition", "around")

_HERE = "\0"
"""Where the query of a check goes; it stays a fragment of its own, for the positions of errors. No SQL has this character."""


@dataclass(frozen=True)
class Check:
    """`file` is its name without `.j2`, `sql` the rendered query, `about` one of ABOUT or empty."""

    name: str
    file: str
    sql: str
    about: str


def packaged() -> Path:
    return sql_templates.folder() / "verify"


def load(folder: Path, **variables: Any) -> tuple[Check, ...]:
    """The checks of a folder by name, rendered with `variables`; one that renders to no query is off.

    Raises RunRefused, naming the folder or the file.
    """
    if not folder.is_dir():
        raise source_refused(folder, "no such folder of checks", "set `checks` to one that exists")
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith((".sql", ".sql.j2")))
    if not names:
        raise source_refused(folder, "holds no check", "a check is a file NAME.sql.j2 with one query")
    templates = Templates(folder)
    rendered = {name: templates.render(name, **variables) for name in names}
    return tuple(_check(folder / name, sql) for name, sql in rendered.items() if _without_comments(sql))


def _without_comments(sql: str) -> str:
    return "".join(line for line in sql.splitlines() if not line.startswith("--")).strip()


def _check(path: Path, sql: str) -> Check:
    comments = takewhile(lambda line: line.startswith("--"), sql.splitlines())
    about = next((match[1] for line in comments if (match := re.fullmatch(r"-- about: *(.*)", line))), "")
    if about not in ("", *ABOUT):
        raise source_refused(path, f"`-- about: {about}` is unknown", f"write one of {', '.join(ABOUT)}, or no such line")
    file = path.name.removesuffix(".j2")
    return Check(file.removesuffix(".sql"), file, sql.strip().removesuffix(";"), about)


def fragments(checks: Iterable[Check], only: Collection[str] | None = None) -> list[Fragment]:
    """Each check (of the names `only`) as a statement with the columns check, about, object, expected, actual."""
    result = []
    for check in checks:
        if only is None or check.name in only:
            wrapper = statement("session/check.sql.j2", name=check.name, about=check.about, query=_HERE)
            head, _, tail = wrapper.partition(_HERE)
            result += [Fragment(part, check.file) for part in (head, check.sql, tail)]
    return result
