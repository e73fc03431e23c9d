"""Types of data keys: what a value must be, and the sentence that says what was expected. Pure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

_UNITS = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


class Milliseconds(int):
    """A time that was read."""


def milliseconds(value: object) -> Milliseconds:
    """`"2s"`, `"1.5min"` or 0, to milliseconds. Without a unit Postgres reads milliseconds, and a person seconds."""
    if isinstance(value, Milliseconds):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)?", str(value).strip())
    if isinstance(value, bool) or match is None:
        raise ValueError("expected a time such as '2s', '500ms' or 0")
    number, unit = float(match[1]), match[2]
    if unit is None and number:
        raise ValueError(f"expected a unit: '{match[1]}s' or '{match[1]}ms'")
    result = round(number * _UNITS[unit or "ms"])
    if number and not result:
        raise ValueError("expected a time of at least 1ms, or 0")
    if result > 2**31 - 1:
        raise ValueError("expected a time of at most 24 days")
    return Milliseconds(result)


def identifier(value: object) -> str:
    """A name that Postgres takes as it is, on one line: 1 to 63 bytes of UTF-8. Longer names would be cut silently."""
    if not isinstance(value, str):
        raise ValueError("expected a string")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("expected valid Unicode") from None
    if not 1 <= size <= 63:
        raise ValueError(f"expected a name of 1 to 63 bytes, got {size}")
    if any(character < " " or character == "\x7f" for character in value):
        raise ValueError("expected a name without control characters")
    return value


def schema_name(value: str) -> str:
    if value == "$user":
        raise ValueError("Postgres reads it as the role's name; name the schema")
    return value


def _one_line(value: object) -> object:
    if isinstance(value, str) and re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
        raise ValueError("expected text without control characters and invalid Unicode")
    return value


def not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("expected more than spaces")
    return value


def expand_home(path: str) -> Path:
    """A path with `~` as the user's own home. Raises ValueError for another's, and where there is none."""
    first = path.partition("/")[0]
    if first.startswith("~") and first != "~":
        raise ValueError(f"{first!r} is the home of a user by name; write the whole path")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError("there is no home directory for '~'; write the whole path") from None


def own_path(value: str) -> str:
    expand_home(value)
    return value


Duration = Annotated[Milliseconds, PlainValidator(milliseconds)]
Identifier = Annotated[str, BeforeValidator(identifier)]
Days = Annotated[int, Field(ge=1, le=1_000_000)]
Folder = Annotated[str, Field(min_length=1), AfterValidator(own_path)]
Parameter = Annotated[str, Field(min_length=1), BeforeValidator(_one_line)]
"""A value for libpq or ssh, which would cut it silently."""
Port = Annotated[int, Field(strict=False, ge=1, le=65535), BeforeValidator(_one_line)]
