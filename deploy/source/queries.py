"""The named queries: what the schema is for, each with the index that must be able to serve it and its budget. No database.

A file `NAME.sql.j2` starts with comment lines, and what follows is one statement, the same bytes that a service may use:

    -- What it is for, in a sentence.
    -- index: NAME ON table (column, column DESC)
    -- budget_ms: {{ query_budget_ms }}
    -- $1: KIND, one of PARAMETERS; a line for each parameter
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import source_refused
from deploy.source import sql_templates
from deploy.statements.rendering import Templates

PARAMETERS = ("integration_id", "event_type", "severity", "since", "until")
"""What a parameter may stand for; the probe varies each of them."""

_HEADER = re.compile(r"-- (?P<key>[a-z_]+|\$\d): (?P<value>.+)")
_INDEX = re.compile(r"(?P<name>\w+) ON (?P<table>\w+) \([\w, ]+\)")


@dataclass(frozen=True)
class Query:
    """`index` of `table` must be able to serve it; `budget_ms` bounds the p95."""

    name: str
    sql: str
    index: str
    table: str
    parameters: tuple[str, ...]
    budget_ms: float


def packaged() -> Path:
    return sql_templates.folder() / "queries"


def load(folder: Path, budget_ms: int) -> tuple[Query, ...]:
    """The queries of a folder by name. Raises RunRefused, naming the file, when a header can't be read."""
    templates = Templates(folder)
    paths = sorted(folder.glob("*.sql.j2"))
    return tuple(_query(path, templates.render(path.name, query_budget_ms=budget_ms)) for path in paths)


def _query(path: Path, text: str) -> Query:
    comments = [line for line in text.splitlines() if line.startswith("--")]
    header = {match["key"]: match["value"] for line in comments if (match := _HEADER.fullmatch(line))}
    index = _INDEX.fullmatch(header.get("index", ""))
    if index is None:
        raise source_refused(path, "no line `-- index: NAME ON table (columns)` that can be read", "add it")
    if not re.fullmatch(r"\d+(\.\d+)?", header.get("budget_ms", "")):
        raise source_refused(path, "no line `-- budget_ms: MILLISECONDS` that can be read", "add it")
    count = max((int(number) for number in re.findall(r"\$(\d+)", "\n".join(_statement(text)))), default=0)
    parameters = tuple(header.get(f"${number}", "") for number in range(1, count + 1))
    if unknown := [f"${number}" for number, kind in enumerate(parameters, 1) if kind not in PARAMETERS]:
        raise source_refused(path, f"no line `-- {unknown[0]}: KIND` with one of {', '.join(PARAMETERS)}", "add it")
    return Query(
        name=path.name.removesuffix(".sql.j2"),
        sql="\n".join(_statement(text)),
        index=index["name"],
        table=index["table"],
        parameters=parameters,
        budget_ms=float(header["budget_ms"]),
    )


def _statement(text: str) -> list[str]:
    return [line for line in text.rstrip().removesuffix(";").splitlines() if not line.startswith("--")]
