"""A run as one value: every host, what was found there, and what that makes of it. Pure.

`verify.json` is this value, and `verify.schema.json` beside this file is made from its classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from pydantic import computed_field

from deploy.findings import JSON, HostFindings, PurgeFindings, Status, Violation

STATUSES: tuple[Status, ...] = get_args(Status)
"""Worst first: the order in which people see the hosts."""

BROKEN: frozenset[Status] = frozenset({"not_reached", "failed", "violations"})


@dataclass(frozen=True)
class Tool:
    __pydantic_config__ = JSON

    version: str
    """version of the package that wrote the report"""
    name: Literal["integration-health-deploy"] = "integration-health-deploy"


@dataclass(frozen=True)
class Fleet:
    """What a run of a verb found on each host. Keys may be added without a new schema_version; one that goes away or changes its
    meaning raises it."""

    __pydantic_config__ = JSON

    verb: str
    """the verb that ran, without `deploy.`: apply, verify, ..."""
    inventory: str
    """the inventory, as the command line named it"""
    when: datetime
    """end of the run, in UTC, to the second"""
    tool: Tool
    dry: bool
    """whether the run was --dry: hosts with something to migrate are then not_verified"""
    hosts: tuple[HostFindings, ...]
    """in the order of the inventory"""
    checks: tuple[str, ...] = ()
    """every check that ran on some host, or would have run"""
    verifies: bool = True
    """whether the verb verifies; else a host is ok when all of the verb's work was done there"""
    nothing_to_do: bool = False
    """whether the verb does not verify and found nothing to do on any host"""
    schema_version: Literal[1] = 1

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> Mapping[str, int]:
        """`hosts`, the number of hosts, and of hosts in each status"""
        return {"hosts": len(self.hosts)} | dict(self.counts)

    @property
    def counts(self) -> Mapping[Status, int]:
        counted = Counter(host.status for host in self.hosts)
        return {status: counted[status] for status in STATUSES}

    @property
    def timestamp(self) -> str:
        return f"{self.when:%Y-%m-%dT%H:%M:%SZ}"

    def worst_first(self) -> tuple[HostFindings, ...]:
        return tuple(sorted(self.hosts, key=lambda host: STATUSES.index(host.status)))

    def broken(self) -> tuple[HostFindings, ...]:
        return tuple(host for host in self.hosts if host.status in BROKEN)


@dataclass(frozen=True)
class PurgeReport:
    """What a purge deleted on each host. `schema_version` as in Fleet."""

    __pydantic_config__ = JSON

    when: datetime
    """end of the run, in UTC, to the second"""
    tool: Tool
    dry: bool
    hosts: tuple[PurgeFindings, ...]
    """in the order of the inventory"""
    verb: Literal["purge"] = "purge"
    schema_version: Literal[1] = 1

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> Mapping[str, int]:
        """sums over all hosts"""
        return {
            "hosts": len(self.hosts),
            "failed": sum(bool(host.problems) for host in self.hosts),
            "deleted_events": sum(host.deleted_events for host in self.hosts),
            "deleted_health": sum(host.deleted_health for host in self.hosts),
        }


def words(status: Status) -> str:
    """The status as people read it."""
    return "OK" if status == "ok" else status.replace("_", " ")


def all_checks(hosts: tuple[HostFindings, ...], planned: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Every check's name once: those that were planned, then those that ran, then those that only violations name."""
    names = dict.fromkeys(planned)
    for host in hosts:
        names.update(dict.fromkeys(host.checks))
    for host in hosts:
        names.update(dict.fromkeys(violation.check for violation in host.violations))
    return tuple(names)


def violations_of(host: HostFindings, check: str) -> tuple[Violation, ...]:
    return tuple(violation for violation in host.violations if violation.check == check)
