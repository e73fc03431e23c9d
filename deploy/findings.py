"""What a verb found on one host, as one value: what the console prints and what a report is made of. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from deploy.errors import SqlError

NOT_ATTEMPTED = "not attempted"
"""How the sentence begins for a host of a wave that did not start."""


@dataclass(frozen=True)
class Violation:
    """What a check found: `object` is `table.column` or the name of a table, constraint or index.

    `about` is what the check says that its rows are about (deploy.source.checks.ABOUT), empty for something else.
    """

    check: str
    object: str
    expected: str
    actual: str
    about: str = ""

    def __str__(self) -> str:
        return f"{self.object}: expected {self.expected}, found {self.actual}"


@dataclass(frozen=True)
class QueryTiming:
    """A named query on the probe's tables. Times in milliseconds, measured on the server; `budget_ms` is that of the host.

    `index` is the one that must be able to serve it; `rows` is the size of the larger table, `runs` how often it ran; `plan`
    is EXPLAIN's text with all indexes there, reported and not judged.
    """

    name: str
    index: str
    budget_ms: float
    p50_ms: float
    p95_ms: float
    runs: int
    rows: int
    plan: str

    @property
    def within_budget(self) -> bool:
        return self.p95_ms <= self.budget_ms

    def __str__(self) -> str:
        return f"{self.name}: p95 {self.p95_ms:.2f} ms of {self.budget_ms:g} ms, p50 {self.p50_ms:.2f} ms, {self.runs} run(s)"


@dataclass(frozen=True)
class HostFindings:
    """One host. `checks` names every check that ran; a check without a violation of its name has passed.

    `error` says why nothing is known (the host could not be reached or read): then `server_version` and `role` may be None
    and `checks` is empty; or how a probe broke off, and then `checks` is not empty. `not_probed` says why the probe did not
    run although it was asked for; None when it ran, and when nobody asked (then `queries` is empty). `not_run` has the
    checks that the role may not run, with the sentence that names the right it lacks; they are not in `checks`.
    """

    host: str
    database: str | None
    server_version: str | None
    role: Literal["primary", "standby"] | None
    checks: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()
    queries: tuple[QueryTiming, ...] = ()
    not_probed: str | None = None
    not_run: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Probed:
    """What a probe found; `checks` are those it ran. With `not_probed` it did not run, with `error` it broke off."""

    checks: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()
    queries: tuple[QueryTiming, ...] = ()
    not_probed: str | None = None
    error: SqlError | None = None

    def add_to(self, findings: HostFindings) -> HostFindings:
        """The findings of the catalogs with those of the probe."""
        return replace(
            findings,
            checks=findings.checks + self.checks,
            violations=findings.violations + self.violations,
            queries=self.queries,
            not_probed=self.not_probed,
            error=self.error.summary if self.error is not None else None,
        )


@dataclass(frozen=True)
class PurgeFindings:
    """What a purge did on one host.

    `cutoff` and `health_cutoff` are timestamptz in UTC by the server's clock, None when they were not taken or nothing has a
    retention there. `remaining` counts the rows of both tables that are past retention and still there, as far as known; after a
    dry run that is what would go. `note` says why a host without an error was left alone.
    """

    host: str
    cutoff: str | None = None
    health_cutoff: str | None = None
    deleted_events: int = 0
    deleted_health: int = 0
    seconds: float = 0.0
    remaining: int | None = None
    note: str | None = None
    error: str | None = None
