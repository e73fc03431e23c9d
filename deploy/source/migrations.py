"""A source: the folder of migrations, resolved by SQLx's rules and rendered. No database.

The rules are those of sqlx-core/src/migrate/source.rs (0.8.6 and 0.9.0); duplicates, BOM and NUL, which SQLx only trips over
while it runs, are refused here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deploy.errors import RunRefused, source_refused
from deploy.problems import Problem
from deploy.secrets import Secrets
from deploy.source import sql_templates, sqlx_toml
from deploy.source.sqlx_toml import SqlxToml
from deploy.statements.rendering import Templates

Kind = Literal["simple", "up", "down"]

_ORDER: Mapping[Kind, int] = {"simple": 0, "up": 1, "down": 2}


@dataclass(frozen=True)
class Migration:
    """One SQL file.

    `checksum` is the SHA-384 of its bytes (48 bytes), but for the ignored characters of sqlx.toml; `file` is its name without
    `.j2`; `template_sha256` is that of the file before it was rendered, hexadecimal; `rendered` tells whether it was.
    """

    version: int
    description: str
    kind: Kind
    file: str
    sql: str
    checksum: bytes
    template_sha256: str = ""
    rendered: bool = False

    @property
    def transactional(self) -> bool:
        """Whether SQLx would run it in a transaction: the file does not start with `-- no-transaction`."""
        return not self.sql.startswith("-- no-transaction")

    def __str__(self) -> str:
        return f"{self.version} {self.description}"


@dataclass(frozen=True)
class Source:
    """The migrations of a folder in the order in which they are applied, and the down files by version."""

    path: Path
    migrations: tuple[Migration, ...]
    down: Mapping[int, Migration]
    sqlx: SqlxToml


def parse_name(name: str) -> tuple[int, str, Kind] | None:
    """Version, description and kind of a file name without `.j2`; None when SQLx ignores the file.

    Raises ValueError when SQLx refuses the whole source because of it.
    """
    head, underscore, tail = name.partition("_")
    if not underscore or not tail.endswith(".sql"):
        return None
    if not re.fullmatch(r"[+-]?[0-9]+", head) or not -(2**63) <= int(head) < 2**63:
        raise ValueError(head)
    kind: Kind = "up" if tail.endswith(".up.sql") else "down" if tail.endswith(".down.sql") else "simple"
    suffix = ".sql" if kind == "simple" else f".{kind}.sql"
    while tail.endswith(suffix):
        tail = tail.removesuffix(suffix)
    return int(head), tail.replace("_", " "), kind


def load(path: Path, variables: Mapping[str, Any] | None = None) -> Source:
    """Read, render with `variables` and check the folder `path`, or that of the crate there. Raises RunRefused, naming the file."""
    try:
        plain = json.loads(json.dumps(variables or {}))
    except (TypeError, ValueError):
        text = "data key 'variables': contains a value that is not JSON"
        raise RunRefused(Problem("settings", text, "use texts, numbers, lists and mappings")) from None
    path, sqlx = sqlx_toml.find(path)
    if not path.is_dir():
        raise source_refused(path, "no such folder of migrations", "set `migrations` to one that exists")
    templates = Templates(path)
    found: dict[tuple[int, bool], Migration] = {}
    for entry in sorted(path.iterdir()):
        migration = _read(entry, templates, plain, sqlx.ignored_chars)
        if migration is None:
            continue
        other = found.setdefault((migration.version, migration.kind == "down"), migration)
        if other is not migration:
            raise source_refused(
                entry, f"version {migration.version} is also that of {other.file}", "give one of them another version"
            )
    ups = [migration for (_, is_down), migration in found.items() if not is_down]
    if not ups:
        raise source_refused(path, "holds no migration", "SQLx wants files named VERSION_DESCRIPTION.sql")
    return Source(
        path=path,
        migrations=tuple(sorted(ups, key=lambda migration: (migration.version, _ORDER[migration.kind]))),
        down={version: migration for (version, is_down), migration in found.items() if is_down},
        sqlx=sqlx,
    )


def _read(entry: Path, templates: Templates, variables: Mapping[str, Any], ignored_chars: str) -> Migration | None:
    """The migration in a file of the folder; None for what SQLx ignores."""
    if entry.is_symlink() and not entry.exists():
        raise source_refused(entry, "symbolic link to nothing", "repair or remove it")
    if not entry.is_file():
        return None
    file = entry.name.removesuffix(".j2")
    try:
        parsed = parse_name(file)
    except ValueError as error:
        text = f"{str(error)!r} is not a version: SQLx wants a 64-bit integer before the first `_`"
        raise source_refused(entry, text, "rename the file") from None
    if parsed is None:
        return None
    if re.search("[\0-\x1f\x7f\ud800-\udfff]", file):
        raise source_refused(repr(str(entry)), "a file name with control characters or invalid UTF-8", "rename the file")
    try:
        raw = templates.read(entry.name)
    except OSError as error:
        raise source_refused(entry, error.strerror or "can't be read") from None
    rendered = file != entry.name
    sql = _text(entry, templates.render(entry.name, **variables).encode() if rendered else raw)
    hashed = sql.translate(dict.fromkeys(map(ord, ignored_chars))).encode()
    version, description, kind = parsed
    checksum, template_sha256 = hashlib.sha384(hashed).digest(), hashlib.sha256(raw).hexdigest()
    return Migration(version, description, kind, file, sql, checksum, template_sha256, rendered)


def _text(entry: Path, content: bytes) -> str:
    try:
        sql = content.decode()
    except UnicodeDecodeError as error:
        raise source_refused(entry, f"not valid UTF-8 at byte {error.start}", "save the file as UTF-8") from None
    if sql.startswith("\ufeff"):
        raise source_refused(entry, "starts with a byte order mark, which Postgres refuses", "save the file without it")
    if "\0" in sql:
        line = sql.count("\n", 0, sql.index("\0")) + 1
        raise source_refused(f"{entry}:{line}", "holds a NUL character, at which libpq would cut the file", "remove it")
    return sql


def secret_problem(migrations: Iterable[Migration], secrets: Secrets) -> Problem | None:
    """Why they must not be written as files unasked: in a file that is the product no secret can be masked."""
    for migration in migrations:
        if names := secrets.found_in(migration.sql):
            text = f"{migration.file} would hold the value of the secret variable {', '.join(map(repr, names))}"
            return Problem("arguments", text, "pass with_secrets=true to write it all the same")
    return None


def packaged() -> Path:
    return sql_templates.folder() / "migrations"
