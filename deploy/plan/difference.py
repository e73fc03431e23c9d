"""One difference between a contract and a database, and the words for it. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from deploy.findings import Violation
from deploy.source.contracts import ABOUT, RELATIONS, Entry, SchemaObject

CHECK = "contract"
"""The name of the comparison among the checks."""

_NAMED_BY_THEIR_TABLE = frozenset({"trigger", "rule", "policy", *ABOUT})
"""Parts that a reader looks for at their table; other parts have a name that nothing else has."""

_LINE = 160


@dataclass(frozen=True)
class Difference:
    """One fact. `expected` is None for what is extra, `actual` for what is missing; `is_renamed`: nothing differs but the name."""

    expected: Entry | None
    actual: SchemaObject | None
    is_renamed: bool = False

    @property
    def one(self) -> Entry | SchemaObject:
        found = self.expected or self.actual
        assert found is not None
        return found

    @property
    def object(self) -> str:
        """Where it is, as a violation names it."""
        one = self.one
        if one.kind == "column":
            return f"{one.part_of}.{one.name}"
        if one.part_of is not None:
            return one.part_of if one.kind in _NAMED_BY_THEIR_TABLE else one.name
        return one.name if one.kind in (*RELATIONS, *ABOUT) else f"{one.kind} {one.name}"

    @property
    def violation(self) -> Violation:
        expected, actual = self._sides()
        return Violation(CHECK, self.object, expected, actual, self._about())

    def _sides(self) -> tuple[str, str]:
        if self.expected is None:
            assert self.actual is not None
            return _none(self.actual), _brief(_text(self.actual, self.actual.definition))
        expected = _text(self.expected, self.expected.spellings[0])
        if self.actual is None:
            return _brief(expected), "missing"
        if self.is_renamed:
            return f"the name {self.expected.name}", f"the name {self.actual.name}"
        actual = _text(self.actual, self.actual.definition)
        return _apart(expected, actual) if self.expected.kind == self.actual.kind else (_brief(expected), _brief(actual))

    def follows(self, renamed: Iterable[Difference]) -> bool:
        """Whether nothing differs but the name of something else, which is said already."""
        if self.expected is None or self.actual is None or self.is_renamed or self.expected.kind != self.actual.kind:
            return False
        spellings = self.expected.spellings
        for other in renamed:
            assert other.expected is not None and other.actual is not None
            old, new = (one.name.partition("(")[0] for one in (other.expected, other.actual))
            word = re.compile(rf'(?<![\w"]){re.escape(old)}(?![\w"])')
            spellings = tuple(word.sub(lambda _, new=new: new, spelling) for spelling in spellings)  # type: ignore[misc]
        return self.actual.definition in spellings

    def _about(self) -> str:
        """The word of deploy.source.checks.ABOUT."""
        if self.one.part_of is None:
            return "tables" if self.one.kind == "table" else ""
        return "definition" if self.one.kind in ("column", "constraint") else ""

    def __str__(self) -> str:
        return str(self.violation)


def _none(extra: SchemaObject) -> str:
    """What was expected where something is extra."""
    if extra.kind in _NAMED_BY_THEIR_TABLE:
        return f"no {extra.kind}"
    if extra.kind == "index" and extra.definition.startswith("UNIQUE "):
        return f"no other unique index on {extra.part_of}"
    where = f" on {extra.part_of}" if extra.kind in ("constraint", "index") else ""
    return f"no such {extra.kind}{where}"


def _text(one: Entry | SchemaObject, definition: str) -> str:
    """An object in full, as far as the name of a violation does not say it."""
    if one.kind == "index":
        unique, rest = ("UNIQUE ", definition.removeprefix("UNIQUE ")) if definition.startswith("UNIQUE ") else ("", definition)
        return f"{unique}INDEX ON {one.part_of} USING {rest}"
    if one.kind in ABOUT:
        of = "" if one.part_of is None or one.name in RELATIONS else f" of {one.name}"
        return f"{one.kind}{of} {definition}"
    if one.kind in _NAMED_BY_THEIR_TABLE:
        return f"{one.kind} {one.name} {definition}"
    if one.kind in RELATIONS and one.part_of is None:
        return f"{one.kind} {definition}".rstrip()
    return definition or one.kind


def _brief(text: str, limit: int = _LINE) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _apart(expected: str, actual: str) -> tuple[str, str]:
    """Both sides on a line each: in full where they are short, else from where they differ."""
    if "\n" not in expected + actual and max(len(expected), len(actual)) <= _LINE:
        return expected, actual
    ours, theirs = expected.splitlines(), actual.splitlines()
    if len(ours) == len(theirs) == 1:
        same = next((n for n, (a, b) in enumerate(zip(expected, actual, strict=False)) if a != b), min(len(expected), len(actual)))
        start = expected.rfind(" ", 0, max(0, same - 20)) + 1
        return "…" + _brief(expected[start:]), "…" + _brief(actual[start:])
    codes = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    _, first, last, other_first, other_last = next(code for code in codes if code[0] != "equal")
    return (
        f"line {first + 1}: {_brief(' '.join(ours[first:last])) or 'no such line'}",
        f"{_brief(' '.join(theirs[other_first:other_last])) or 'no such line'}",
    )


_FIRST = ("schema", *RELATIONS, "column", "constraint", "index")


def order(difference: Difference) -> tuple[int, str, str, str]:
    """What the rest stands on comes first; then by the table or the name."""
    one = difference.one
    rank = _FIRST.index(one.kind) if one.kind in _FIRST else len(_FIRST)
    return rank, one.part_of or one.name, one.kind, one.name


_SERVERS_OWN_NAME = re.compile(r"_(?:key|fkey|check|excl|not_null|idx|seq)\d*\"?$")
"""How the server ends a name that a statement left to it."""


def is_servers_own_name(expected: Entry, actual: SchemaObject) -> bool:
    """Whether both names were left to the server, or are those of a primary key, of which there is but one."""
    if actual.kind not in ("constraint", "index"):
        return False
    if actual.definition.startswith("PRIMARY KEY "):
        return True
    return all(_SERVERS_OWN_NAME.search(one.name) for one in (expected, actual))
