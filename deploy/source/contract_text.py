"""A contract as the text of its file: the same objects always give the same text, and one changed object a small diff. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import tomlkit
from tomlkit.exceptions import InvalidStringError
from tomlkit.items import Item, Table

from deploy.source.contracts import ABOUT, HEADER, KINDS, PARTS, RELATIONS, Contract, Entry


def write(contract: Contract) -> str:
    """The text of `VERSION.toml`."""
    document = tomlkit.document()
    document.add(tomlkit.comment(f"What the schema is once migration {contract.version} is applied."))
    document.add(HEADER, _header(contract))
    parts: dict[str, list[Entry]] = {}
    for entry in contract.entries:
        if entry.part_of is not None:
            parts.setdefault(entry.part_of, []).append(entry)
    for kind in KINDS:
        objects = sorted((e for e in contract.entries if e.part_of is None and e.kind == kind), key=lambda entry: entry.name)
        if not objects:
            continue
        group = tomlkit.table(is_super_table=True)
        for entry in objects:
            group.add(entry.name, _object(entry, parts.get(entry.name, []) if kind in RELATIONS else []))
        document.add(_key(kind), group)
    return tomlkit.dumps(document)


def with_header(text: str, contract: Contract) -> str:
    """A file of the same objects with what the header of `contract` says; all else in it, comments too, stays as it is."""
    document = tomlkit.parse(text)
    header = document.setdefault(HEADER, tomlkit.table())
    for key, value in _header(contract).items():
        if key not in header or header[key] != value:
            header[key] = value
    return tomlkit.dumps(document)


def _header(contract: Contract) -> Table:
    table = tomlkit.table()
    table.add("closed", contract.closed)
    if contract.through != contract.version:
        table.add("through", contract.through)
    for key, values in (("schemas", contract.schemas), ("postgresql", contract.majors), ("ignore", contract.ignore)):
        if values:
            table.add(key, tomlkit.item(list(values)))
    return table


def _object(entry: Entry, parts: Iterable[Entry]) -> Table:
    table = tomlkit.table()
    if entry.spellings != ("",):
        table.add("definition", _spellings(entry.spellings))
    for kind in (*PARTS, *ABOUT):
        # columns keep the order of the table
        found = [part for part in parts if part.kind == kind]
        ordered = found if kind == "column" else sorted(found, key=lambda part: part.name)
        if ordered:
            group = tomlkit.table()
            for part in ordered:
                group.add(part.name, _spellings(part.spellings))
            table.add(_key(kind), group)
    return table


def _spellings(texts: tuple[str, ...]) -> Item:
    if len(texts) == 1:
        return _text(texts[0])
    array = tomlkit.array()
    array.extend(_text(text) for text in sorted(texts))
    return array.multiline(True)


def _text(text: str) -> Item:
    """As it is wherever TOML can hold it so, over several lines where it has some."""
    # TOML reads a line end of two characters as one, unless it is escaped
    multiline = "\n" in text and "\r" not in text
    if '"' not in text and "\\" not in text and not multiline:
        return tomlkit.string(text)
    try:
        return tomlkit.string(text, literal=True, multiline=multiline)
    except InvalidStringError:
        return tomlkit.string(text, multiline=multiline)


def _key(kind: str) -> str:
    return kind.replace(" ", "_")
