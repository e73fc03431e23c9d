"""Waves: the hosts of one wave are through all operations of a verb before those of the next begin; a failure stops the later ones.

pyinfra runs an operation on all hosts before the next operation, and orders operations by what single hosts declare. So each
wave has operations of its own, and the last of them, the gate to the next wave, belongs to the hosts of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pyinfra import host, state
from pyinfra.api import operation

from deploy.cli import failure
from deploy.connection.message import Commands
from deploy.connectors.postgres import PostgresConnector
from deploy.problems import Problem
from deploy.report.run import Run

if TYPE_CHECKING:
    from pyinfra.api.host import Host

Declare = Callable[[str], None]
"""Declares a verb's operations for the current host; gets what ends their names."""

_SHOWN = 3
"""How many failed hosts a message names."""


def run(declare: Declare) -> None:
    """Call `declare` for the current host in its wave."""
    run = Run.attach(state)
    if run.waves is None:
        run.waves = tuple(sorted({_wave(member) for member in state.inventory if state.is_host_in_limit(member)}))
    if len(run.waves) < 2:
        declare("")
    else:
        _from(run.waves, declare)


def _from(waves: Sequence[int], declare: Declare) -> None:
    """The operations of the first of `waves`, the gate, then those of the other waves.

    The recursion, written last, is what gives each wave operations of its own in the right order: pyinfra knows an operation
    by the line numbers of its call stack.
    """
    first, later = waves[0], waves[1:]
    mine = _wave(host)
    if mine == first:
        declare(f" (wave {first})")
    if not later or mine < first or not failure.has_not_failed():
        return
    if mine in (first, later[0]):
        gate(name=f"Wave {later[0]}", wave=later[0])
    _from(later, declare)


@operation()
@failure.isolates_host
def gate(wave: int) -> Commands:
    """Fail the hosts of `wave` when a host of an earlier one has failed, also by not being there to connect to."""
    if state.is_executing and _wave(host) == wave:
        failed = [member for member in state.failed_hosts if _wave(member) < wave]
        if failed:
            yield from failure.fail(_not_attempted(failed))


def _not_attempted(failed: Iterable[Host]) -> Problem:
    first = min(_wave(member) for member in failed)
    names = sorted(member.name.removeprefix("@postgres/") for member in failed if _wave(member) == first)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return Problem("not-attempted", f"not attempted: wave {first} failed on {', '.join(names[:_SHOWN])}{more}")


def _wave(member: Host) -> int:
    """The wave of a host; one of another connector, which the verb refuses, is of the first."""
    return Run.current(member).settings.wave if isinstance(member.connector, PostgresConnector) else 0
