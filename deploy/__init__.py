"""Put a Postgres schema on a fleet of databases and prove that it is there.

The functions of this module are the verbs: `pyinfra INVENTORY deploy.apply`.

pyinfra imports this package in every run of its environment, so nothing is imported before a verb is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def apply(*words: Any, report: Any = None, **arguments: Any) -> None:
    """Migrate what is pending on every host, then verify. Arguments are data keys: `deploy.apply schema=health`.

    `report` names a folder; what was found is written there, also when every host failed.
    """
    from deploy import operations
    from deploy.cli import arguments as verb
    from deploy.cli import waves

    def declare(title: Callable[[str], str]) -> None:
        operations.migrate(name=title("Migrate"), **arguments)
        if verb.goes_on():
            operations.verify(name=title("Verify"), after_migration=True, **arguments)

    verb.check("apply", words, arguments, own=["report"])
    verb.record("apply", report, arguments)
    if verb.is_postgres("apply"):
        waves.run(declare)


def verify(*words: Any, report: Any = None, **arguments: Any) -> None:
    """Run all checks on every host; nothing is written there. `report` as in apply."""
    from deploy import operations
    from deploy.cli import arguments as verb

    verb.check("verify", words, arguments, own=["report"])
    verb.record("verify", report, arguments)
    if verb.is_postgres("verify"):
        operations.verify(name="Verify", **arguments)


def purge(*words: Any, days: Any = None, report: Any = None, **arguments: Any) -> None:
    """Delete events older than `retention_days`, for which `days` is the short word, in batches.

    Other arguments are data keys. `report` as in apply; it is written as purge.json.
    """
    from deploy import operations
    from deploy.cli import arguments as verb
    from deploy.cli import waves

    def declare(title: Callable[[str], str]) -> None:
        operations.purge(name=title("Purge"), **arguments)

    arguments = verb.renamed("purge", arguments, days=days, to="retention_days")
    verb.check("purge", words, arguments, own=["days", "report"])
    verb.record("purge", report, arguments)
    if verb.is_postgres("purge"):
        waves.run(declare)


def revert(*words: Any, to: Any = None, allow_data_loss: Any = False, **arguments: Any) -> None:
    """Run the down file of the newest applied migration, of all newer than version `to`, or of all: `deploy.revert to=0`."""
    from deploy import operations
    from deploy.cli import arguments as verb
    from deploy.cli import waves

    def declare(title: Callable[[str], str]) -> None:
        operations.revert(name=title("Revert"), to=chosen[0], allow_data_loss=chosen[1], **arguments)

    verb.check("revert", words, arguments, own=["to", "allow_data_loss"])
    verb.record("revert", None, arguments)
    chosen = verb.whole_number("revert", "to", to), verb.yes_or_no("revert", "allow_data_loss", allow_data_loss)
    if verb.is_postgres("revert"):
        waves.run(declare)


def adopt(*words: Any, replace_checksum: Any = False, **arguments: Any) -> None:
    """Record our migration on hosts where its objects are already there, with proof; nothing is run."""
    from deploy import operations
    from deploy.cli import arguments as verb
    from deploy.cli import waves

    def declare(title: Callable[[str], str]) -> None:
        operations.adopt(name=title("Adopt"), replace_checksum=replace, **arguments)

    verb.check("adopt", words, arguments, own=["replace_checksum"])
    verb.record("adopt", None, arguments)
    replace = verb.yes_or_no("adopt", "replace_checksum", replace_checksum)
    if verb.is_postgres("adopt"):
        waves.run(declare)


def render(*words: Any, out: str = "migrations", **arguments: Any) -> None:
    """Write the rendered migrations as files into the folder `out`: `pyinfra @local deploy.render`."""
    from deploy import operations, settings
    from deploy.cli import arguments as verb

    verb.check("render", words, arguments, own=["out"])
    operations.render(name="Render", out=settings.resolve_path(str(out)), **arguments)
