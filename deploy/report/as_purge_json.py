"""`purge.json`: what a purge deleted on each host, for programs. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from deploy.findings import PurgeFindings

SCHEMA_VERSION = 1
"""Rises when a key goes away or changes its meaning; new keys may appear without."""


def render(hosts: Sequence[PurgeFindings], *, when: datetime, tool_version: str, dry: bool) -> bytes:
    """`hosts` in the inventory's order; `when` is the end of the run, in UTC."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "integration-health-deploy", "version": tool_version},
        "verb": "purge",
        "dry": dry,
        "when": f"{when:%Y-%m-%dT%H:%M:%SZ}",
        "summary": {
            "hosts": len(hosts),
            "failed": sum(host.error is not None for host in hosts),
            "deleted_events": sum(host.deleted_events for host in hosts),
            "deleted_health": sum(host.deleted_health for host in hosts),
        },
        "hosts": [asdict(host) for host in hosts],
    }
    # a lone surrogate becomes \udcXX, which is JSON's own escape for it
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode(errors="backslashreplace")
