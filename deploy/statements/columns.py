"""Rows of the package's own statements as values, whose fields are the columns that a template gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

from deploy.errors import HostFailed
from deploy.problems import Problem

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_NO_SERVER = Problem(
    "connection", "what answers is not a PostgreSQL server, or something in between changes it", "check host and port"
)

T = TypeVar("T", bound="DataclassInstance")


class Columns(dict[str, Any]):
    """A row of `template`. Raises HostFailed, naming both, for a column that it does not give."""

    def __init__(self, row: Mapping[str, Any], template: str) -> None:
        super().__init__(row)
        self._template = template

    def __missing__(self, name: str) -> Any:
        raise HostFailed(Problem("internal", f"{self._template} gives no column {name!r}", "please report it"))


def row_with(rows: Iterable[Mapping[str, Any]], column: str, template: str) -> Columns:
    """The first row that has this column, which `template` gives. Raises HostFailed when the server sent none."""
    for row in rows:
        if column in row:
            return Columns(row, template)
    raise HostFailed(_NO_SERVER)


def row_as(cls: type[T], row: Mapping[str, Any], template: str) -> T:
    """`row` as a `cls`. Raises HostFailed for a field without a default that is not a column of it."""
    columns = Columns(row, template)
    return cls(**{field.name: columns[field.name] for field in fields(cls) if field.name in columns or field.default is MISSING})
