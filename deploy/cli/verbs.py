"""`@verb` declares a verb of the command line. Imports nothing else of the package: `deploy/__init__.py` stays quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy.report.run import CommandLine, Reports

Body = Callable[..., None]
"""Declares the operations of the current host. The first argument ends their names: ` (wave 1)` where there are waves."""


class Verb:
    """What pyinfra calls once a host. The body's own arguments, data keys and `report` are what the command line may give."""

    def __init__(self, body: Body, reports: Reports, waves: bool, only_postgres: bool, aliases: Mapping[str, str] | None) -> None:
        update_wrapper(self, body)
        self.body = body
        self.name = body.__name__
        self.reports: Reports = reports
        self.waves = waves
        self.only_postgres = only_postgres
        self.aliases = aliases or {}

    def __call__(self, *words: Any, report: Any = None, **given: Any) -> None:
        from deploy.cli import calls

        calls.call(self, words, report, given)

    def check(self, line: CommandLine, words: Sequence[Any], given: Mapping[str, Any]) -> None:
        """Raise RunRefused for a command line that names this verb and can't be run."""
        from deploy.cli import calls

        calls.check(self, line, words, given)


def verb(
    *, reports: Reports, waves: bool = True, only_postgres: bool = True, aliases: Mapping[str, str] | None = None
) -> Callable[[Body], Verb]:
    """Declare a function of `deploy` as a verb.

    `reports` says what its report is about. With `waves` the hosts of a wave are through all of its operations before those of
    the next begin. `aliases` maps short words for data keys to these.
    """
    return lambda body: Verb(body, reports, waves, only_postgres, aliases)
