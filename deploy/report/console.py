"""What the console says of violations and, at the end of a run, of the fleet: aligned, and made for 80 columns. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from deploy.findings import HostFindings, Violation
from deploy.report.fleet import Fleet, condition, sentence

LISTED = 30
"""Broken hosts named at the end of a run; with more, a report is the better list."""

_LABEL = "violation: "
_LEAD = 6
_NAME = 40


def violations(found: Sequence[Violation], indent: int, width: int | None) -> list[str]:
    """A line for each violation: `violation: object: expected X, found Y`.

    `width` is the terminal's, None where lines go into a file or a pipe and stay free of padding, for grep. `indent` is the room
    that the host's name takes. In a terminal objects and values are aligned: as columns where the lines fit, else each line is
    filled up with spaces so that `expected` and `found` each begin a row of the terminal. It is one line in either case.
    """
    if width is None:
        return [f"{_LABEL}{violation}" for violation in found]
    rows = [(f"{violation.object}:", f"expected {violation.expected},", f"found {violation.actual}") for violation in found]
    first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
    if indent + len(_LABEL) + first + 1 + second + 1 + third <= width:
        return [f"{_LABEL}{a:{first}} {b:{second}} {c}" for a, b, c in rows]
    lead = " " * _LEAD
    return [_fill(_fill(f"{_LABEL}{a}", indent, width) + f"{lead}{b}", indent, width) + f"{lead}{c}" for a, b, c in rows]


def _fill(text: str, indent: int, width: int) -> str:
    return text + " " * (-(indent + len(text)) % width)


@dataclass(frozen=True)
class Line:
    text: str
    broken: bool = False


def lines(fleet: Fleet, width: int | None, through: Collection[str] | None = None) -> list[Line]:
    """How many hosts are as wanted, then a line for each one that is not, with what is wrong there first.

    `through` names the hosts on which a verb that doesn't verify did all of its work; None for one that does. Each line is cut to
    `width` when there is one. Nothing for a single host, whose own lines stand right above.
    """
    if len(fleet.hosts) < 2:
        return []
    broken = fleet.broken()
    result = [Line(_headline(fleet, broken, through))]
    room = min(max((len(host.host) for host in broken), default=0), _NAME)
    for host in broken[:LISTED]:
        if condition(host) != "violations":
            what = f"{condition(host)}: {sentence(host)}"
        else:
            count = len(host.violations)
            what = f"{count} violation{'' if count == 1 else 's'}: {host.violations[0]}"
        result.append(Line(_cut(f"{_cut(_plain(host.host), _NAME):{room}}  {_plain(what)}", width), broken=True))
    if len(broken) > LISTED:
        where = "report=DIR writes a page with all of them" if through is None else "the lines of each stand above"
        result.append(Line(f"and {len(broken) - LISTED} more; {where}", broken=True))
    return result


def _headline(fleet: Fleet, broken: Sequence[HostFindings], through: Collection[str] | None) -> str:
    wanted, rest, word = fleet.counts["as wanted"], fleet.counts["not verified"], "not verified"
    if through is not None:
        wanted = len(set(through) - {host.host for host in broken})
        rest, word = len(fleet.hosts) - len(broken) - wanted, "not finished"
    said = [f"{wanted} hosts as wanted" if wanted != 1 else "1 host as wanted"]
    if broken:
        said.append(f"{len(broken)} not")
    if rest:
        said.append(f"{rest} {word}")
    return ", ".join(said) + (":" if broken else "")


def _plain(text: str) -> str:
    """Without line breaks and without what a terminal would take as a command."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in text)


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: max(width - 1, 1)] + "…"
