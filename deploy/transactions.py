"""The commands that apply files: for each a transaction under SQLx's lock, holding the file and its ledger row."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace
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

POLL = 0.2
"""Seconds between two attempts to take the lock, or to use a busy table."""

BUSY = "55P03"
"""SQLSTATE lock_not_available: `lock_timeout` has passed, or a NOWAIT found the table locked."""

_NO_SUCH_TABLE = "42P01"


def apply(wanted: Target, planned: Plan, seen: Observation) -> Commands:
    creates_ledger = planned.creates_ledger
    for migration in planned.pending:
        deadline = time.monotonic() + wanted.settings.lock_wait / 1000
        while True:
            error = yield from _attempt(wanted, planned, seen, migration, creates_ledger, deadline)
            if not isinstance(error, SqlError) or error.sqlstate != BUSY or time.monotonic() > deadline:
                break
            time.sleep(POLL)
        if isinstance(error, str):
            yield from failure.fail([error])
            return
        if error is not None:
            if error.name is None and error.line is None:
                error = replace(error, name=migration.file)  # of COMMIT, say
            yield from failure.fail([*error.lines(), *([tried(wanted)] if error.sqlstate == BUSY else [])])
            return
        creates_ledger = False


def _attempt(
    wanted: Target, planned: Plan, seen: Observation, migration: Migration, creates_ledger: bool, deadline: float
) -> Generator[PyinfraCommand, None, SqlError | str | None]:
    """The transaction of one migration; None when it is applied, else why not: then it is rolled back."""
    started = time.perf_counter_ns()
    begun = yield from _begin(wanted, planned, seen, migration, not creates_ledger, deadline)
    if not isinstance(begun, Answer):
        return begun
    if begun.column("recorded") is not None:
        yield Script("ROLLBACK")
        if begun.column("recorded") != migration.checksum.hex():
            return f"migration {migration.version} was recorded meanwhile with another checksum; run the command again"
        host.log(f"{migration}: applied meanwhile by someone else")
        return None
    steps = [Script(Part(migration.sql, migration.file))]
    if creates_ledger:
        steps.insert(0, Script(ledger.create(planned.ledger)))
    for step in steps:
        yield step
        if step.answer.error is not None:
            return step.answer.error
    elapsed = time.perf_counter_ns() - started
    record = Script(ledger.record(migration, ledger=planned.ledger, execution_time=elapsed))
    yield record
    error = record.answer.error
    if (error is None and not record.answer.rows) or (error is not None and creates_ledger and error.sqlstate == _NO_SUCH_TABLE):
        yield Script("ROLLBACK")
        return (
            f"{migration.file}: ends the transaction it runs in, so it was not recorded and what it committed stays; "
            "remove COMMIT, ROLLBACK and the like from the file"
        )
    if error is None:
        commit = Script("COMMIT")
        yield commit
        error = commit.answer.error
    if error is None:
        host.log(f"applied {migration} ({elapsed / 1e6:.0f} ms)")
    return error


def tried(wanted: Target) -> str:
    return f"tried for {wanted.settings.lock_wait / 1000:g} s; run the command again, or raise lock_wait"


def _begin(
    wanted: Target, planned: Plan, seen: Observation, migration: Migration, ledger_exists: bool, deadline: float
) -> Generator[PyinfraCommand, None, Answer | SqlError | str]:
    """Open the transaction of one migration under the lock; no answer when that failed, but why."""
    sql = ledger.begin(
        migration,
        settings=target.session_settings(wanted.settings),
        key=ledger.lock_key(seen.database),
        owner=wanted.settings.owner,
        ledger=planned.ledger,
        ledger_exists=ledger_exists,
    )
    while True:
        begin = Script(sql)
        yield begin
        answer = begin.answer
        if answer.error is not None:
            return answer.error
        if answer.column("locked") and not answer.column("in_recovery") and answer.column("ledger_exists") == ledger_exists:
            return answer
        yield Script("ROLLBACK")
        if answer.column("in_recovery"):
            return "the server became a standby after the plan was made; nothing was written, run the command again"
        if answer.column("locked"):
            return f"ledger {planned.ledger} appeared or vanished after the plan was made; run the command again"
        if time.monotonic() > deadline:
            return _locked(answer, wanted)
        time.sleep(POLL)


def _locked(answer: Answer, wanted: Target) -> str:
    holder: dict[str, Any] = answer.column("holder") or {}
    return (
        f"another migrator holds the lock of this database: pid {holder.get('pid', 'unknown')}, "
        f"application {holder.get('application') or 'unknown'}, since {holder.get('since') or 'unknown'}; "
        f"waited {wanted.settings.lock_wait / 1000:g} s, run the command again when it is done, or raise lock_wait"
    )
