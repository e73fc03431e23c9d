"""How one host fails, and no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

import pyinfra
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import PyinfraError

from deploy.connection.message import Commands
from deploy.errors import HostFailed, NoHosts, RunRefused
from deploy.problems import Problem
from deploy.report.run import Run

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

P = ParamSpec("P")


def print_failure(state: State, host: Host, problem: Problem, *details: str, before: str = "") -> bool:
    """The function of a command that fails for this problem, and did what `before` says until then.

    (pyinfra passes arguments named state and host.)
    """
    Run.current(host).failed(replace(problem, text=f"{before}, then failed: {problem.text}") if before else problem, *details)
    return _print_red(state, host, [str(problem), *details, *([before] if before else [])])


def fail_in_plan(problem: Problem, *details: str) -> None:
    """Fail the current host while pyinfra prepares: it is in no operation from here on, and the exit code is 1."""
    state = pyinfra.state
    host = state.inventory.get_host(pyinfra.host.name)
    print_failure(state, host, problem, *details)
    _end_in_plan(state, host)


def fail(problem: Problem, *details: str) -> Commands:
    """For operation bodies: while planning the host fails at once, while executing by a command that fails."""
    if pyinfra.state.is_executing:
        yield FunctionCommand(print_failure, (problem, *details), {})
    else:
        fail_in_plan(problem, *details)


def fail_verified(lines: Sequence[str]) -> Commands:
    """The same for a host whose findings are recorded already: these lines show them."""
    if pyinfra.state.is_executing:
        yield FunctionCommand(_print_red, (lines,), {})
        return
    state = pyinfra.state
    host = state.inventory.get_host(pyinfra.host.name)
    _print_red(state, host, lines)
    _end_in_plan(state, host)


def has_not_failed() -> bool:
    """Whether the current host has not failed in an earlier operation of the plan."""
    return pyinfra.state.inventory.get_host(pyinfra.host.name) not in pyinfra.state.failed_hosts


def isolates_host(body: Callable[P, Commands]) -> Callable[P, Commands]:
    """For operation bodies: an exception in one, which pyinfra would end the run for, fails its host alone."""

    @wraps(body)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Commands:
        try:
            yield from body(*args, **kwargs)
        except NoHosts:
            raise
        except RunRefused as refused:
            yield from fail(refused.problem)
        except HostFailed as failed:
            yield from fail(failed.problem, *failed.details)
        except PyinfraError:
            raise  # pyinfra's own: no host is left
        except Exception as error:
            reason = f"internal error, please report it: {type(error).__name__}: {' '.join(str(error).split())}"
            yield from fail(Problem("internal", reason))

    return guarded


def _print_red(state: State, host: Host, lines: Sequence[str]) -> bool:
    for line in lines:
        Run.current(host).log_error(line)
    return False


def _end_in_plan(state: State, host: Host) -> None:
    try:
        state.fail_hosts({host})
    except PyinfraError as error:  # pyinfra's CLI would print file and line of this module
        raise NoHosts(Problem("no-hosts", str(error))) from None
