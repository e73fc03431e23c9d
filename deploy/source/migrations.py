"""A source: the folder of migrations, resolved by SQLx's rules and rendered. No database.

The rules are those of sqlx-core/src/migrate/source.rs (0.8.6 and 0.9.0); duplicates, BOM and NUL, which SQLx only trips over
while it runs, are refused here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from deploy.errors import RunRefused
from deploy.source import sql_templates, sqlx_toml
from deploy.source.sqlx_toml import SqlxToml
from deploy.statements import rendering

Kind = Literal["simple", "up", "down"]

_ORDER: Mapping[Kind, int] = {"simple": 0, "up": 1, "down": 2}


@dataclass(frozen=True)
class Migration:
    """One SQL file.

    `checksum` is the SHA-384 of its bytes (48 bytes), but for the ignored characters of sqlx.toml; `file` is its name without
    `.j2`; `template` is the SHA-256 of the file before it was rendered, hexadecimal; `rendered` tells whether it was.
    """

    version: int
    description: str
    kind: Kind
    file: str
    sql: str
    checksum: bytes
    template: str = ""
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
    """Read, render with `variables` and check the folder `path`, once a run. Raises RunRefused, naming the file."""
    try:
        key = json.dumps(variables or {}, sort_keys=True)
    except (TypeError, ValueError):
        raise RunRefused("data key 'variables': holds what JSON has no word for; use texts, numbers, lists and mappings") from None
    return _load(path, key)


@cache
def _load(path: Path, variables: str) -> Source:
    if not path.is_dir():
        raise RunRefused(f"{path}: no such folder of migrations; set `migrations` to one that exists")
    sqlx = sqlx_toml.load(path.parent)
    found: dict[tuple[int, bool], Migration] = {}
    for entry in sorted(path.iterdir()):
        if entry.is_symlink() and not entry.exists():
            raise RunRefused(f"{entry}: symbolic link to nothing; repair or remove it")
        if not entry.is_file():
            continue
        file = entry.name.removesuffix(".j2")
        try:
            parsed = parse_name(file)
        except ValueError as error:
            raise RunRefused(
                f"{entry}: {str(error)!r} is no version: SQLx wants a 64-bit integer before the first `_`; rename the file"
            ) from None
        if parsed is None:
            continue
        if re.search("[\0-\x1f\x7f\ud800-\udfff]", file):
            raise RunRefused(f"{str(entry)!r}: a file name with control characters or invalid UTF-8; rename the file")
        version, description, kind = parsed
        content, raw = _content(entry, json.loads(variables))
        sql = _text(entry, content)
        hashed = sql.translate(dict.fromkeys(map(ord, sqlx.ignored_chars))).encode()
        checksum, template = hashlib.sha384(hashed).digest(), hashlib.sha256(raw).hexdigest()
        migration = Migration(version, description, kind, file, sql, checksum, template, rendered=file != entry.name)
        other = found.setdefault((version, kind == "down"), migration)
        if other is not migration:
            raise RunRefused(f"{entry}: version {version} is also that of {other.file}; give one of them another version")
    ups = [migration for (_, is_down), migration in found.items() if not is_down]
    if not ups:
        raise RunRefused(f"{path}: holds no migration; SQLx wants files named VERSION_DESCRIPTION.sql")
    return Source(
        path=path,
        migrations=tuple(sorted(ups, key=lambda migration: (migration.version, _ORDER[migration.kind]))),
        down={version: migration for (version, is_down), migration in found.items() if is_down},
        sqlx=sqlx,
    )


def _content(entry: Path, variables: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """What Postgres gets of a file, and the file itself."""
    try:
        raw = rendering.read(entry)
    except OSError as error:
        raise RunRefused(f"{entry}: {error.strerror}") from None
    if entry.suffix != ".j2":
        return raw, raw
    return rendering.render(entry.parent, entry.name, **variables).encode(), raw


def _text(entry: Path, content: bytes) -> str:
    try:
        sql = content.decode()
    except UnicodeDecodeError as error:
        raise RunRefused(f"{entry}: not valid UTF-8 at byte {error.start}; save the file as UTF-8") from None
    if sql.startswith("\ufeff"):
        raise RunRefused(f"{entry}: starts with a byte order mark, which Postgres refuses; save the file without it")
    if "\0" in sql:
        line = sql.count("\n", 0, sql.index("\0")) + 1
        raise RunRefused(f"{entry}:{line}: holds a NUL character, at which libpq would cut the file; remove it")
    return sql


def packaged() -> Source:
    """Our own source."""
    return load(sql_templates.folder() / "migrations")
