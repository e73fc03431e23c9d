"""Fleets for the tests of the report: a healthy host, 200 hosts of which three are broken, and hostile names."""

from __future__ import annotations

from datetime import datetime, timezone

from deploy.findings import HostFindings, QueryTiming, Violation
from deploy.problems import Problem
from deploy.report.fleet import Fleet, Tool, all_checks

CHECKS = ("columns", "constraints", "indexes", "owners", "tables", "triggers_and_rules")
WHEN = datetime(2026, 1, 11, 3, 8, 35, tzinfo=timezone.utc)
QUERIES = {
    "current_status_of_one": "idx_integration_health_integration_id",
    "current_status_of_all": "idx_integration_health_last_checked",
    "events_of_one": "idx_integration_events_integration_id",
    "events_in_a_range": "idx_integration_events_occurred_at",
}
STATUS = Violation("columns", "integration_health.status", "character varying(20) NOT NULL", "text NOT NULL", "definition")
INDEX = Violation("indexes", "idx_integration_events_occurred_at", "integration_events USING btree (occurred_at DESC)", "missing")
MISSING = (
    Violation("tables", "integration_events", "table", "missing", "tables"),
    Violation("tables", "integration_health", "table", "missing", "tables"),
)
SLOW = tuple(
    Violation("latency", name, "p95 at most 100 ms", f"p95 {ms} ms")
    for name, ms in (("events_of_one", 198), ("events_in_a_range", 264))
)
REFUSED = Problem(
    "connection",
    'can\'t connect to db-113.eu.example:5432: connection to server at "10.0.3.113", port 5432 failed: Connection refused',
    "check the port and that the server runs",
)
HOSTILE = (
    '<script>alert("x")</script>',
    "a\"b'c&amp;<!--]]>",
    "\N{RIGHT-TO-LEFT OVERRIDE}fdp.exe \N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET}",
    "😀" * 20,
    "n" * 300,
    "bell\x07 nul\x00 esc\x1b[31m ￾ \udc80",
    "{{ 7 * 7 }}{% raw %}",
    "new\nline\ttab",
)


def timings(slow: float = 1.0) -> tuple[QueryTiming, ...]:
    """Made-up latencies, `slow` times those of an idle server."""
    plan = "Limit  (cost=0.42..8.44 rows=1 width=120)\n  ->  Index Scan Backward using {} on integration_events"
    return tuple(
        QueryTiming(name, index, 100, 0.4 * (n + 1) * slow, 1.1 * (n + 1) * slow, 200, 1_000_000, plan.format(index))
        for n, (name, index) in enumerate(QUERIES.items())
    )


def host(name: str, *violations: Violation, queries: tuple[QueryTiming, ...] = (), role: str = "primary") -> HostFindings:
    return HostFindings(
        host=name,
        database="integration_health",
        server_version="15.18 (Debian 15.18-0+deb12u1)",
        role="standby" if role == "standby" else "primary",
        checks=(*CHECKS, "latency") if queries else CHECKS,
        violations=violations,
        queries=queries,
    )


def unreached(name: str) -> HostFindings:
    return HostFindings(name, problems=(REFUSED,))


def fleet(*hosts: HostFindings, dry: bool = False, verb: str = "verify") -> Fleet:
    return Fleet(
        verb=verb,
        inventory="inventories/prod.py",
        when=WHEN,
        tool=Tool("0.1.0"),
        dry=dry,
        hosts=hosts,
        checks=all_checks(hosts, (*CHECKS, "latency")),
    )


def healthy() -> Fleet:
    return fleet(host("@postgres/local", queries=timings()))


def six() -> Fleet:
    """The fleet of the README's picture: one host has drifted, one can't be reached, one is a standby."""
    return fleet(
        host("@postgres/eu-1", queries=timings()),
        host("@postgres/eu-1-standby", role="standby"),
        host("@postgres/eu-2", STATUS, INDEX, queries=timings(1.4)),
        unreached("@postgres/eu-3"),
        host("@postgres/us-1", queries=timings(1.8)),
        host("@postgres/us-2", queries=timings(1.2)),
    )


def two_hundred() -> Fleet:
    """Host 57 violates the contract, 88 is over its budgets and 113 can't be reached; every tenth is a standby."""
    hosts = []
    for number in range(1, 201):
        name = f"@postgres/db-{number:03}.eu"
        if number == 113:
            hosts.append(unreached(name))
            continue
        found = {57: (STATUS, INDEX), 88: SLOW}.get(number, ())
        slow = 60.0 if number == 88 else 1 + (number * 37 % 100) / 50
        role = "standby" if number % 10 == 0 else "primary"
        hosts.append(host(name, *found, queries=timings(slow) if role == "primary" else (), role=role))
    return fleet(*hosts)


def hostile() -> Fleet:
    hosts = [host(name, Violation("columns", name, name, name), Violation(name, "x", name, name)) for name in HOSTILE]
    hosts.append(HostFindings("\x1b[31m", problems=(Problem("connection", "\n".join(HOSTILE)),)))
    return fleet(*hosts)
