"""Which server answers: its identity, its role, and how far a standby has replayed. Pure.

A connection may be opened again between a plan and its execution, and then lead elsewhere: to the other host of a connection
string, to where a name or an address has moved. So every transaction that may write begins with `session/server.sql.j2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.connection.message import Answer
from deploy.problems import Problem


@dataclass(frozen=True)
class Replay:
    """How far a standby is: LSNs received by streaming and replayed, what lies between them in bytes.

    `seconds` are those since the last replayed transaction committed on the primary. `receiving`: a WAL receiver is connected.
    `delay` is `recovery_min_apply_delay`. None is what the server does not know or say.
    """

    received: str | None
    replayed: str | None
    bytes: int | None
    seconds: float | None
    paused: bool
    receiving: bool
    delay: str


@dataclass(frozen=True)
class Server:
    """`started` is when the postmaster was, `address` is where the server took the connection (None: on a Unix socket).

    `system` identifies a cluster with all its standbys, `timeline` (of a primary) is another one after each promotion; None
    where the server does not tell.
    """

    in_recovery: bool
    address: str | None
    started: str
    system: str | None = None
    timeline: str | None = None
    replay: Replay | None = None

    @classmethod
    def of(cls, answer: Answer) -> Server:
        """From the row of `session/server.sql.j2` in an answer."""
        said: Mapping[str, Any] = answer.value("server")
        replay = said.get("replay")
        return cls(**{**said, "replay": Replay(**replay) if replay is not None else None})

    def __str__(self) -> str:
        known = (f"timeline {int(self.timeline, 16)}" if self.timeline else None, f"system {self.system}" if self.system else None)
        extras = ", ".join(part for part in known if part)
        role = "standby" if self.in_recovery else "primary"
        return f"{role} at {self.address or 'a local socket'}" + (f" ({extras})" if extras else "")

    def failover_problem(self, now: Server) -> Problem | None:
        """Why what was planned for this server must not be done on the one that answers `now`; None when it may be.

        A restart is no change. Between standbys there is none that matters: nothing is written to either.
        """
        if self.in_recovery and now.in_recovery:
            return None
        at_its_place = self.system is not None and (self.system, self.address) == (now.system, now.address)
        same_instance = self.started == now.started or at_its_place
        if (self.in_recovery, self.timeline) == (now.in_recovery, now.timeline) and same_instance:
            return None
        text = f"failover, or another server, since the plan was made: then {self}, now {now}"
        return Problem("failover", text, "nothing was written to it, run the command again")

    def split_brain_problem(self, others: Mapping[str, Server]) -> Problem | None:
        """Why nothing may be written to this primary: another host of its connection string takes writes of the same cluster.

        `others` are those that answered, by host and port. None when this one is alone.
        """
        for label, other in others.items():
            if not other.in_recovery and other.system == self.system and other.started != self.started:
                text = f"two servers of this host's connection string take writes: {self} and {label}, {other}"
                step = "nothing was written, stop the one that is no longer the primary, then run the command again"
                return Problem("split-brain", text, step)
        return None
