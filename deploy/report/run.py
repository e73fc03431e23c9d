"""What a run finds, from its first host to its end, whatever that end is: then the summary, and the report if one is wanted.

A verb is not called when no host could be connected, and a host that failed is never disconnected. So the recorder starts with
the first `@postgres` host of an inventory and hangs on the end of pyinfra's own command: click closes its context after results,
refusals, "No hosts remaining!" and Ctrl-C alike, and an error raised there still decides the exit code.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from pyinfra import logger
from pyinfra.api.state import BaseStateCallback

from deploy import report, settings
from deploy.errors import RunRefused
from deploy.findings import HostFindings, PurgeFindings
from deploy.plan import target
from deploy.report import as_purge_json, console
from deploy.report.fleet import Fleet, all_checks, condition

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

VERBS = {f"deploy.{verb}": verb for verb in ("apply", "verify", "purge", "revert", "adopt")}
"""The verbs whose hosts are summed up, as the command line names them."""

_VERIFY = ("apply", "verify")
_REPORT = (*_VERIFY, "purge")
"""Those that take `report=DIR`."""


class Recorder(BaseStateCallback):
    """One run. The last word on a host counts: an error after a verification undoes it, a verification replaces an older one."""

    def __init__(self, state: State, context: click.Context) -> None:
        from pyinfra_cli.commands import get_func_and_args  # the command line is around us here; importing it patches a process

        self.state = state
        self.inventory: str = context.params["inventory"]
        self.dry: bool = context.params["dry"]
        self.verb: str | None = None
        self.folder: Path | None = None
        self._arguments: dict[str, Any] = {}
        self._found: dict[str, HostFindings] = {}
        self._errors: dict[str, list[str]] = {}
        self._not_verified: dict[str, str] = {}
        self._purged: dict[str, PurgeFindings] = {}
        words = context.params["operations"]
        if words[0] in VERBS:
            _, (_, arguments) = get_func_and_args(list(words))
            self.start(VERBS[words[0]], arguments)

    def start(self, verb: str, arguments: dict[str, Any]) -> None:
        """A verb of VERBS runs with these arguments. Raises RunRefused when its report can't be written."""
        self.verb = verb
        self._arguments = {key: value for key, value in arguments.items() if key != "report"}
        if verb in _REPORT and arguments.get("report") is not None and self.folder is None:
            self.folder = _prepare(arguments["report"], (report.PURGE,) if verb == "purge" else report.NAMES)

    def host_connect_error(self, state: State, host: Host, error: Exception) -> None:  # type: ignore[override]
        self.failed(host, [str(error)])

    def failed(self, host: Host, lines: Sequence[str]) -> None:
        """The host failed, and the operator saw these lines."""
        self._errors.setdefault(host.name, []).extend(lines)

    def found(self, findings: HostFindings) -> None:
        """The host was verified, well or not."""
        self._found[findings.host] = findings
        self._not_verified.pop(findings.host, None)

    def not_verified(self, host: str, reason: str) -> None:
        """The host was looked at and left unverified."""
        self._not_verified[host] = reason
        self._found.pop(host, None)

    def purged(self, findings: PurgeFindings) -> None:
        """The host was purged or left alone, or its purge ended early."""
        self._purged[findings.host] = findings

    def finish(self) -> None:
        """Sum up and write the report. Raises RunRefused when it can't be written."""
        try:
            if self.verb is not None:
                self._finish(sys.exc_info()[1])
        except RunRefused:
            raise
        except Exception as error:
            raise RunRefused(f"internal error, please report it: {type(error).__name__}: {' '.join(str(error).split())}") from None

    def _finish(self, ended: BaseException | None) -> None:
        fleet = self.fleet(ended)
        through = self._through()
        refused = isinstance(ended, RunRefused) and not (self._found or through)
        lines = () if refused else console.lines(fleet, width(4), None if self.verb in _VERIFY else through)
        for number, line in enumerate(lines):
            text = f"--> {line.text}" if number == 0 else line.text
            (logger.error if line.broken else logger.info)(text)
        if self.folder is not None:
            self._write({report.PURGE: self._purge_report(ended)} if self.verb == "purge" else report.files(fleet))

    def _through(self) -> set[str]:
        """The hosts on which every operation of the run was executed, without a failure."""
        hosts = {host.name: host for host in self.state.inventory}
        return {name for name, host in hosts.items() if 0 < len(self.state.ops[host]) == self.state.results[host].ops}

    def _write(self, files: Mapping[str, bytes]) -> None:
        assert self.folder is not None
        try:
            for name, content in files.items():
                (self.folder / name).write_bytes(content)
        except OSError as error:
            raise RunRefused(
                f"report={self.folder}: not written: {error.strerror}; make room there or choose another folder"
            ) from None
        first, *others = reversed(list(files))
        beside = f", with {' and '.join(others)} beside it" if others else ""
        logger.info(f"--> Report: {self.folder / first}{beside}")

    def _purge_report(self, ended: BaseException | None) -> bytes:
        hosts = []
        for host in self.state.inventory:
            if self.state.is_host_in_limit(host):
                error = self._host(host, str(ended) if isinstance(ended, RunRefused) else None).error
                hosts.append(replace(self._purged.get(host.name) or PurgeFindings(host.name), error=error))
        return as_purge_json.render(
            hosts, when=datetime.now(timezone.utc), tool_version=version("integration-health-deploy"), dry=self.dry
        )

    def fleet(self, ended: BaseException | None) -> Fleet:
        """The run as a value. `ended` is what ended it early, if anything did."""
        refusal = str(ended) if isinstance(ended, RunRefused) else None
        hosts = tuple(self._host(host, refusal) for host in self.state.inventory if self.state.is_host_in_limit(host))
        unverified = {host.host for host in hosts if condition(host) == "not verified"}
        reasons = {name: self._not_verified.get(name, "the run ended before this host was verified") for name in unverified}
        return Fleet(
            verb=self.verb or "",
            inventory=self.inventory,
            when=datetime.now(timezone.utc),
            tool_version=version("integration-health-deploy"),
            dry=self.dry,
            hosts=hosts,
            checks=all_checks(hosts, self._planned()) if self.verb in _VERIFY else (),
            not_verified={name: reasons[name] for name in sorted(reasons)},
        )

    def _host(self, host: Host, refusal: str | None) -> HostFindings:
        found = self._found.get(host.name)
        errors = self._errors.get(host.name)
        if found is None and errors is None and refusal is not None:
            errors = [refusal]
        if (
            errors is None
            and host in self.state.failed_hosts
            and not (found and (found.violations or found.error or found.not_run))
        ):
            errors = ["failed; what went wrong stands in the output of this run"]
        if found is not None and errors is None:
            return found
        if found is None:
            found = HostFindings(host.name, None, None, None)
            if (remembered := host.connector_data.get("observation")) is not None:
                seen = remembered[1]
                role: Literal["primary", "standby"] = "standby" if seen.in_recovery else "primary"
                found = replace(found, database=seen.database, server_version=seen.server_version, role=role)
        error = "\n".join(errors) if errors is not None else None
        return replace(found, checks=(), violations=(), queries=(), not_probed=None, not_run={}, error=error)

    def _planned(self) -> tuple[str, ...]:
        """The checks that were to run, so that a fleet of which no host answered has its columns too."""
        for host in self.state.inventory:
            try:
                return target.resolve(host.name, host.data.dict(), **self._arguments).check_names
            except RunRefused:
                continue
        return ()


_recorders: dict[int, Recorder] = {}


def begin(state: State) -> None:
    """Record this run, once. Without pyinfra's command line around it, a run has no end to hang on and is not recorded."""
    context = click.get_current_context(silent=True)
    if id(state) in _recorders or context is None or "operations" not in context.params:
        return
    recorder = Recorder(state, context)
    _recorders[id(state)] = recorder
    state.add_callback_handler(recorder)
    context.call_on_close(recorder.finish)


def of(host: Host) -> Recorder | None:
    """The recorder of the run that the host is in."""
    return _recorders.get(id(host.state))


def _prepare(value: Any, names: Sequence[str]) -> Path:
    """The folder of a report, made, writable and without an older report: a run that is refused leaves none to be mistaken."""
    if not isinstance(value, (str, int)) or isinstance(value, bool) or value == "":
        raise RunRefused(f"report={value}: expected a folder, such as report=reports")
    folder = settings.resolve_path(str(value))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).unlink(missing_ok=True)
            (folder / name).touch()
            (folder / name).unlink()
    except OSError as error:
        raise RunRefused(f"report={value}: {error.strerror}; choose a folder that can be written") from None
    return folder


def width(indent: int = 0) -> int | None:
    """The columns of the terminal right of `indent`; None when the console is no terminal."""
    return shutil.get_terminal_size().columns - indent if sys.stderr.isatty() else None
