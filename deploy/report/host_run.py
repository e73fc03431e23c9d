"""What a run knows of one host: what it should be and was found to be, the server that answered first, what its verb found."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from pyinfra import logger

from deploy import settings
from deploy.connection.server import Server
from deploy.errors import HostFailed, RunRefused
from deploy.findings import HostFindings, PurgeFindings, Role
from deploy.plan.making import Look
from deploy.plan.observation import Observation
from deploy.plan.target import Target
from deploy.problems import Problem
from deploy.retention.expiry import Cutoffs
from deploy.secrets import Secrets, in_variables
from deploy.settings import Settings
from deploy.text import one_line

if TYPE_CHECKING:
    from pyinfra.api.host import Host

    from deploy.report.run import Run

T = TypeVar("T")


@dataclass
class HostRun:
    """The state of one host in one run; the same object while pyinfra plans and while it executes."""

    run: Run
    host: Host
    cutoffs: dict[tuple[int, int | None], Cutoffs] = field(default_factory=dict)
    """What a purge with these retentions deletes: taken once, so that its execution deletes what its plan has shown."""
    findings: HostFindings | None = None
    unverified: str | None = None
    """Why the host was looked at and left unverified."""
    purge: PurgeFindings | None = None
    look: Look | None = None
    """What a contract is made of."""
    problems: list[Problem] = field(default_factory=list)
    passwords: tuple[str, ...] = ()
    """Those of its connection, which are masked in what is shown as secret variables are."""
    nothing_to_do: bool = False
    """Whether the plan of a verb that does not verify is empty here."""
    _reached: HostFindings | None = None
    _settings: Settings | None = None
    _observed: tuple[Target, Observation] | None = None
    _server: Server | None = None

    @cached_property
    def data_settings(self) -> Settings:
        """Those of the host's data alone. Raises RunRefused."""
        return settings.read(self.host.name, self.host.data.dict())

    @property
    def settings(self) -> Settings:
        """Those in force: with the arguments of the verb that is at work."""
        return self._settings or self.data_settings

    def target(self, **arguments: Any) -> Target:
        """What the host should be for a verb with these arguments, which win over its data and are in force from now on.

        Raises RunRefused.
        """
        try:
            resolved = self.run.targets.resolve(self.host.name, self.host.data.dict(), **arguments)
        except RunRefused as refused:
            with contextlib.suppress(RunRefused):
                self._settings = settings.read(self.host.name, self.host.data.dict(), **arguments)
            raise RunRefused(self.shown(refused.problem)) from None
        self._settings = resolved.settings
        return resolved

    @property
    def secrets(self) -> Secrets:
        """What must not be seen of this host: its secret variables and its passwords."""
        try:
            values = in_variables(self.settings.variables, self.settings.secret_variables)
        except RunRefused:  # which is the sentence that is to be shown
            values = {}
        return self.run.secrets({**values, "password": self.passwords})

    def shown(self, value: T) -> T:
        """A value that may hold words of a server, as it may be seen."""
        return self.secrets.shown(value)

    def line(self, text: str) -> str:
        """A line as it may be seen."""
        return one_line(self.secrets.mask(text))

    def log(self, text: str) -> None:
        """Show the operator a line about this host. Nothing of the package's prints one in another way."""
        self.host.log(self.line(text))

    def log_error(self, text: str) -> None:
        """The same, in red."""
        self.host.log_styled(self.line(text), fg="red", log_func=logger.error)

    def noop(self, text: str) -> None:
        """Why an operation has nothing to do."""
        self.nothing_to_do = True
        self.host.noop(self.line(text))

    def observe(self, target: Target, observation: Observation) -> None:
        """The host was read, for this target."""
        self._observed = target, observation

    def observation_of(self, target: Target) -> Observation | None:
        """What was read last, if it was for this target."""
        return self._observed[1] if self._observed is not None and self._observed[0] == target else None

    def reached(self, database: str, server_version: str, server: Server) -> None:
        """The host was reached and said what it is, by a verb that observes no more."""
        role: Role = "standby" if server.in_recovery else "primary"
        self._reached = HostFindings(self.host.name, database, server_version, role)

    def check_same_server(self, now: Server) -> None:
        """After each read: the server is the one that the run has seen first. Raises HostFailed."""
        if self._server is None:
            self._server = now
        elif (problem := self._server.failover_problem(now)) is not None:
            raise HostFailed(problem)

    def verified(self, findings: HostFindings) -> None:
        """The host was verified, well or not, with these findings as they may be seen; an older verification is forgotten."""
        self.findings, self.unverified = findings, None

    def not_verified(self, reason: str) -> None:
        """The host was looked at and left unverified; an older verification is forgotten."""
        self.findings, self.unverified = None, self.line(reason)

    def purged(self, findings: PurgeFindings) -> None:
        """The host was purged or left alone, or its purge ended early."""
        self.purge = self.shown(findings)

    def failed(self, problem: Problem, *details: str) -> None:
        """The host failed, and the operator saw the problem and these lines below it."""
        lines = [self.line(line) for line in (str(problem), *details)]
        self.problems.append(Problem(problem.kind, "\n".join(lines)) if details else self.shown(problem))

    def outcome(self, refusal: Problem | None, *, verifies: bool) -> HostFindings:
        """What the report says at the end of the run: a problem undoes a verification. `refusal` is why the run was refused."""
        findings, problems = self.findings, tuple(self.problems)
        if not problems and findings is None and refusal is not None:
            problems = (self.shown(refusal),)
        explained = findings is not None and (findings.violations or findings.problems)
        if not problems and not explained and self.host in self.run.state.failed_hosts:
            problems = (Problem("other-operation", "failed", "see the output of this run"),)
        if problems:
            return replace(self._identity, problems=problems)
        if findings is not None:
            return findings
        if not verifies and (self.completed or self.nothing_to_do):
            return replace(self._identity, completed=True)
        reason = self.unverified or f"the run ended before this host was {'verified' if verifies else 'finished'}"
        return replace(self._identity, not_verified=reason)

    @property
    def completed(self) -> bool:
        """Whether every operation of the run was executed, without a failure."""
        state = self.run.state
        return 0 < len(state.ops[self.host]) == state.results[self.host].ops

    @property
    def _identity(self) -> HostFindings:
        if self.findings is not None:
            return self.findings.identity
        if self._observed is not None:
            return self.shown(self._observed[1].findings(self.host.name, ()).identity)
        return self.shown(self._reached) if self._reached is not None else HostFindings(self.host.name)
