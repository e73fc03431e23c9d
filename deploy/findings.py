"""What a verb found on one host, as values: what the console prints and what a report is made of. Pure.

A report's JSON and its schema are made from these classes, so a docstring below a field is what the schema says of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import ConfigDict, computed_field
from pydantic.config import JsonDict

from deploy.errors import SqlError
from deploy.problems import Problem

JSON = ConfigDict(use_attribute_docstrings=True, json_schema_serialization_defaults_required=True)

Role = Literal["primary", "standby"]
Status = Literal["not_reached", "failed", "violations", "not_verified", "ok"]


@dataclass(frozen=True)
class Violation:
    """What a check found."""

    __pydantic_config__ = JSON

    check: str
    object: str
    """table.column, or the name of a table, constraint or index"""
    expected: str
    actual: str
    about: str = ""
    """what the check says that its rows are about (deploy.source.checks.ABOUT), empty for something else"""

    def __str__(self) -> str:
        return f"{self.object}: expected {self.expected}, found {self.actual}"


@dataclass(frozen=True)
class QueryTiming:
    """A named query on the probe's tables, measured on the server."""

    __pydantic_config__ = JSON

    name: str
    index: str
    """the index that must be able to serve the query"""
    budget_ms: float
    """budget of the host, in milliseconds"""
    p50_ms: float
    p95_ms: float
    runs: int
    """how often the query ran"""
    rows: int
    """rows of the larger table of the probe"""
    plan: str
    """the text of EXPLAIN with all indexes there; reported, not judged"""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def within_budget(self) -> bool:
        """whether p95_ms is at most budget_ms"""
        return self.p95_ms <= self.budget_ms

    def __str__(self) -> str:
        return f"{self.name}: p95 {self.p95_ms:.2f} ms of {self.budget_ms:g} ms, p50 {self.p50_ms:.2f} ms, {self.runs} run(s)"


_CONSISTENT: JsonDict = {
    "allOf": [
        {
            "if": {"properties": {"status": {"enum": ["not_reached", "failed"]}}},
            "then": {"properties": {"problems": {"minItems": 1}}},
            "else": {"properties": {"problems": {"maxItems": 0}}},
        },
        {
            "if": {"properties": {"status": {"const": "ok"}}},
            "then": {"anyOf": [{"properties": {"checks": {"minItems": 1}}}, {"properties": {"completed": {"const": True}}}]},
        },
        {
            "if": {"properties": {"status": {"const": "violations"}}},
            "then": {"properties": {"violations": {"minItems": 1}}},
        },
    ]
}
"""What the schema says of a status beside the types: a host is never called OK for nothing."""


@dataclass(frozen=True)
class HostFindings:
    """What is known of one host at the end of a run."""

    __pydantic_config__ = ConfigDict(**JSON, json_schema_extra=_CONSISTENT)

    host: str
    """name in the inventory"""
    database: str | None = None
    server_version: str | None = None
    role: Role | None = None
    checks: tuple[str, ...] = ()
    """the checks that ran; one without a violation has passed"""
    violations: tuple[Violation, ...] = ()
    queries: tuple[QueryTiming, ...] = ()
    """empty unless the probe ran"""
    problems: tuple[Problem, ...] = ()
    """why the host failed; with checks, how its probe broke off"""
    not_run: Mapping[str, str] = field(default_factory=dict)
    """checks that the role may not run, with the privilege that it lacks"""
    not_probed: str | None = None
    """why the probe did not run although it was asked for"""
    not_verified: str | None = None
    """why a host without a problem was not checked"""
    completed: bool = False
    """whether a verb that does not verify did all of its work"""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def status(self) -> Status:
        """ok: verified without a violation, or completed by a verb that does not verify"""
        if self.problems:
            started = self.server_version or any(problem.kind == "not-attempted" for problem in self.problems)
            return "failed" if started else "not_reached"
        if self.violations:
            return "violations"
        return "ok" if self.checks or self.completed else "not_verified"

    @property
    def error(self) -> str | None:
        """The problems as the operator saw them; the first line says what, where and what next."""
        return "\n".join(str(problem) for problem in self.problems) or None

    @property
    def headline(self) -> str:
        """The first line of the error, empty without one."""
        return (self.error or "").partition("\n")[0]

    @property
    def identity(self) -> HostFindings:
        """The host with what is known of its server, and nothing found."""
        return HostFindings(self.host, self.database, self.server_version, self.role)


@dataclass(frozen=True)
class Probed:
    """What a probe found; `checks` are those it ran. With `not_probed` it did not run, with `error` it broke off."""

    checks: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()
    queries: tuple[QueryTiming, ...] = ()
    not_probed: str | None = None
    error: SqlError | None = None

    def add_to(self, findings: HostFindings) -> HostFindings:
        """The findings of the catalogs with those of the probe. A check that could not run is a problem where no violation is."""
        violations = findings.violations + self.violations
        problems = [Problem("probe", self.error.summary)] if self.error is not None else []
        if not violations and not problems and not findings.problems:
            problems = [Problem("check-not-run", reason) for reason in findings.not_run.values()]
        return replace(
            findings,
            checks=findings.checks + self.checks,
            violations=violations,
            queries=self.queries,
            not_probed=self.not_probed,
            problems=(*findings.problems, *problems),
        )


@dataclass(frozen=True)
class PurgeFindings:
    """What a purge did on one host."""

    __pydantic_config__ = JSON

    host: str
    """name in the inventory"""
    cutoff: str | None = None
    """events older than this go; timestamptz in UTC by the server's clock, null when it was not taken"""
    health_cutoff: str | None = None
    """the same for rows of integration_health, null when they are kept for ever"""
    deleted_events: int = 0
    deleted_health: int = 0
    seconds: float = 0.0
    remaining: int | None = None
    """rows of both tables that are past retention and still there, as far as known; after a dry run those that would go"""
    note: str | None = None
    """why a host without a problem was left alone"""
    problems: tuple[Problem, ...] = ()
    """why the host failed"""
