"""What to do next, for each kind of trouble in a fleet: a sentence, and the command to paste. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from deploy.findings import HostFindings
from deploy.report.fleet import Fleet

_NAMED = 5
"""Up to so many hosts are named by --limit in a command; above, the command is for the whole inventory."""


@dataclass(frozen=True)
class Advice:
    """`hosts` are those it is for; `command` is None where only the sentence helps."""

    title: str
    sentence: str
    command: str | None
    hosts: tuple[HostFindings, ...]


def advise(fleet: Fleet) -> tuple[Advice, ...]:
    """Worst first. Empty when every host is OK."""
    kinds: tuple[tuple[str, Callable[[HostFindings], bool], str, str], ...] = (
        (
            "Not reached",
            lambda host: host.status == "not_reached",
            "Each host's sentence below ends with what to check. Then try the connection alone, and run this again.",
            "exec -- 'SELECT 1'",
        ),
        (
            "Failed",
            lambda host: host.status == "failed" and not host.not_run,
            "Each host's sentence below names the cause and the step that removes it.",
            f"deploy.{fleet.verb}",
        ),
        (
            "Not wholly verified",
            lambda host: bool(host.not_run),
            "The role may not run every check. Each sentence below says what it may not read: grant that, then verify.",
            "deploy.verify",
        ),
        (
            "Not deployed yet",
            _undeployed,
            "No table of the contract is there. See what would run, then run it without --dry.",
            "--dry deploy.apply",
        ),
        (
            "Behind",
            _behind,
            "Migrations of the source are pending. See what would run, then run it without --dry.",
            "--dry deploy.apply",
        ),
        (
            "Differs from the contract",
            lambda host: _drifted(host) and host.role != "standby",
            "deploy.apply never alters an object that exists. Put right what is listed under Violations, by hand or by a "
            "migration, then verify.",
            "deploy.verify",
        ),
        (
            "A standby differs from the contract",
            lambda host: _drifted(host) and host.role == "standby",
            "A standby repeats its primary: put it right there, wait for replay, then verify.",
            "deploy.verify",
        ),
        (
            "Over budget",
            lambda host: any(not query.within_budget for query in host.queries),
            "Read the plan under Latency. A plan that uses the index points at a busy server: probe again at a quiet time.",
            "deploy.verify probe_rows=10000",
        ),
        (
            "Not verified",
            lambda host: host.status == "not_verified",
            "This run changed nothing on these hosts and checked nothing there. Run it without --dry."
            if fleet.dry
            else "These hosts were not checked; each one's reason is below.",
            f"deploy.{fleet.verb}" if fleet.dry else "deploy.verify",
        ),
    )
    result = []
    for title, concerns, sentence, words in kinds:
        if hosts := tuple(host for host in fleet.hosts if concerns(host)):
            result.append(Advice(title, sentence, _command(fleet, hosts, words), hosts))
    return tuple(result)


def _undeployed(host: HostFindings) -> bool:
    tables = [violation for violation in host.violations if violation.about == "tables"]
    return bool(tables) and all(violation.actual == "missing" for violation in tables)


def _behind(host: HostFindings) -> bool:
    return not _undeployed(host) and any(violation.check == "ledger" for violation in host.violations)


def _drifted(host: HostFindings) -> bool:
    slow = {query.name for query in host.queries if not query.within_budget}
    found = [violation for violation in host.violations if violation.check != "ledger"]
    return not _undeployed(host) and any(violation.object not in slow for violation in found)


def _command(fleet: Fleet, hosts: tuple[HostFindings, ...], words: str) -> str:
    limits = [word for host in hosts for word in ("--limit", host.host)] if len(hosts) <= _NAMED else []
    return f"{shlex.join(['pyinfra', *limits, fleet.inventory])} {words}"
