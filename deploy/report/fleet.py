"""A run as one value: every host, what was found there, and what that makes of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from deploy.findings import NOT_ATTEMPTED, HostFindings, Violation

Condition = Literal["not reached", "failed", "violations", "not verified", "as wanted"]

CONDITIONS: tuple[Condition, ...] = ("not reached", "failed", "violations", "not verified", "as wanted")
"""Worst first: the order in which people see the hosts."""

BROKEN: frozenset[Condition] = frozenset({"not reached", "failed", "violations"})


@dataclass(frozen=True)
class Fleet:
    """What a run of `verb` found. `when` is its end, in UTC; `hosts` are in the inventory's order, named once each.

    `checks` names every check that ran on a host or would have, `not_verified` says of a host without an error why nothing
    was checked there. `inventory` is that of the command line.
    """

    verb: str
    inventory: str
    when: datetime
    tool_version: str
    dry: bool
    hosts: tuple[HostFindings, ...]
    checks: tuple[str, ...] = ()
    not_verified: Mapping[str, str] = field(default_factory=dict)

    @property
    def timestamp(self) -> str:
        return f"{self.when:%Y-%m-%dT%H:%M:%SZ}"

    @property
    def counts(self) -> Mapping[Condition, int]:
        counted = Counter(condition(host) for host in self.hosts)
        return {name: counted[name] for name in CONDITIONS}

    def worst_first(self) -> tuple[HostFindings, ...]:
        return tuple(sorted(self.hosts, key=lambda host: CONDITIONS.index(condition(host))))

    def broken(self) -> tuple[HostFindings, ...]:
        return tuple(host for host in self.hosts if condition(host) in BROKEN)


def condition(host: HostFindings) -> Condition:
    """A host of which nothing was learned but an error was not reached; one that was checked by nothing is not verified."""
    if (error := trouble(host)) is not None:
        return "failed" if host.server_version or error.startswith(NOT_ATTEMPTED) else "not reached"
    if host.violations:
        return "violations"
    return "as wanted" if host.checks else "not verified"


def trouble(host: HostFindings) -> str | None:
    """The host's error. A host without violations on which a check may not run is not proved: then what that check lacks."""
    if host.error is None and host.not_run and not host.violations:
        return "\n".join(host.not_run.values())
    return host.error


def sentence(host: HostFindings) -> str:
    """The first line of the host's trouble, which says what, where and what next; empty without one."""
    return next(iter((trouble(host) or "").splitlines()), "")


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


def printable(text: str) -> str:
    """`text` with each character that XML 1.0 and HTML forbid (controls, lone surrogates, non-characters) as U+FFFD."""
    return "".join(char if _allowed(ord(char)) else "\ufffd" for char in text)


def _allowed(code: int) -> bool:
    if code < 0xA0:
        return 0x20 <= code < 0x7F or code in (0x9, 0xA, 0xD)
    return not 0xD800 <= code <= 0xDFFF and code & 0xFFFE != 0xFFFE
