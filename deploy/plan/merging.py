"""One contract from the catalogs of several hosts: what majors and restores spell differently, and what truly differs. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.plan.difference import Difference
from deploy.source.contracts import Entry, SchemaObject

_QUOTED = r"""'(?:[^']|'')*'|"(?:[^"]|"")*\""""
_CAST = re.compile(
    r"""::((?:"(?:[^"]|"")*"|[\w.]+)(?: varying| precision|(?: with| without) time zone)?(?:\(\d+(?:,\d+)?\))?)(?:\[\])*"""
)
_TOKEN = re.compile(rf"{_QUOTED}|\w+|[^\w\s]+?")
_QUALIFIER = re.compile(r"""(?:"(?:[^"]|"")*"|\b[a-z_]\w*)\.(?=["\w])""")

_SYNTAX = frozenset(
    (
        "at",
        "time",
        "zone",
        "timezone",
        "extract",
        "date_part",
        "from",
        "for",
        "substring",
        "position",
        "overlay",
        "placing",
        "trim",
        "btrim",
    )
)
"""Words of the functions that PostgreSQL 14 and later spell with SQL's own syntax, earlier ones as a call."""


@dataclass(frozen=True)
class Merged:
    """`differing` says of each object that is not the same everywhere where it is how; then there is nothing to write."""

    entries: tuple[Entry, ...]
    differing: tuple[str, ...] = ()


def merge(observed: Mapping[str, Sequence[SchemaObject]]) -> Merged:
    """The objects of all hosts, by the hosts' names, each with every spelling that was seen."""
    hosts = list(observed)
    by_host = {host: {(one.kind, one.name, one.part_of): one for one in objects} for host, objects in observed.items()}
    keys = dict.fromkeys(key for objects in by_host.values() for key in objects)
    entries, differing = [], []
    for key in keys:
        first = next(host for host in hosts if key in by_host[host])
        one = by_host[first][key]
        entry = Entry(*key, (one.definition,))
        for host in hosts:
            other = by_host[host].get(key)
            if other is None:
                shown = Difference(entry, None).violation
                differing.append(f"{shown.object}: {shown.expected} on {first}, missing on {host}")
            elif not is_same(one.definition, other.definition):
                shown = Difference(entry, other).violation
                differing.append(f"{shown.object}: {shown.expected} on {first}, {shown.actual} on {host}")
        spellings = {objects[key].definition for objects in by_host.values() if key in objects}
        entries.append(Entry(*key, tuple(sorted(spellings))))
    return Merged(tuple(entries), tuple(dict.fromkeys(differing)))


def is_same(one: str, other: str) -> bool:
    """Whether two definitions can be spellings of one: alike but for parentheses, where casts stand, and qualified columns."""
    if one == other:
        return True
    tokens, casts = _reduced(one)
    other_tokens, other_casts = _reduced(other)
    if casts != other_casts:
        return False
    if tokens == other_tokens:
        return True
    syntax = {token for token in set(tokens) ^ set(other_tokens)} & _SYNTAX
    return bool(syntax) and _without_syntax(tokens) == _without_syntax(other_tokens)


def _reduced(definition: str) -> tuple[list[str], frozenset[str]]:
    """The words in order without casts, qualifiers and parentheses; and to what is cast."""
    casts = frozenset(match[1] for match in _CAST.finditer(definition))
    text = _QUALIFIER.sub("", _CAST.sub("", definition))
    return [token for token in _TOKEN.findall(text) if token not in "()[]"], casts


def _without_syntax(tokens: list[str]) -> Counter[str]:
    words = (token.lower().strip("'") for token in tokens)
    return Counter(word for word in words if word not in _SYNTAX and word != ",")
