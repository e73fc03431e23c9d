"""How one host fails, and no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

import pyinfra
from pyinfra import logger
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import PyinfraError

from deploy.connection.message import Commands
from deploy.errors import HostFailed, NoHosts, RunRefused
from deploy.report import run as recorder

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

P = ParamSpec("P")


def print_failure(state: State, host: Host, lines: Sequence[str], verified: bool = False) -> bool:
    """The function of a command that fails: prints red lines, gives False. (pyinfra passes arguments named state and host.)

    `verified`: the lines are violations, which the recorder of the run has already; else they are why the host failed.
    """
    if not verified and (run := recorder.of(host)) is not None:
        run.failed(host, lines)
    for line in lines:
        host.log_styled(line, fg="red", log_func=logger.error)
    return False


def fail_in_plan(lines: Sequence[str], verified: bool = False) -> None:
    """Fail the current host while pyinfra prepares: it is in no operation from here on, and the exit code is 1."""
    state = pyinfra.state
    host = state.inventory.get_host(pyinfra.host.name)
    print_failure(state, host, lines, verified)
    try:
        state.fail_hosts({host})
    except PyinfraError as error:  # pyinfra's CLI would print file and line of this module
        raise NoHosts(str(error)) from None


def fail(lines: Sequence[str], verified: bool = False) -> Commands:
    """For operation bodies: while planning the host fails at once, while executing by a command that fails."""
    if pyinfra.state.is_executing:
        yield FunctionCommand(print_failure, (lines, verified), {})
    else:
        fail_in_plan(lines, verified)


def isolates_host(body: Callable[P, Commands]) -> Callable[P, Commands]:
    """For operation bodies: an exception in one, which pyinfra would end the run for, fails its host alone."""

    @wraps(body)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Commands:
        try:
            yield from body(*args, **kwargs)
        except NoHosts:
            raise
        except RunRefused as refused:
            yield from fail([str(refused)])
        except HostFailed as failed:
            yield from fail(failed.lines)
        except PyinfraError:
            raise  # pyinfra's own: no host is left
        except Exception as error:
            yield from fail([f"internal error, please report it: {type(error).__name__}: {' '.join(str(error).split())}"])

    return guarded
