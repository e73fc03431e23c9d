"""What is asked of a server's catalogs, and what it answers: all of some schemas, or what differs from a contract. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.source.contracts import ABOUT, OF_THE_DATABASE, RELATIONS, Contract, SchemaObject
from deploy.statements import statement

_OF_TABLES = ("relations", "columns", "constraints", "indexes", "triggers")

_PLAIN = ("plain_tables", "columns", "constraints", "indexes", "plain_acts")
"""In place of these where all that is expected are ordinary tables: a third of the planning."""

_BRANCHES: Mapping[str, tuple[str, ...]] = {
    "schemas": ("schema",),
    "functions": ("function", "procedure", "aggregate"),
    "types": ("type", "domain"),
    "statistics": ("statistics",),
    "rarer": ("collation", "operator", "operator class", "text search configuration", "text search dictionary"),
    "database": OF_THE_DATABASE,
}
"""Templates of `contract/` and the kinds that they give, beside those of tables."""


@dataclass(frozen=True)
class Found:
    """What a server answered to the digests of a contract: its objects that have none of them, and the digests that none has.

    `fingerprint` is the digest of all its objects.
    """

    objects: tuple[SchemaObject, ...]
    unmatched: frozenset[str]
    fingerprint: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Found:
        """From the row of `contract/objects.sql.j2`."""
        return cls(tuple(SchemaObject(**one) for one in row["objects"]), frozenset(row["unmatched"]), row["fingerprint"])


def ask_all(schema: str | None, schemas: Collection[str], left_out: Collection[str], *, has_privileges: bool = False) -> str:
    """The statement that reads every object of `schema` (None: where search_path leads) and `schemas`."""
    return _ask(schema, (*_OF_TABLES, *_BRANCHES), {*ABOUT} - (set() if has_privileges else {"owner", "grant"}), schemas, left_out)


def ask(contract: Contract, schema: str | None, left_out: Collection[str]) -> str:
    """The statement that reads what differs from `contract`; of an open one only what hangs on its own objects."""
    kinds = {entry.kind for entry in contract.entries}
    if contract.closed:
        about = {"storage", "comment"} | (kinds & {"owner", "grant"})
        return _ask(schema, (*_OF_TABLES, *_BRANCHES), about, contract.schemas, left_out, known=contract.digests)
    relations = sorted({_unquoted(entry.name) for entry in contract.entries if entry.part_of is None and entry.kind in RELATIONS})
    plain = kinds <= {"table", "column", "constraint", "index"} and not any(
        spelling if entry.kind == "table" else "GENERATED" in spelling for entry in contract.entries for spelling in entry.spellings
    )
    more = tuple(branch for branch, given in _BRANCHES.items() if kinds.intersection(given))
    branches = (*(_PLAIN if plain else _OF_TABLES), *more)
    return _ask(schema, branches, kinds & {*ABOUT}, contract.schemas, left_out, relations, known=contract.digests, plain=plain)


def _ask(
    schema: str | None,
    branches: Collection[str],
    about: Collection[str],
    schemas: Collection[str],
    left_out: Collection[str],
    relations: Collection[str] | None = None,
    *,
    known: Collection[str] = (),
    plain: bool = False,
) -> str:
    return statement(
        "contract/objects.sql.j2",
        branches=branches,
        further_schemas=list(schemas),
        has_comments="comment" in about,
        has_privileges=bool({"owner", "grant"}.intersection(about)),
        has_storage="storage" in about,
        known=list(known),
        left_out=list(left_out),
        plain=plain,
        relations=None if relations is None else list(relations),
        schema=schema,
    )


def _unquoted(name: str) -> str:
    """The last part of a name as SQL has it, as the catalogs have it."""
    match = re.search(r'(?:"((?:[^"]|"")*)"|([^".]+))$', name)
    assert match is not None, name
    return match[2] if match[1] is None else match[1].replace('""', '"')
