"""`verify.json`: the fleet for programs, as `verify.schema.json` beside this file describes it. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from deploy.findings import HostFindings
from deploy.report.fleet import Fleet, condition, trouble

SCHEMA_VERSION = 1
"""Rises when a key goes away or changes its meaning; new keys may appear without."""


def render(fleet: Fleet) -> bytes:
    document = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "integration-health-deploy", "version": fleet.tool_version},
        "verb": fleet.verb,
        "dry": fleet.dry,
        "when": fleet.timestamp,
        "summary": {"hosts": len(fleet.hosts), **{name.replace(" ", "_"): count for name, count in fleet.counts.items()}},
        "checks": list(fleet.checks),
        "hosts": [_host(fleet, host) for host in fleet.hosts],
    }
    # a lone surrogate becomes \udcXX, which is JSON's own escape for it
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode(errors="backslashreplace")


def _host(fleet: Fleet, host: HostFindings) -> dict[str, Any]:
    return {
        "host": host.host,
        "condition": condition(host).replace(" ", "_"),
        "database": host.database,
        "server_version": host.server_version,
        "role": host.role,
        "checks": list(host.checks),
        "violations": [asdict(violation) for violation in host.violations],
        "queries": [{**asdict(query), "within_budget": query.within_budget} for query in host.queries],
        "not_probed": host.not_probed,
        "not_verified": fleet.not_verified.get(host.host),
        "not_run": dict(host.not_run),
        "error": trouble(host),
    }
