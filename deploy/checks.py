"""The checks of a folder: each file is one query whose rows are violations. No database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy import templates
from deploy.errors import Refused
from deploy.script import Part


@dataclass(frozen=True)
class Violation:
    """What a check found: `object` is `table.column` or the name of a table, constraint or index."""

    check: str
    object: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.object}: expected {self.expected}, found {self.actual}"


def packaged() -> Path:
    return templates.packaged() / "verify"


def files(folder: Path) -> list[Path]:
    """The check files of a folder, by name. Raises Refused when it is none, or holds none."""
    if not folder.is_dir():
        raise Refused(f"{folder}: no such folder of checks; set `checks` to one that exists")
    found = sorted(path for path in folder.iterdir() if path.name.endswith((".sql", ".sql.j2")))
    if not found:
        raise Refused(f"{folder}: holds no check; a check is a file NAME.sql.j2 with one query")
    return found


def name(path: Path) -> str:
    """What the check of a file is called."""
    return path.name.removesuffix(".j2").removesuffix(".sql")


def parts(folder: Path, only: Collection[str] | None = None, /, **variables: Any) -> Sequence[Part]:
    """Each check of `folder` (of the names `only`) as a statement with the columns check, object, expected, actual."""
    result = []
    for path in files(folder):
        if only is not None and name(path) not in only:
            continue
        sql = templates.render(folder, path.name, **variables)
        sql = sql.strip().removesuffix(";")
        head = templates.own("session/check.sql.j2", name=name(path))
        result += [Part(part, path.name.removesuffix(".j2")) for part in (head, sql, "\n) AS violation;\n")]
    return result
