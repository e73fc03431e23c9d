"""How a `-- no-transaction` file runs: alone in its message, outside a transaction, under a lock of the session.

A row with `success = false` marks it before; the row is flipped after it, or goes when the file failed and left nothing
behind. A crash in between is seen by both tools. SQLx writes no such row, but refuses to go on when it finds one.

The lock is not waited for, and let go when somebody waits for it: a waiter inside pg_advisory_lock, as SQLx's library, holds a
snapshot that CREATE INDEX CONCURRENTLY waits for. One that comes meanwhile makes a deadlock; if we are its victim we start over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pyinfra import host

from deploy.connection.message import Commands, File, Message
from deploy.errors import HostFailed, SqlError, StatementFailed
from deploy.execution.executor import (
    DEADLOCK,
    POLL,
    Run,
    Steps,
    check_lock,
    is_applied,
    prepare,
    retry_while_busy,
    send,
    send_begin,
)
from deploy.plan import invalid_indexes, ledger, target
from deploy.plan.invalid_indexes import InvalidIndex
from deploy.plan.ledger import LedgerState
from deploy.plan.pending import pooled_problem
from deploy.source.migrations import Migration
from deploy.statements import statement

Action = Literal["apply", "revert"]

_DONE: dict[Action, str] = {"apply": "applied", "revert": "reverted"}


def apply(run: Run, migration: Migration) -> Commands:
    """Apply one file and record it. Raises HostFailed."""
    host.log((yield from _cleanly(run, migration, migration, "apply")))


def revert(run: Run, down: Migration, up: Migration) -> Commands:
    """Run one down file and remove the row of its version. Raises HostFailed."""
    host.log((yield from _cleanly(run, down, up, "revert")))


def _cleanly(run: Run, file: Migration, up: Migration, action: Action) -> Steps[str]:
    """Whatever happens, the lock and the session's settings go. What is busy is tried again unless a part of the work is done."""

    def attempt(deadline: float) -> Steps[str]:
        try:
            return (yield from _run(run, file, up, action, deadline))
        except StatementFailed:
            raise
        except Exception:
            yield Message("ROLLBACK;\n", ledger.reset())
            raise

    def settled(state: LedgerState) -> str | None:
        return f"{up}: {_DONE[action]} meanwhile by someone else" if _is_done(state, up, action) else None

    def told(error: SqlError) -> list[str]:
        return (error if error.name is not None else replace(error, name=file.file, line=None, column=None, text=None)).lines()

    return (yield from retry_while_busy(run, up.version, attempt, settled, told))


def _is_done(state: LedgerState, up: Migration, action: Action) -> bool:
    return is_applied(up, state) if action == "apply" else state.checksum is None


def _run(run: Run, file: Migration, up: Migration, action: Action, deadline: float) -> Steps[str]:
    """One go. Raises StatementFailed when the file did nothing, else HostFailed."""
    while True:
        state = yield from _begin(run, file, deadline)
        if (done := _judge(run, up, action, state)) is not None:
            yield Message("ROLLBACK;\n", ledger.reset())
            return done
        before = yield from _invalid()
        old = invalid_indexes.of_file(file.sql, before) if action == "apply" else []
        if any(one.busy for one in old) and time.monotonic() < deadline:
            yield Message("ROLLBACK;\n", ledger.reset())
            time.sleep(POLL)
            continue
        if old and not run.wanted.settings.repair_invalid_indexes:
            raise HostFailed(invalid_indexes.in_the_way(file, old[0]))
        error = yield from _execute(run, file, up, action, old, marked=state.dirty == up.version)
        left = yield from _left(run, file, before, old, error)
        if error is None and not left:
            return (yield from _finish(run, up, action, succeeded=True))
        if error is not None and error.sqlstate == DEADLOCK:
            for one in left:
                yield from send(Message(one.drop, statement_timeout=0, keep_session=True))
            left = ()
        if left or error is None or _may_have_committed(file):
            raise HostFailed(*_half_done(file, error, left))
        yield from _finish(run, up, action, succeeded=False)
        raise StatementFailed(error)


def _begin(run: Run, file: Migration, deadline: float) -> Steps[LedgerState]:
    """Open a transaction under a lock that outlives it, in a session of our own that nobody waits for."""
    strangers = 0
    while True:
        pid = getattr(host.connector, "login_pid", None) or 0
        sql = run.place.begin(file.version, ledger_exists=run.ledger_exists, session_pid=pid)
        answer = yield from send_begin(run, Message(sql, keep_session=True))
        if answer is None:
            continue
        state = LedgerState.of(answer)
        locked = answer.value("locked")
        if locked and not state.waiters and run.expects(state):
            return state
        # one stranger is a connection that was opened again; the next is asked on the same, which another host must not get
        strangers = 0 if answer.value("direct") else strangers + 1
        yield Message("ROLLBACK;\n", ledger.reset(), keep_session=strangers == 1)
        if strangers > 1:
            raise HostFailed(pooled_problem(file))
        check_lock(run, state, deadline, locked=locked)


def _judge(run: Run, up: Migration, action: Action, state: LedgerState) -> str | None:
    """What to say when somebody else has done it. Raises HostFailed when the ledger forbids to go on."""
    if action == "revert":
        if state.checksum is None:
            return f"{up}: reverted meanwhile by someone else"
        if state.dirty is not None:
            raise HostFailed(run.dirty_problem(state.dirty))
        return None
    if is_applied(up, state):
        return f"{up}: applied meanwhile by someone else"
    if state.dirty is not None and not (state.dirty == up.version and run.wanted.settings.repair_invalid_indexes):
        raise HostFailed(run.dirty_problem(state.dirty))
    if state.checksum is not None and state.checksum != up.checksum.hex():
        raise HostFailed(f"migration {up.version} was recorded meanwhile with another checksum; run the command again")
    return None


def _execute(
    run: Run, file: Migration, up: Migration, action: Action, old: Sequence[InvalidIndex], *, marked: bool
) -> Steps[SqlError | None]:
    """Mark, commit, remove what an earlier attempt left, run the file; its error, if any. A mark that was there stays."""
    yield from prepare(run)
    mark = statement(
        "no_transaction/mark.sql.j2",
        ledger=run.place.name,
        version=file.version,
        description=file.description,
        checksum=file.checksum.hex(),
        action=action,
        session_settings=target.session_settings(run.wanted.settings, for_session=True),
        owner=run.place.owner,
    )
    yield from send(Message(mark, keep_session=True))
    run.ledger_exists, run.schemas = True, ()
    for one in old:
        try:
            yield from send(Message(one.drop, statement_timeout=0, keep_session=True))
        except StatementFailed:
            if not marked:
                yield from _finish(run, up, action, succeeded=False)
            raise
        host.log(f"dropped INVALID index {one.index}")
    run.started = time.perf_counter_ns()
    script = Message(File(file.sql, file.file), statement_timeout=0, keep_session=True)
    yield script
    return script.answer.error


def _left(
    run: Run, file: Migration, before: Sequence[InvalidIndex], dropped: Sequence[InvalidIndex], error: SqlError | None
) -> Steps[Sequence[InvalidIndex]]:
    """INVALID indexes that the file has left; with IF NOT EXISTS it may have left them without an error."""
    if error is not None and error.sqlstate is None:
        raise HostFailed(*error.lines(), _marked(file))
    try:
        after = yield from _invalid()
    except StatementFailed as failed:
        raise HostFailed(*failed.error.lines(), _marked(file)) from None
    mine = invalid_indexes.of_file(file.sql, after)
    if error is None:
        return mine
    known = {one.index for one in before} - {one.index for one in dropped}
    return [one for one in after if one in mine or (one.index not in known and not one.busy)]


def _invalid() -> Steps[Sequence[InvalidIndex]]:
    answer = yield from send(Message(statement("indexes/list_invalid.sql.j2"), keep_session=True))
    return [InvalidIndex(**one) for one in answer.value("invalid_indexes")]


def _finish(run: Run, up: Migration, action: Action, *, succeeded: bool) -> Steps[str]:
    elapsed = run.elapsed
    finish = statement(
        "no_transaction/finish.sql.j2",
        settings=run.place.settings,
        owner=run.place.owner,
        ledger=run.place.name,
        version=up.version,
        action=action,
        succeeded=succeeded,
        execution_time=elapsed,
        audited=run.audited(up, action) if succeeded else "",
        reset=ledger.reset(),
    )
    done = f"{_DONE[action]} {up} ({elapsed / 1e6:.0f} ms)"

    def attempt(deadline: float) -> Steps[str]:
        answer = yield from send(Message(finish))
        if not any("version" in row for row in answer.rows):
            raise HostFailed(f"{up.file}: its row vanished from the ledger while it ran; run the command again")
        return done

    def settled(state: LedgerState) -> str | None:
        return done if succeeded and _is_done(state, up, action) else None

    yield from retry_while_busy(run, up.version, attempt, settled, lambda error: [*error.lines(), _marked(up)])
    run.creates_history = run.creates_history and not succeeded
    return done


def _may_have_committed(file: Migration) -> bool:
    """Outside a transaction block procedures and DO can commit a part of their work before they fail."""
    return re.search(r"\b(COMMIT|CALL)\b", file.sql, re.IGNORECASE) is not None


def _half_done(file: Migration, error: SqlError | None, left: Sequence[InvalidIndex]) -> list[str]:
    lines = error.lines() if error is not None else []
    if left:
        names = ", ".join(one.index for one in left)
        reason = "IF NOT EXISTS found it there" if error is None else "it failed half-way"
        return [
            *lines,
            f"{file.file}: left INVALID index {names}, because {reason}: {invalid_indexes.next_step(left, file.version)}",
        ]
    return [*lines, _marked(file)]


def _marked(file: Migration) -> str:
    return (
        f"{file.file}: may have done a part of its work; its row in the ledger has success = false: look at the database, "
        f"finish or undo what is half done, then set success to true or remove the row of version {file.version}"
    )
