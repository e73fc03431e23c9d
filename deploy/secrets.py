"""Secret values, masked in whatever is shown: in their own spelling, and as SQL, JSON, URLs, HTML and base64 write them.

A value of fewer than LEAST characters can't be masked, since it would be found in half of all words, and is refused; a password of
so few is not masked. Of a value of several lines each line is a secret. What a server cuts short is recognised by its beginning.
"""

from __future__ import annotations

import base64
import html
import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import quote, quote_plus

from deploy.text import cut, one_line, printable

MASK = "***"

LEAST = 4
"""Characters of the shortest secret that is masked."""

_HEAD = 15
"""Characters that tell a secret by its beginning: the 63 bytes of a cut name hold at least so many."""

_OUR_WORDS = frozenset({"host", "kind", "role"})
"""Fields of values that hold a word of ours or the host's name in the inventory, by which others look things up."""

_ESCAPES: tuple[Callable[[str], str], ...] = (
    lambda text: text.replace("'", "''"),
    lambda text: text.replace("\\", "\\\\").replace("'", "''"),  # E''
    lambda text: text.replace('"', '""'),
    lambda text: text.replace("\\", "\\\\").replace("'", "\\'"),  # a connection string
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: repr(text)[1:-1],
    lambda text: " ".join(text.split()),
    str.lower,
    html.escape,
    partial(quote, errors="replace"),
    partial(quote, safe="", errors="replace"),
    partial(quote_plus, errors="replace"),
    printable,
    one_line,
)
"""How a value is written inside of another text; one of them may stand inside of another."""

T = TypeVar("T")


class Secrets:
    """The secret values of one host, by the names that an operator knows them by."""

    def __init__(self, values: Mapping[str, Sequence[str]] | None = None) -> None:
        self._values = values or {}
        spellings = {spelling for value in self._values.values() for text in value for spelling in _spellings(text)}
        self._spellings = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
        self._beginnings: dict[str, list[str]] = defaultdict(list)
        for spelling in self._spellings:
            if len(spelling) > _HEAD:
                self._beginnings[spelling[:_HEAD]].append(spelling)

    def mask(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, MASK)
        for head, spellings in self._beginnings.items():
            start = text.find(head)
            while start >= 0:
                length = max(_shared(text[start : start + len(one)], one) for one in spellings)
                text = text[:start] + MASK + text[start + length :]
                start = text.find(head, start + len(MASK))
        return text

    def masked(self, value: T) -> T:
        """A value with each text in it masked."""
        return _each(value, self.mask)

    def shown(self, value: T) -> T:
        """The same for what a server may have written: each text is masked, then cut to a length that can be read."""
        return _each(value, lambda text: cut(self.mask(text)))

    def found_in(self, text: str) -> list[str]:
        """The names of those whose value stands in `text`."""
        return [name for name, values in self._values.items() if Secrets({name: values}).mask(text) != text]


def in_variables(variables: Mapping[str, Any] | None, names: Collection[str] | None) -> dict[str, list[str]]:
    """The values of the variables with these names, at any depth, with all that is below them; by path, such as `db.password`."""
    found: dict[str, list[str]] = {}
    for path, value in _below(variables or {}, frozenset(names or ()), "", False):
        found.setdefault(path, []).append(value)
    return found


def with_environment(variables: Mapping[str, Any] | None, names: Collection[str]) -> dict[str, Any]:
    """The variables, with those that environment variables hold. Raises ValueError with a sentence and the next step."""
    every = dict(variables or {})
    for name, place in names.items() if isinstance(names, Mapping) else ():
        if place not in os.environ:
            raise ValueError(
                f"the environment variable {place!r} of the secret variable {name!r} is not set; set it for this command"
            )
        every[name] = os.environ[place]
    for path, values in in_variables(every, names).items():
        if any(0 < len(value) < LEAST for value in values):
            reason = f"a value of the secret variable {path!r} has fewer than {LEAST} characters, too few to be masked"
            raise ValueError(f"{reason}; make it longer, or take its name out of `secret_variables`")
    return every


def _below(value: Any, names: frozenset[str], path: str, secret: bool) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _below(item, names, f"{path}.{key}" if path else str(key), secret or str(key) in names)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _below(item, names, path, secret)
    elif secret and value is not None and not isinstance(value, bool):
        yield path, str(value)


def _spellings(value: str) -> set[str]:
    found = {value, *map(str.strip, value.splitlines())}
    for _ in range(2):
        found |= {escape(text) for text in found for escape in _ESCAPES}
    raw = value.encode(errors="surrogatepass")
    found |= {raw.hex(), raw.hex().upper(), *base64.encodebytes(raw).decode().splitlines()}
    for offset, dependent in ((0, 0), (1, 2), (2, 3)):  # where other bytes come before it, and characters that depend on them
        inside = base64.b64encode(b"\0" * offset + raw).decode()[dependent:]
        inside = inside.rstrip("=")[:-1] if inside.endswith("=") else inside
        found |= {inside, inside.replace("+", "-").replace("/", "_")}
    return {spelling for spelling in found if len(spelling) >= LEAST}


def _shared(text: str, spelling: str) -> int:
    """How many characters both begin with."""
    return next((place for place, pair in enumerate(zip(text, spelling, strict=False)) if pair[0] != pair[1]), len(text))


def _each(value: T, change: Callable[[str], str]) -> T:
    if isinstance(value, str):
        return cast(T, change(value))
    if isinstance(value, Mapping):
        return cast(T, {key: _each(item, change) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return cast(T, type(value)(_each(item, change) for item in value))
    if is_dataclass(value) and not isinstance(value, type):
        changed = {one.name: _each(getattr(value, one.name), change) for one in fields(value) if one.name not in _OUR_WORDS}
        return replace(value, **changed)
    return value
