"""What the console says of violations and, at the end of a run, of the fleet: aligned, and made for 80 columns."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.findings import HostFindings, Violation
from deploy.report.fleet import Fleet, words
from deploy.text import one_line

if TYPE_CHECKING:
    from pyinfra.api.host import Host

LISTED = 30
"""Broken hosts named at the end of a run; with more, a report is the better list."""

_LABEL = "violation: "
_NAME = 40


def width(indent: int = 0) -> int | None:
    """The columns of the terminal right of `indent`; None when the console is no terminal."""
    return shutil.get_terminal_size().columns - indent if sys.stderr.isatty() else None


def console_columns(host: Host) -> int | None:
    """The columns of the terminal right of the host's name, which pyinfra puts before each of its lines; None: no terminal."""
    return width(len(f"    [{host.name}]{host.print_prefix_padding} "))


def violations(found: Sequence[Violation], columns: int | None) -> list[str]:
    """A line for each violation: `violation: object: expected X, found Y`; aligned where all of them fit into `columns`.

    What goes into a file or a pipe (None) stays free of padding, for grep.
    """
    rows = [(f"{violation.object}:", f"expected {violation.expected},", f"found {violation.actual}") for violation in found]
    first, second, third = (max((len(row[column]) for row in rows), default=0) for column in range(3))
    if columns is None or len(_LABEL) + first + 1 + second + 1 + third > columns:
        return [f"{_LABEL}{violation}" for violation in found]
    return [f"{_LABEL}{a:{first}} {b:{second}} {c}" for a, b, c in rows]


@dataclass(frozen=True)
class Line:
    text: str
    broken: bool = False


def lines(fleet: Fleet, columns: int | None) -> list[Line]:
    """How many hosts are OK, then a line for each one that is not, with what is wrong there first.

    Each line is cut to `columns` when there are any. Nothing for a single host, whose own lines stand right above.
    """
    if len(fleet.hosts) < 2:
        return []
    broken = fleet.broken()
    result = [Line(_headline(fleet, len(broken)))]
    room = min(max((len(host.host) for host in broken), default=0), _NAME)
    for host in broken[:LISTED]:
        text = f"{_cut(one_line(host.host), _NAME):{room}}  {one_line(_reason(host))}"
        result.append(Line(_cut(text, columns), broken=True))
    if len(broken) > LISTED:
        result.append(Line(f"and {len(broken) - LISTED} more; report=DIR writes a report with all of them", broken=True))
    return result


def _headline(fleet: Fleet, broken: int) -> str:
    ok, rest = fleet.counts["ok"], fleet.counts["not_verified"]
    parts = [f"{ok} hosts OK" if ok != 1 else "1 host OK"]
    if broken:
        parts.append(f"{broken} not")
    elif fleet.nothing_to_do:
        parts.append("nothing to do")
    if rest:
        parts.append(f"{rest} not {'verified' if fleet.verifies else 'finished'}")
    return ", ".join(parts) + (":" if broken else "")


def _reason(host: HostFindings) -> str:
    if host.status != "violations":
        return f"{words(host.status)}: {host.headline}"
    count = len(host.violations)
    return f"{count} violation{'' if count == 1 else 's'}: {host.violations[0]}"


def _cut(text: str, columns: int | None) -> str:
    return text if columns is None or len(text) <= columns else text[: max(columns - 1, 1)] + "…"
