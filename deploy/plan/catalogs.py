"""What is asked of a server's catalogs, and what it answers: all of some schemas, or what can differ from contracts. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
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
class Catalog:
    """The objects that a server has, of what was asked; `fingerprint` is the digest of them all."""

    objects: tuple[SchemaObject, ...]
    fingerprint: str

    @classmethod
    def of(cls, row: Mapping[str, Any], known: Contract | None = None) -> Catalog:
        """From the row of `contract/objects.sql.j2`, to which the server leaves out what it has of `known`."""
        unmatched = frozenset(row["unmatched"])
        same = (one for one in known.objects if one.digest not in unmatched) if known is not None else ()
        return cls((*same, *(SchemaObject(**one) for one in row["objects"])), row["fingerprint"])


def ask_all(schema: str | None, schemas: Collection[str], left_out: Collection[str], *, has_privileges: bool = False) -> str:
    """The statement that reads every object of `schema` (None: where search_path leads) and `schemas`."""
    about = {"storage", "comment"} | ({"owner", "grant"} if has_privileges else set())
    return _ask(schema, (*_OF_TABLES, *_BRANCHES), about, schemas, left_out)


def ask(contracts: Sequence[Contract], schema: str | None, left_out: Collection[str]) -> str:
    """The statement that reads what can differ from any of these contracts, and of the last one's objects only what does.

    Of open ones only what hangs on their own objects. `left_out` are names of tables that are no part of any.
    """
    entries = [entry for contract in contracts for entry in contract.entries]
    kinds = {entry.kind for entry in entries}
    schemas = sorted({schema for contract in contracts for schema in contract.schemas})
    known = contracts[-1].digests
    if any(contract.closed for contract in contracts):
        about = {"storage", "comment"} | (kinds & {"owner", "grant"})
        return _ask(schema, (*_OF_TABLES, *_BRANCHES), about, schemas, left_out, known=known)
    relations = sorted({_unquoted(entry.name) for entry in entries if entry.part_of is None and entry.kind in RELATIONS})
    plain = kinds <= {"table", "column", "constraint", "index"} and not any(
        spelling if entry.kind == "table" else "GENERATED" in spelling for entry in entries for spelling in entry.spellings
    )
    more = (branch for branch, given in _BRANCHES.items() if kinds.intersection(given))
    branches = (*(_PLAIN if plain else _OF_TABLES), *more)
    return _ask(schema, branches, kinds.intersection(ABOUT), schemas, left_out, relations, known=known, plain=plain)


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
        "contract/message.sql.j2",
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
