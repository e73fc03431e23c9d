"""The commands that apply files: for each a transaction under SQLx's lock, holding the file and its ledger row."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from pyinfra import host
from pyinfra.api.command import PyinfraCommand

from deploy import failure, ledger, target
from deploy.errors import SqlError
from deploy.failure import Commands
from deploy.migrations import Migration
from deploy.observation import Observation
from deploy.plan import Plan
from deploy.script import Answer, Part, Script
from deploy.target import Target

_POLL = 0.2
"""Seconds between two attempts to take the lock."""


_ALREADY_THERE = {"23505", "42P07", "42710"}
"""SQLSTATEs of an object or a row that someone else has made meanwhile; SQLx's CLI takes no lock."""


def apply(wanted: Target, planned: Plan, seen: Observation) -> Commands:
    ledger_exists = not planned.creates_ledger
    for migration in planned.pending:
        started = time.perf_counter_ns()
        begun = yield from _begin(wanted, planned, seen, migration, ledger_exists)
        if begun is None:
            return
        error = None
        if begun.column("recorded") is None:
            error = yield from _run(planned, migration, begun, started)
            if error is not None and error.sqlstate in _ALREADY_THERE:
                begun = yield from _begin(wanted, planned, seen, migration, begun.column("ledger_exists"))
                if begun is None:
                    return
                if begun.column("recorded") is None:
                    yield Script("ROLLBACK")
        recorded = begun.column("recorded")
        if recorded is not None:
            yield Script("ROLLBACK")
            if recorded != migration.checksum.hex():
                yield from failure.fail(
                    [f"migration {migration.version} was recorded meanwhile with another checksum; run the command again"]
                )
                return
            host.log(f"{migration}: applied meanwhile by someone else")
        elif error is not None:
            yield from failure.fail(error.lines())
            return
        ledger_exists = True


def _run(planned: Plan, migration: Migration, begun: Answer, started: int) -> Generator[PyinfraCommand, None, SqlError | None]:
    """The file, its ledger row and COMMIT in the transaction that `begun` opened. After an error it is rolled back."""
    steps = [Script(Part(migration.sql, migration.file))]
    if not begun.column("ledger_exists"):
        steps.insert(0, Script(ledger.create(planned.ledger)))
    for step in steps:
        yield step
        if step.answer.error is not None:
            return step.answer.error
    elapsed = time.perf_counter_ns() - started
    record = Script(ledger.record(migration, ledger=planned.ledger, execution_time=elapsed))
    yield record
    if record.answer.error is not None:
        return record.answer.error
    if not record.answer.rows:
        yield Script("ROLLBACK")
        return SqlError(
            f"{migration.file}: ends the transaction it runs in, so it was not recorded and what it committed stays; "
            "remove COMMIT, ROLLBACK and the like from the file"
        )
    commit = Script("COMMIT")
    yield commit
    if commit.answer.error is None:
        host.log(f"applied {migration} ({elapsed / 1e6:.0f} ms)")
    return commit.answer.error


def _begin(
    wanted: Target, planned: Plan, seen: Observation, migration: Migration, ledger_exists: bool
) -> Generator[PyinfraCommand, None, Answer | None]:
    """Open the transaction of one migration under the lock; None when that failed, and the host with it.

    Whoever held the lock before may have made the ledger: then it is opened again, to read it.
    """
    deadline = time.monotonic() + wanted.settings.lock_wait / 1000
    while True:
        begin = Script(
            ledger.begin(
                migration,
                settings=target.session_settings(wanted.settings),
                key=ledger.lock_key(seen.database),
                owner=wanted.settings.owner,
                ledger=planned.ledger,
                ledger_exists=ledger_exists,
            )
        )
        yield begin
        answer = begin.answer
        if answer.error is not None:
            yield from failure.fail(answer.error.lines())
            return None
        if answer.column("locked") and not answer.column("in_recovery") and answer.column("ledger_exists") == ledger_exists:
            return answer
        yield Script("ROLLBACK")
        if answer.column("in_recovery"):
            yield from failure.fail(
                ["the server became a standby after the plan was made; nothing was written, run the command again"]
            )
            return None
        if answer.column("ledger_exists") != ledger_exists:
            ledger_exists = answer.column("ledger_exists")
            continue
        if time.monotonic() > deadline:
            yield from failure.fail([_locked(answer, wanted)])
            return None
        time.sleep(_POLL)


def _locked(answer: Answer, wanted: Target) -> str:
    holder: dict[str, Any] = answer.column("holder") or {}
    return (
        f"another migrator holds the lock of this database: pid {holder.get('pid', 'unknown')}, "
        f"application {holder.get('application') or 'unknown'}, since {holder.get('since') or 'unknown'}; "
        f"waited {wanted.settings.lock_wait / 1000:g} s, run the command again when it is done, or raise lock_wait"
    )
