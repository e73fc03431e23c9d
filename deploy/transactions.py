"""The commands that apply files: for each a transaction under SQLx's lock, holding the file and its ledger row."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from pyinfra import host
from pyinfra.api.command import PyinfraCommand

from deploy import failure, ledger, target
from deploy.failure import Commands
from deploy.migrations import Migration
from deploy.observation import Observation
from deploy.plan import Plan
from deploy.script import Answer, Part, Script
from deploy.target import Target

_POLL = 0.2
"""Seconds between two attempts to take the lock."""


def apply(wanted: Target, planned: Plan, seen: Observation) -> Commands:
    creates_ledger = planned.creates_ledger
    for migration in planned.pending:
        started = time.perf_counter_ns()
        begun = yield from _begin(wanted, planned, seen, migration, ledger_exists=not creates_ledger)
        if begun is None:
            return
        if begun.column("recorded") is not None:
            yield Script("ROLLBACK")
            if begun.column("recorded") != migration.checksum.hex():
                yield from failure.fail(
                    [f"migration {migration.version} was recorded meanwhile with another checksum; run the command again"]
                )
                return
            host.log(f"{migration}: applied meanwhile by someone else")
            continue
        steps = [Script(Part(migration.sql, migration.file))]
        if creates_ledger:
            steps.insert(0, Script(ledger.create(planned.ledger)))
        for step in steps:
            yield step
            if step.answer.error is not None:
                yield from failure.fail(step.answer.error.lines())
                return
        elapsed = time.perf_counter_ns() - started
        record = Script(ledger.record(migration, ledger=planned.ledger, execution_time=elapsed))
        yield record
        if record.answer.error is None and not record.answer.rows:
            yield Script("ROLLBACK")
            yield from failure.fail(
                [
                    f"{migration.file}: ends the transaction it runs in, so it was not recorded and what it committed stays; "
                    "remove COMMIT, ROLLBACK and the like from the file"
                ]
            )
            return
        commit = Script("COMMIT")
        if record.answer.error is None:
            yield commit
        error = record.answer.error or commit.answer.error
        if error is not None:
            yield from failure.fail(error.lines())
            return
        creates_ledger = False
        host.log(f"applied {migration} ({elapsed / 1e6:.0f} ms)")


def _begin(
    wanted: Target, planned: Plan, seen: Observation, migration: Migration, *, ledger_exists: bool
) -> Generator[PyinfraCommand, None, Answer | None]:
    """Open the transaction of one migration under the lock; None when that failed, and the host with it."""
    key = ledger.lock_key(seen.database)
    deadline = time.monotonic() + wanted.settings.lock_wait / 1000
    sql = ledger.begin(
        migration,
        settings=target.session_settings(wanted.settings),
        key=key,
        owner=wanted.settings.owner,
        ledger=planned.ledger,
        ledger_exists=ledger_exists,
    )
    while True:
        begin = Script(sql)
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
        if answer.column("locked"):
            yield from failure.fail(
                [f"ledger {planned.ledger} appeared or vanished after the plan was made; run the command again"]
            )
            return None
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
