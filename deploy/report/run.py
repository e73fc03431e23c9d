"""One run of pyinfra, from its first host to its exit code: what it knows of each host, what its servers allow, and its report.

A verb is not called when no host could be connected, and a host that failed is never disconnected. So a run is attached to
pyinfra's state by its first `@postgres` host and hangs on the end of pyinfra's own command: click closes its context after
results, refusals, "No hosts remaining!" and Ctrl-C alike, and an error raised there still decides the exit code. Without that
command around it (pyinfra's API, or a verb without a `@postgres` host) a run has no end to hang on and leaves no report.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import click
from pyinfra import logger
from pyinfra.api.state import BaseStateCallback

from deploy.connection.connections import Connections
from deploy.errors import RunRefused
from deploy.findings import PurgeFindings
from deploy.plan.target import Targets
from deploy.problems import Problem
from deploy.report import console, files, prompts
from deploy.report.fleet import Fleet, PurgeReport, Tool, all_checks
from deploy.report.host_run import HostRun
from deploy.secrets import Secrets
from deploy.text import one_line

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

Reports = Literal["verification", "completion", "purge"]
"""What a verb reports: what it verified, that it did all of its work, or what it purged."""


@runtime_checkable
class ReportingVerb(Protocol):
    """A verb's declaration, as deploy.cli.verbs makes it."""

    name: str
    reports: Reports

    def check(self, line: CommandLine, words: Sequence[Any], given: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class CommandLine:
    """What pyinfra's command line says, from click's parameters."""

    inventory: str
    operations: tuple[str, ...]
    dry: bool
    yes: bool
    no_wait: bool
    serial: bool

    @classmethod
    def of(cls, context: click.Context | None) -> CommandLine | None:
        """None where no command of pyinfra's is around us."""
        if context is None or not cls.__annotations__.keys() <= context.params.keys():
            return None
        return cls(**{key: context.params[key] for key in cls.__annotations__})


@dataclass(frozen=True)
class Begun:
    """The verb that the run is about, with its data arguments; `folder` is where its report goes."""

    verb: ReportingVerb
    arguments: Mapping[str, Any]
    folder: Path | None


class Run(BaseStateCallback):
    """One run. `Run.attach(state)` makes it or gives the one that is there."""

    def __init__(self, state: State, command_line: CommandLine | None) -> None:
        self.state = state
        self.command_line = command_line
        self.begun: Begun | None = None
        self.waves: tuple[int, ...] | None = None
        """Those of the hosts that take part, in order, once deploy.cli.waves has asked them."""
        self.connections = Connections()
        self.targets = Targets()
        self._hosts: dict[str, HostRun] = {}
        self._secrets: dict[str, Secrets] = {}

    @classmethod
    def attach(cls, state: State) -> Run:
        """The run of a state. Raises RunRefused for a command line that can't be run, and a report that can't be written."""
        attached = next((handler for handler in state.callback_handlers if isinstance(handler, cls)), None)
        if attached is not None:
            return attached
        context = click.get_current_context(silent=True)
        run = cls(state, CommandLine.of(context))
        state.add_callback_handler(run)
        prompts.prepare(state)
        if context is not None and run.command_line is not None:
            context.call_on_close(run.finish)
            run._begin_called_verb(run.command_line)
        return run

    @classmethod
    def current(cls, host: Host) -> HostRun:
        """The state of a host in the run that it is in."""
        return cls.attach(host.state)._host_run(host.name)

    def _host_run(self, name: str) -> HostRun:
        """Of any host of the inventory: where a run is refused while hosts are made, the last of them know no state yet."""
        if name not in self._hosts:
            self._hosts[name] = HostRun(self, self.state.inventory.get_host(name))
        return self._hosts[name]

    def secrets(self, values: Mapping[str, Sequence[str]]) -> Secrets:
        """Made once for all hosts that have the same."""
        key = repr(values)
        if key not in self._secrets:
            self._secrets[key] = Secrets(values)
        return self._secrets[key]

    def begin(self, verb: ReportingVerb, arguments: Mapping[str, Any], report: Any = None) -> None:
        """A verb runs with these data arguments. Of several in a deploy file the run is about the first that has a `report`.

        Raises RunRefused when the report can't be written.
        """
        if self.begun is None or self.begun.folder is None:
            names = files.PURGE if verb.reports == "purge" else files.VERIFICATION
            self.begun = Begun(verb, arguments, files.prepare(report, names) if report is not None else None)

    def _begin_called_verb(self, line: CommandLine) -> None:
        """The verb that the command line names begins with the run, before any connection, and is called after all of them."""
        from pyinfra_cli.commands import get_func_and_args  # its command is around us; importing it patches a process
        from pyinfra_cli.util import try_import_module_attribute

        word = line.operations[0]
        verb = None if word.endswith(".py") else try_import_module_attribute(word, raise_for_none=False)
        if isinstance(verb, ReportingVerb):
            _, (words, arguments) = get_func_and_args(list(line.operations))
            given = {key: value for key, value in arguments.items() if key != "report"}
            self.begin(verb, given, arguments.get("report"))
            verb.check(line, words, given)

    def host_connect_error(self, state: State, host: Host, error: Exception) -> None:  # type: ignore[override]
        Run.current(host).failed(Problem("connection", str(error)))

    def finish(self) -> None:
        """Sum up and write the report. Raises RunRefused when it can't be written."""
        self.connections.close()
        try:
            if self.begun is not None:
                self._finish(self.begun, sys.exc_info()[1])
        except RunRefused:
            raise
        except Exception as error:
            reason = f"internal error, please report it: {type(error).__name__}: {' '.join(str(error).split())}"
            for host in self._hosts.values():
                reason = host.secrets.mask(reason)
            raise RunRefused(Problem("internal", reason)) from None

    def _finish(self, begun: Begun, ended: BaseException | None) -> None:
        refusal = ended.problem if isinstance(ended, RunRefused) else None
        fleet = self.fleet(begun, refusal)
        nothing_happened = all(host.findings is None and not host.completed for host in self._hosts.values())
        lines = () if refusal is not None and nothing_happened else console.lines(fleet, console.width(4))
        for number, line in enumerate(lines):
            text = f"--> {line.text}" if number == 0 else line.text
            (logger.error if line.broken else logger.info)(text)
        if begun.folder is not None:
            content = files.render(self.purge_report(fleet) if begun.verb.reports == "purge" else fleet)
            files.write(begun.folder, content)
            first, *others = reversed(list(content))
            beside = f", with {' and '.join(others)} beside it" if others else ""
            logger.info(one_line(f"--> Report: {begun.folder / first}{beside}"))

    def fleet(self, begun: Begun, refusal: Problem | None) -> Fleet:
        """The run as a value."""
        verifies = begun.verb.reports == "verification"
        hosts = tuple(host.outcome(refusal, verifies=verifies) for host in self._members())
        return Fleet(
            verb=begun.verb.name,
            inventory=self.command_line.inventory if self.command_line is not None else "",
            when=datetime.now(timezone.utc).replace(microsecond=0),
            tool=Tool(version("integration-health-deploy")),
            dry=self.command_line is not None and self.command_line.dry,
            hosts=hosts,
            checks=all_checks(hosts, self._planned_checks(begun)) if verifies else (),
            verifies=verifies,
            nothing_to_do=not verifies and all(host.nothing_to_do for host in self._members()),
        )

    def purge_report(self, fleet: Fleet) -> PurgeReport:
        hosts = zip(self._members(), fleet.hosts, strict=True)
        return PurgeReport(
            fleet.when,
            fleet.tool,
            fleet.dry,
            tuple(replace(run.purge or PurgeFindings(host.host), problems=host.problems) for run, host in hosts),
        )

    def _members(self) -> list[HostRun]:
        return [self._host_run(host.name) for host in self.state.inventory if self.state.is_host_in_limit(host)]

    def _planned_checks(self, begun: Begun) -> tuple[str, ...]:
        """The checks that were to run, so that a fleet of which no host answered has its columns too."""
        for host in self.state.inventory:
            try:
                return self._host_run(host.name).target(**begun.arguments).check_names
            except RunRefused:
                continue
        return ()
