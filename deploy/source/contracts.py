"""A contract: what the schema is once a version is applied. A folder of files VERSION.toml, read as values. No database.

Each table `[KIND.NAME]` is one object with its `definition`; what is part of a relation stands in it by kind, as
`[table.NAME.column]`. Names and definitions are spelt as the server does, without the target's own schema. A list holds spellings
that are accepted alike.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from deploy.errors import RunRefused, source_refused
from deploy.source import sql_templates

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HEADER = "contract"

RELATIONS = ("table", "foreign table", "view", "materialized view", "composite type", "sequence")
"""Kinds that share one set of names, and whose parts stand in their table of the file."""

PARTS = ("column", "constraint", "index", "trigger", "rule", "policy", "statistics", "sequence")
ABOUT = ("storage", "comment", "owner", "grant")
"""Kinds that say something of an object: their name is its kind and name, or the kind alone of the relation itself."""

OF_THE_DATABASE = ("extension", "cast", "event trigger", "publication", "server")

KINDS = (
    *("schema", *OF_THE_DATABASE),
    *("type", "domain", "collation", "operator", "operator class", "text search configuration", "text search dictionary"),
    *("function", "procedure", "aggregate", *RELATIONS, *ABOUT),
)
"""What stands for itself, in the order of a file."""


@dataclass(frozen=True)
class SchemaObject:
    """One object as the catalogs say it. `part_of` is the relation that it belongs to, None where it stands for itself."""

    kind: str
    name: str
    part_of: str | None
    definition: str

    @cached_property
    def digest(self) -> str:
        """As the server computes it in `contract/objects.sql.j2`."""
        text = "\x1f".join((self.kind, self.part_of or "", self.name, self.definition))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Entry:
    """One object of a contract, with every spelling of its definition that is accepted."""

    kind: str
    name: str
    part_of: str | None
    spellings: tuple[str, ...]


@dataclass(frozen=True)
class Contract:
    """`closed`: what else is in its schemas is a violation; otherwise only what else is part of its own tables.

    `schemas` are covered beside the target's own, `majors` are those whose spellings it holds, `ignore` are patterns of
    `KIND NAME`, and it holds for all versions from `version` through `through`.
    """

    version: int
    through: int
    entries: tuple[Entry, ...]
    closed: bool = True
    schemas: tuple[str, ...] = ()
    majors: tuple[int, ...] = ()
    ignore: tuple[str, ...] = ()

    @cached_property
    def objects(self) -> tuple[SchemaObject, ...]:
        """One for each spelling."""
        return tuple(SchemaObject(e.kind, e.name, e.part_of, spelling) for e in self.entries for spelling in e.spellings)

    @cached_property
    def digests(self) -> list[str]:
        return sorted({one.digest for one in self.objects})


def packaged() -> Path:
    return sql_templates.folder() / "contract"


def load(folder: Path) -> tuple[Contract, ...]:
    """The contracts of a folder by version. Raises RunRefused, naming file, line and key."""
    if not folder.is_dir():
        raise source_refused(folder, "no such folder of contracts", "set `contract` to one that exists")
    found = sorted((read(path) for path in folder.glob("*.toml")), key=lambda contract: contract.version)
    for one, following in pairwise(found):
        if one.through >= following.version:
            problem = f"through: {one.through} is covered by {file_name(following.version)} too"
            raise source_refused(folder / file_name(one.version), problem, f"set a version below {following.version}")
    return tuple(found)


def file_name(version: int) -> str:
    return f"{version}.toml"


def of_version(contracts: Sequence[Contract], version: int) -> Contract | None:
    """The contract that holds once `version` is the newest that is applied."""
    return next((contract for contract in contracts if contract.version <= version <= contract.through), None)


def read(path: Path) -> Contract:
    """The contract in a file. Raises RunRefused, naming file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise source_refused(path, f"can't be read: {' '.join(str(error).split())}", "repair it or remove it") from None
    return _File(path, text).contract(document)


@dataclass(frozen=True)
class _File:
    path: Path
    text: str

    def contract(self, document: Mapping[str, Any]) -> Contract:
        if not re.fullmatch(r"-?\d+", self.path.stem):
            raise source_refused(self.path, f"{self.path.stem!r} is not a version", "name the file VERSION.toml")
        version = int(self.path.stem)
        header = self._table(document, HEADER)
        known = {"through": int, "closed": bool, "schemas": str, "postgresql": int, "ignore": str}
        for key in header:
            if key not in known:
                raise self._refused((HEADER, key), f"unknown key; expected one of {', '.join(sorted(known))}")
        through = self._value(header, "through", int, version)
        if through < version:
            raise self._refused((HEADER, "through"), f"expected {version} or a later version, found {through}")
        return Contract(
            version=version,
            through=through,
            entries=tuple(self._entries({key: value for key, value in document.items() if key != HEADER})),
            closed=self._value(header, "closed", bool, True),
            schemas=self._list(header, "schemas", str),
            majors=self._list(header, "postgresql", int),
            ignore=self._list(header, "ignore", str),
        )

    def _entries(self, document: Mapping[str, Any]) -> Iterator[Entry]:
        for key in document:
            kind = key.replace("_", " ")
            if kind not in KINDS:
                raise self._refused((key,), f"unknown kind of object; expected one of {', '.join(sorted(map(_key, KINDS)))}")
            for name in self._table(document, key):
                table = self._table(document[key], name, (key,))
                parts = dict(table)
                yield Entry(kind, name, None, self._spellings(parts.pop("definition", ""), (key, name, "definition")))
                for part, objects in parts.items():
                    if kind not in RELATIONS or part.replace("_", " ") not in (*PARTS, *ABOUT):
                        expected = f"definition, {', '.join((*PARTS, *ABOUT))}" if kind in RELATIONS else "definition"
                        raise self._refused((key, name, part), f"unknown key; expected {expected}")
                    for part_name in self._table(table, part, (key, name)):
                        place = (key, name, part, part_name)
                        yield Entry(part.replace("_", " "), part_name, name, self._spellings(objects[part_name], place))

    def _spellings(self, value: object, place: tuple[str, ...]) -> tuple[str, ...]:
        found = value if isinstance(value, list) and value else [value]
        if not all(isinstance(text, str) for text in found):
            raise self._refused(place, f"expected a string or a list of strings, found {value!r}")
        return tuple(found)

    def _table(self, document: Mapping[str, Any], key: str, place: tuple[str, ...] = ()) -> Mapping[str, Any]:
        value = document.get(key, {})
        if not isinstance(value, dict):
            raise self._refused((*place, key), f"expected a table, found {value!r}")
        return value

    def _value(self, header: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
        value = header.get(key, default)
        if type(value) is not kind:
            expected = {int: "an integer", bool: "true or false"}[kind]
            raise self._refused((HEADER, key), f"expected {expected}, found {value!r}")
        return value

    def _list(self, header: Mapping[str, Any], key: str, kind: type) -> tuple[Any, ...]:
        value = header.get(key, [])
        if not isinstance(value, list) or not all(type(item) is kind for item in value):
            expected = {int: "integers", str: "strings"}[kind]
            raise self._refused((HEADER, key), f"expected a list of {expected}, found {value!r}")
        return tuple(value)

    def _refused(self, place: tuple[str, ...], problem: str) -> RunRefused:
        line = _line_of(self.text, place)
        where = f"{self.path}:{line}" if line else str(self.path)
        return source_refused(where, f"{'.'.join(place)}: {problem}")


def _key(kind: str) -> str:
    """A kind as a key of the file."""
    return kind.replace(" ", "_")


def _line_of(text: str, place: tuple[str, ...]) -> int | None:
    """Where a key stands: the first line that is it, or the head of its table, below the heads of the tables around it."""
    last = re.escape(place[-1])
    pattern = re.compile(rf"""\s*(?:["']?{last}["']?\s*[=.]|\[.*\b["']?{last}["']?\]|\[["']?{last}["']?[\].])""")
    around = [name for name in place[:-1]]
    for number, line in enumerate(text.splitlines(), 1):
        if around and line.lstrip().startswith("[") and all(name in line for name in around):
            around = []
        if not around and pattern.match(line):
            return number
    return None
