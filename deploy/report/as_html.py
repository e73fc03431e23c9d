"""`verify.html`: the fleet as one page for people, from `page.html.j2` beside this file. Pure.

Every value is escaped by Jinja; the page holds no script, asks for no network, and says so to the browser in its policy.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from deploy.findings import HostFindings, Status, Violation
from deploy.report.advice import advise
from deploy.report.fleet import BROKEN, Fleet, violations_of, words
from deploy.report.plot import plot
from deploy.text import printable

_FOLDED = 12
"""More hosts that are OK than this are folded away, so that what needs attention fits the first screen."""


@dataclass(frozen=True)
class Row:
    """A host as the page shows it. `id` is its anchor; `cells` has, for each check, its state and its violations."""

    id: str
    host: HostFindings
    cells: tuple[tuple[str, str, tuple[Violation, ...]], ...]
    error: str | None

    @property
    def status(self) -> Status:
        return self.host.status

    @property
    def broken(self) -> bool:
        return self.status in BROKEN


def render(fleet: Fleet) -> bytes:
    rows = [_row(fleet, host, f"h{number}") for number, host in enumerate(fleet.worst_first(), 1)]
    healthy = fleet.counts["ok"]
    shown = rows[: len(rows) - healthy] if healthy > _FOLDED else rows
    text = (
        _environment()
        .get_template("page.html.j2")
        .render(
            fleet=fleet,
            counts=fleet.counts,
            first=shown,
            rest=rows[len(shown) :],
            broken=[row for row in rows if row.broken],
            anchors={row.host.host: row.id for row in rows},
            advice=advise(fleet),
            plot=plot(fleet),
            servers=_servers(fleet),
            versions=_versions(fleet),
            unprobed=_grouped(fleet),
        )
    )
    return text.encode()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        newline_sequence="\n",
    )
    environment.filters["ms"] = _milliseconds
    environment.filters["words"] = words
    return environment


def _finalize(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def _milliseconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _row(fleet: Fleet, host: HostFindings, id: str) -> Row:
    cells = []
    for check in fleet.checks:
        found = violations_of(host, check)
        cells.append((check, "bad" if found else "ok" if check in host.checks else "none", found))
    error = host.error or "\n".join(host.not_run.values()) or None
    return Row(id, host, tuple(cells), error)


def _servers(fleet: Fleet) -> list[tuple[str, str, int]]:
    """Version, role and number of hosts; the oldest version first, unknown last."""
    counted = Counter((host.server_version or "", host.role or "") for host in fleet.hosts)
    ordered = sorted(counted.items(), key=lambda item: (not item[0][0], _numbers(item[0][0]), item[0]))
    return [(version or "unknown", role or "unknown", count) for (version, role), count in ordered]


def _versions(fleet: Fleet) -> list[str]:
    """The versions of the servers that were reached, without what a packager added, oldest first."""
    seen = {host.server_version.split(" ")[0] for host in fleet.hosts if host.server_version}
    return sorted(seen, key=lambda version: (_numbers(version), version))


def _numbers(version: str) -> list[int]:
    """`15.18 (Debian 15.18-1)` as [15, 18], so that 9 sorts before 15."""
    return [int(part) for part in version.split(" ")[0].split(".") if part.isdecimal()]


def _grouped(fleet: Fleet) -> list[tuple[str, list[str]]]:
    """Each reason for which a probe did not run, with its hosts."""
    reasons: dict[str, list[str]] = {}
    for host in fleet.hosts:
        if host.not_probed is not None:
            reasons.setdefault(host.not_probed, []).append(host.host)
    return list(reasons.items())
