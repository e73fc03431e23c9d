"""The checks of a folder: each file is one query whose rows are violations. No database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from deploy.connection.message import Fragment
from deploy.errors import RunRefused
from deploy.source import sql_templates
from deploy.statements import rendering, statement

_HERE = "\0"
"""Where the query of a check goes; it stays a fragment of its own, for the positions of errors. No SQL has this character."""


def packaged() -> Path:
    return sql_templates.folder() / "verify"


def files(folder: Path) -> list[Path]:
    """The check files of a folder, by name. Raises RunRefused when it is none, or holds none."""
    if not folder.is_dir():
        raise RunRefused(f"{folder}: no such folder of checks; set `checks` to one that exists")
    found = sorted(path for path in folder.iterdir() if path.name.endswith((".sql", ".sql.j2")))
    if not found:
        raise RunRefused(f"{folder}: holds no check; a check is a file NAME.sql.j2 with one query")
    return found


def name(path: Path) -> str:
    """What the check of a file is called."""
    return path.name.removesuffix(".j2").removesuffix(".sql")


def parts(folder: Path, only: Collection[str] | None = None, /, **variables: Any) -> Sequence[Fragment]:
    """Each check of `folder` (of the names `only`) as a statement with the columns check, object, expected, actual."""
    result = []
    for path in files(folder):
        if only is not None and name(path) not in only:
            continue
        sql = rendering.render(folder, path.name, **variables)
        sql = sql.strip().removesuffix(";")
        head, _, tail = statement("session/check.sql.j2", name=name(path), query=_HERE).partition(_HERE)
        result += [Fragment(part, path.name.removesuffix(".j2")) for part in (head, sql, tail)]
    return result
