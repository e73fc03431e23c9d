"""A problem: one reason not to run, or why a host failed. Decided as a value, rendered where it leaves the process. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """`kind` is a stable word that JSON, JUnit and tests compare; `text` says what is where; `next` is the next step or command."""

    kind: str
    text: str
    next: str = ""

    def __str__(self) -> str:
        return "; ".join(part for part in (self.text, self.next) if part)
