"""pyinfra asks questions; without a terminal there is nobody to answer, and it would end in an EOFError with a traceback."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from deploy.errors import RunRefused
from deploy.problems import Problem

if TYPE_CHECKING:
    from pyinfra.api.state import State


class _Answers:
    """Standard input that is no terminal: answers that were piped in are given, its end refuses the run."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def readline(self, size: int = -1) -> str:
        line = self._stream.readline(size) if self._stream is not None else ""
        if not line:
            raise RunRefused(
                Problem(
                    "approval",
                    "nobody can approve the plan, because standard input is no terminal; nothing was changed",
                    "pass -y to execute it, or --dry to see it",
                )
            )
        return line

    def isatty(self) -> bool:
        return False


def prepare(state: State) -> None:
    """Once a run, where pyinfra would prompt and can't: let a host fail alone, and turn the last question into a sentence.

    pyinfra offers the first as `FAIL_PERCENT`; the question whether to execute the plan reads standard input, whatever is set.
    """
    if state.should_raise_failed_hosts is not None and (sys.stdin is None or not sys.stdin.isatty()):
        state.config.FAIL_PERCENT = None
        sys.stdin = _Answers(sys.stdin)
