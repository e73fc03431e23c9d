"""Rows as JSON has them."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.pq.abc import PGresult

_INTEGERS = {20, 21, 23, 26}
_FLOATS = {700, 701}
_BOOLEAN = 16
_JSON = {114, 3802}


def read(cursor: psycopg.Cursor[Any]) -> list[dict[str, Any]]:
    """The rows of all results of a message, in order. A column name that is there already gets its number."""
    rows: list[dict[str, Any]] = []
    more: bool | None = True
    while more:
        result = cursor.pgresult
        if result is not None:
            rows += rows_of(result)
        more = cursor.nextset()
    return rows


def rows_of(result: PGresult) -> Iterator[dict[str, Any]]:
    """Those of one result; rows without a column are none."""
    columns: list[tuple[str, int]] = []
    for i in range(result.nfields):
        name = unique = (result.fname(i) or b"").decode(errors="backslashreplace")
        while any(unique == other for other, _ in columns):
            unique = f"{name}_{i + 1}"
            name += "_"
        columns.append((unique, result.ftype(i)))
    for row in range(result.ntuples if columns else 0):
        yield {name: _value(result.get_value(row, i), oid) for i, (name, oid) in enumerate(columns)}


def _value(raw: bytes | None, oid: int) -> Any:
    """A value in Postgres's text format as JSON has it; what JSON has no type for (numeric, times, bytea, NaN) stays text."""
    if raw is None:
        return None
    text = raw.decode(errors="backslashreplace")
    if oid == _BOOLEAN:
        return text == "t"
    if oid in _INTEGERS:
        return int(text)
    if oid in _FLOATS and text not in ("NaN", "Infinity", "-Infinity"):
        return float(text)
    if oid in _JSON:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text, parse_float=_number)
    return text


def _number(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text
