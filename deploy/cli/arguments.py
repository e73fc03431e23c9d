"""What every verb does before it declares operations: looks at its words, its host and pyinfra's flags."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from pyinfra import host, state

from deploy.cli import failure
from deploy.connection.conninfo import DATA_KEYS
from deploy.connectors import prompts
from deploy.connectors.postgres import PostgresConnector
from deploy.errors import RunRefused
from deploy.findings import HostFindings, PurgeFindings
from deploy.plan import target
from deploy.report import run as recorder
from deploy.settings import Settings


def check(verb: str, words: Sequence[Any], arguments: Mapping[str, Any], own: Iterable[str] = ()) -> None:
    """Refuse words that are no `key=value` and keys that are neither the verb's `own` nor data; read the source.

    Under --dry a plan is made also with -y, where pyinfra would do nothing and exit 0.
    """
    refuse_flags()
    known = sorted(
        {field.name for field in fields(Settings)} - DATA_KEYS.keys() - {"wave", "max_connections_per_server"} | set(own)
    )
    for word in words:
        raise RunRefused(f"deploy.{verb}: {word!r} is no argument; write KEY=VALUE, with one of {', '.join(known)}")
    for key in arguments:
        if key in DATA_KEYS:
            raise RunRefused(f"deploy.{verb}: {key!r} says where a host is; set it in the inventory")
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise RunRefused(f"deploy.{verb}: unknown argument {key!r}; use one of {', '.join(near or known)}")
    wanted = target.resolve(host.name, host.data.dict(), **{key: value for key, value in arguments.items() if key not in own})
    if isinstance(host.connector, PostgresConnector):
        host.connector.settings = wanted.settings  # its deadlines follow from them
    prompts.prepare(state)
    if "--dry" in sys.argv:
        state.check_for_changes = True


_LOSING = {
    "--no-wait": "a host that fails would end with exit code 0",
    "--serial": "hosts would run one by one, in no order and without waves",
}
"""Flags of pyinfra that lose failures or waves. Only the command line shows them: pyinfra passes them to nobody."""


def refuse_flags() -> None:
    words = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    for flag, reason in _LOSING.items():
        if flag in words:
            raise RunRefused(f"{flag} is not supported: {reason}; leave it out, and use --parallel 1 to go host by host")


def renamed(verb: str, arguments: Mapping[str, Any], *, days: Any, to: str) -> dict[str, Any]:
    """The arguments with the short word `days` as the data key `to`. Raises RunRefused in the word that was used."""
    if days is None:
        return dict(arguments)
    if not isinstance(days, int) or isinstance(days, bool) or days < 1:
        raise RunRefused(f"deploy.{verb}: days={days} is no whole number of days from 1 on; write days=90")
    if to in arguments:
        raise RunRefused(f"deploy.{verb}: days={days} and {to}={arguments[to]} say it twice; leave one out")
    return {**arguments, to: days}


def record(verb: str, report: Any, arguments: Mapping[str, Any]) -> None:
    """Tell the run's recorder what runs, also where the command line names a deploy file and not the verb itself."""
    run = recorder.of(host)
    if run is not None:
        run.start(verb, {**arguments, "report": report})
    elif report is not None:
        raise RunRefused(f"deploy.{verb}: report={report}: no @postgres host in this run, so there is nothing to report")


def verified(findings: HostFindings) -> None:
    """The current host was verified, well or not."""
    if (run := recorder.of(host)) is not None:
        run.found(findings)


def not_verified(reason: str) -> None:
    """The current host was looked at and left unverified."""
    if (run := recorder.of(host)) is not None:
        run.not_verified(host.name, reason)


def purged(findings: PurgeFindings) -> None:
    """The current host was looked at, to be purged or left alone."""
    if (run := recorder.of(host)) is not None:
        run.purged(findings)


def room() -> tuple[int, int | None]:
    """The columns that pyinfra puts before a line of the current host, and those of the terminal (None: no terminal)."""
    return len(f"    [{host.name}]{host.print_prefix_padding} "), recorder.width()


def is_postgres(verb: str) -> bool:
    """Whether SQL may go to the current host; a host of another connector fails here, before a shell would see SQL."""
    if isinstance(host.connector, PostgresConnector):
        return True
    failure.fail_in_plan(
        [f"deploy.{verb} runs on @postgres hosts, and {host.name} is none; name it @postgres/NAME in the inventory"]
    )
    return False


def goes_on() -> bool:
    """Whether the current host has not failed in an earlier operation of the plan."""
    return state.inventory.get_host(host.name) not in state.failed_hosts


def whole_number(verb: str, key: str, value: Any) -> int | None:
    """The value of an argument that is a whole number or was not given. Raises RunRefused."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise RunRefused(f"deploy.{verb}: {key}={value!r} is no whole number; write {key}=20260111030835")


def yes_or_no(verb: str, key: str, value: Any) -> bool:
    """The value of an argument that is true or false. Raises RunRefused."""
    if isinstance(value, bool):
        return value
    raise RunRefused(f"deploy.{verb}: {key}={value!r} is neither true nor false; write {key}=true")
