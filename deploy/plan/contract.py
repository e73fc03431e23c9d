"""A contract against what a server said of its catalogs: what is missing, extra or changed, one difference for one fact. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from deploy.findings import Violation
from deploy.plan.catalogs import Catalog
from deploy.plan.difference import Difference, is_servers_own_name, order
from deploy.plan.merging import is_same
from deploy.source.contracts import ABOUT, OF_THE_DATABASE, RELATIONS, Contract, Entry, SchemaObject

_KEEPS_ITS_NAME = frozenset({*OF_THE_DATABASE, *ABOUT, "schema"})
"""Kinds of which one is never another under a new name."""

_CHANGES_NO_ROW = frozenset({"index", "statistics", "storage", "comment"})
"""What an open contract lets come on top, but for a unique index."""


@dataclass(frozen=True)
class Comparison:
    """`notes` are differences that are no violation: more extensions, publications or partitions, another storage."""

    violations: tuple[Violation, ...] = ()
    notes: tuple[str, ...] = ()


def compare(contract: Contract, catalog: Catalog, major: int) -> Comparison:
    """Everything in which a database on PostgreSQL `major` differs, by the names of objects.

    A major that the contract was not made with may spell a definition in its own way; that is a note.
    """
    have = {(one.kind, one.part_of, one.name, one.definition) for one in catalog.objects}
    want = {(one.kind, one.part_of, one.name, one.definition) for one in contract.objects}
    missing = [e for e in contract.entries if not any((e.kind, e.part_of, e.name, spelling) in have for spelling in e.spellings)]
    extra = [one for one in catalog.objects if (one.kind, one.part_of, one.name, one.definition) not in want]
    sides = _Sides(missing, extra)
    sides.drop(lambda one: _is_ignored(contract, one))
    accepts = _accepts if major in contract.majors else _accepts_respelt
    parts = _Parts(contract, catalog, accepts)

    changed = sides.take(_place)
    respelt = [(one, other) for one, other in changed if one.kind == other.kind and accepts(one, other.definition)]
    moved = sides.take(lambda one: one.kind if one.part_of is None else None, parts.alike)
    differences = [Difference(*pair) for pair in changed if pair not in respelt]
    renamed = [Difference(*pair, is_renamed=True) for pair in moved]
    # what is part of something that is missing, extra or something else now, is no fact of its own
    absent = _absent([*differences, *renamed, *sides.differences()])
    sides.drop(absent)
    pairs = sides.take(lambda one: (one.kind, one.part_of) if one.part_of is not None else None, parts.alike)
    renamed += [Difference(*pair, is_renamed=True) for pair in pairs if not is_servers_own_name(*pair)]
    # the name of a lost constraint may be that of an index now, and the other way round
    swapped = sides.take(lambda one: (one.part_of, one.name) if one.kind in ("constraint", "index") else None)
    if not contract.closed:
        sides.extra = [one for one in sides.extra if not _is_welcome(one)]
    differences = [
        *(difference for difference in differences if not absent(difference.one) and not difference.follows(renamed)),
        *renamed,
        *(Difference(*pair) for pair in swapped),
        *sides.differences(),
    ]
    ordered = sorted(differences, key=order)
    notes = [str(difference) for difference in ordered if _is_note(difference)]
    if respelt:
        notes.append(
            f"{len(respelt)} definition(s) are spelt differently by PostgreSQL {major}, which the contract was not made with; "
            "run deploy.contract with a host of it too"
        )
    return Comparison(tuple(difference.violation for difference in ordered if not _is_note(difference)), tuple(notes))


class _Sides:
    """What is missing and what is extra, until they are found to be one."""

    def __init__(self, missing: Iterable[Entry], extra: Iterable[SchemaObject]) -> None:
        self.missing, self.extra = list(missing), list(extra)

    def take(
        self,
        group: Callable[[Entry | SchemaObject], Hashable],
        same: Callable[[Entry, SchemaObject], bool] = lambda one, other: True,
    ) -> list[tuple[Entry, SchemaObject]]:
        """Remove and give the pairs of an equal `group` that are the `same`, where each has no other to go with."""
        groups: dict[Hashable, tuple[list[Entry], list[SchemaObject]]] = defaultdict(lambda: ([], []))
        for entry in self.missing:
            groups[group(entry)][0].append(entry)
        for one in self.extra:
            groups[group(one)][1].append(one)
        groups.pop(None, None)
        pairs = []
        for entries, objects in groups.values():
            matches = [(entry, one) for entry in entries for one in objects if same(entry, one)]
            alone = [sum(entry is e for e, _ in matches) == sum(one is o for _, o in matches) == 1 for entry, one in matches]
            pairs += [pair for pair, is_alone in zip(matches, alone, strict=True) if is_alone]
        taken = {id(one) for pair in pairs for one in pair}
        self.drop(lambda one: id(one) in taken)
        return pairs

    def drop(self, which: Callable[[Entry | SchemaObject], bool]) -> None:
        self.missing = [one for one in self.missing if not which(one)]
        self.extra = [one for one in self.extra if not which(one)]

    def differences(self) -> list[Difference]:
        return [Difference(one, None) for one in self.missing] + [Difference(None, one) for one in self.extra]


class _Parts:
    """What belongs to each relation, in the contract and in the database."""

    def __init__(self, contract: Contract, catalog: Catalog, accepts: Callable[[Entry, str], bool]) -> None:
        self._accepts = accepts
        self._expected: dict[str | None, list[Entry]] = defaultdict(list)
        self._actual: dict[str | None, dict[tuple[str, str], str]] = defaultdict(dict)
        for entry in contract.entries:
            self._expected[entry.part_of].append(entry)
        for one in catalog.objects:
            self._actual[one.part_of][one.kind, one.name] = one.definition

    def alike(self, one: Entry, other: SchemaObject) -> bool:
        """Whether two are the same but for their names, with all that belongs to them."""
        if one.kind in _KEEPS_ITS_NAME or not self._accepts(one, other.definition):
            return False
        expected = self._expected[one.name] if one.part_of is None else []
        actual = self._actual[other.name] if one.part_of is None else {}
        definitions = [(part, actual.get((part.kind, part.name))) for part in expected]
        return len(expected) == len(actual) and all(text is not None and self._accepts(part, text) for part, text in definitions)


def _accepts(one: Entry, definition: str) -> bool:
    return definition in one.spellings


def _accepts_respelt(one: Entry, definition: str) -> bool:
    return any(is_same(spelling, definition) for spelling in one.spellings)


def _place(one: Entry | SchemaObject) -> Hashable:
    """What can be there but once: relations have one set of names."""
    kind = "relation" if one.kind in RELATIONS and one.part_of is None else one.kind
    return kind, one.part_of, one.name


def _absent(differences: Iterable[Difference]) -> Callable[[Entry | SchemaObject], bool]:
    """Whether something belongs to what is missing, extra, renamed or of another kind now, or says something of it."""
    names, labels, schemas = set(), set(), set()
    for difference in differences:
        both = [one for one in (difference.expected, difference.actual) if one is not None]
        if len(both) == 2 and both[0].kind == both[1].kind and not difference.is_renamed:
            continue
        for one in both:
            labels.add((one.part_of, f"{one.kind} {one.name}"))
            if one.part_of is None:
                names.add(one.name)
            if one.kind == "schema":
                schemas.add(f"{one.name}.")

    def absent(one: Entry | SchemaObject) -> bool:
        inside = one.kind != "schema" and (one.part_of or one.name).startswith(tuple(schemas))
        return one.part_of in names or inside or (one.kind in ABOUT and (one.part_of, one.name) in labels)

    return absent


def _is_ignored(contract: Contract, one: Entry | SchemaObject) -> bool:
    """Whether a pattern of the contract names it, or the relation that it is part of."""
    names = [f"{one.kind} {one.name}"]
    if one.part_of is not None:
        names = [f"{one.kind} {one.part_of}.{one.name}", *(f"{kind} {one.part_of}" for kind in RELATIONS)]
    return any(fnmatchcase(name, pattern) for name in names for pattern in contract.ignore)


def _is_welcome(one: SchemaObject) -> bool:
    """Whether an open contract lets it come on top."""
    if one.part_of is None:
        return one.kind not in RELATIONS
    return one.kind in _CHANGES_NO_ROW and not one.definition.startswith("UNIQUE ")


def _is_note(difference: Difference) -> bool:
    one = difference.one
    if one.kind == "storage":
        return True
    if difference.expected is not None or difference.actual is None:
        return False
    return one.kind in OF_THE_DATABASE or (one.kind == "table" and "PARTITION OF " in difference.actual.definition)
