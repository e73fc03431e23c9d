"""SQLx's own settings file `sqlx.toml`, at the root of a crate: what of its `[migrate]` changes what is applied, and where that is.

The keys are those of sqlx-core/src/config/migrate.rs (0.9); the others only concern `sqlx migrate add`. Names are SQL there,
quoted or not, and are read as Postgres reads them.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.errors import source_refused

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "sqlx.toml"

_FOLDER = "migrations"
"""Where SQLx looks in a crate that says nothing else."""

_IDENTIFIER = r'(?:"(?:[^"\0]|"")+"|[^\W\d][\w$]*)'
_NAME = re.compile(rf"\s*(?:({_IDENTIFIER})\s*\.\s*)?({_IDENTIFIER})\s*")


@dataclass(frozen=True)
class SqlxToml:
    """Where the ledger is, which schemas SQLx would create first, and which characters a checksum leaves out."""

    ledger_schema: str | None = None
    ledger_table: str = "_sqlx_migrations"
    create_schemas: tuple[str, ...] = ()
    ignored_chars: str = ""
    migrations_dir: str | None = None
    """The folder of migrations, relative to that of the file."""
    path: Path | None = field(default=None, compare=False)
    """The file, where there is one."""


def find(path: Path) -> tuple[Path, SqlxToml]:
    """The folder of migrations that `path` names, a crate or that folder itself, and its settings. Raises RunRefused.

    Of a crate its sqlx.toml says where. For a folder the one beside it counts, unless it names another, or else the nearest above
    it in its repository that names it.
    """
    crate = load(path)
    if crate.path is not None and (crate.migrations_dir is not None or (path / _FOLDER).is_dir()):
        return (path / (crate.migrations_dir or _FOLDER)).resolve(), crate
    for place in path.parents:
        found = load(place)
        named = (place / (found.migrations_dir or _FOLDER)).resolve()
        if found.path is not None and (named == path or (place == path.parent and not named.is_dir())):
            return path, found
        if (place / ".git").exists():
            break
    return path, SqlxToml()


def load(folder: Path) -> SqlxToml:
    """The settings of `folder`/sqlx.toml, the defaults without one. Raises RunRefused, naming file and key."""
    path = folder / FILE
    if not path.is_file():
        return SqlxToml()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise source_refused(path, f"can't be read: {' '.join(str(error).split())}", "repair it or remove it") from None
    migrate = document.get("migrate", {})
    if not isinstance(migrate, dict):
        raise source_refused(path, "`migrate` must be a table", "write it as [migrate]")
    schema, table = _name(path, "table-name", migrate.get("table-name", SqlxToml.ledger_table), qualified=True)
    schemas = [_name(path, "create-schemas", name) for name in _strings(path, "create-schemas", migrate)]
    characters = _strings(path, "ignored-chars", migrate)
    if wrong := [text for text in characters if len(text) != 1]:
        raise source_refused(path, f"ignored-chars: {wrong[0]!r} is not one character")
    folder_name = migrate.get("migrations-dir")
    if folder_name is not None and (not isinstance(folder_name, str) or "\0" in folder_name):
        raise source_refused(path, f"migrations-dir: {folder_name!r} must be the path of a folder")
    create_schemas = tuple(sorted({name for _, name in schemas}))
    return SqlxToml(schema, table, create_schemas, "".join(sorted(set(characters))), folder_name, path)


def _strings(path: Path, key: str, table: dict[str, Any]) -> list[str]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise source_refused(path, f"{key}: {value!r} must be a list of strings")
    return value


def _name(path: Path, key: str, value: object, *, qualified: bool = False) -> tuple[str | None, str]:
    match = _NAME.fullmatch(value) if isinstance(value, str) else None
    if match is None or (match[1] is not None and not qualified):
        raise source_refused(path, f"{key}: {value!r} is not a valid identifier", "quote it as in SQL")
    return (None if match[1] is None else _fold(match[1])), _fold(match[2])


def _fold(identifier: str) -> str:
    """Quoted as it stands, else in lower case; only ASCII letters, as Postgres does for UTF-8."""
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"')
    return re.sub("[A-Z]+", lambda match: match[0].lower(), identifier)
