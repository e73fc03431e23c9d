"""What changes a host, and what proves it. Bodies run twice, for the plan and for the execution: read, compare, then yield."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pyinfra import host, state
from pyinfra.api import FunctionCommand, operation

from deploy.cli import arguments as verb
from deploy.cli import failure
from deploy.connection.message import Answer, Commands, Message
from deploy.connectors.postgres import PostgresConnector, connections
from deploy.errors import HostFailed, SqlError
from deploy.execution import down_file, executor, failover, non_transactional, probe, record
from deploy.execution.executor import Run
from deploy.facts import HostState
from deploy.findings import Probed
from deploy.plan import adoption, pending, reversal, standby, target
from deploy.plan.observation import Observation, observe
from deploy.plan.target import Target
from deploy.report import console
from deploy.source.migrations import Migration

_INSUFFICIENT_PRIVILEGE = "42501"

_REPLAY_POLL = 0.5
"""Seconds between two looks at a standby that has not replayed all."""


@operation()
@failure.isolates_host
def migrate(**arguments: Any) -> Commands:
    """Apply what is pending, each file in a transaction of its own with its ledger row.

    `arguments` are keys of deploy.settings that win over the host's data. On a standby nothing is done.
    """
    wanted = target.resolve(host.name, host.data.dict(), **arguments)
    seen = _read(wanted, arguments)
    planned = pending.plan(wanted, seen)
    problem = planned.problem or pending.existing_table_problem(wanted, seen, planned.pending)
    if problem is not None:
        yield from failure.fail([str(problem)])
        return
    for note in planned.notes:
        host.log(note)
    if not planned.pending:
        at_target = f"{len(wanted.source.migrations)} migration(s) at target"
        host.noop("standby: nothing to migrate" if seen.in_recovery else at_target)
        return
    _show([(f"pending: {migration}", migration) for migration in planned.pending])
    failover.before_writing(seen.server)
    run = Run.of(wanted, planned, seen)
    for migration in planned.pending:
        if migration.transactional:
            yield from executor.apply(run, migration)
        else:
            yield from non_transactional.apply(run, migration)


@operation()
@failure.isolates_host
def revert(to: int | None = None, allow_data_loss: bool = False, **arguments: Any) -> Commands:
    """Run the down files of the newest applied migration, of all above version `to`, or of all when `to` is 0."""
    wanted = target.resolve(host.name, host.data.dict(), **arguments)
    seen = _read(wanted, arguments)
    planned = pending.plan(wanted, seen, will_run=False)
    if seen.in_recovery:
        host.noop("standby: nothing was reverted")
        return
    chosen = reversal.plan(wanted.source, seen.ledger.rows, to, allow_data_loss=allow_data_loss)
    files = [down for _, down in chosen.steps]
    problem = planned.problem or chosen.problem or (pending.cannot_run(wanted, seen, files) if files else None)
    if problem is not None:
        yield from failure.fail([str(problem)])
        return
    if not chosen.steps:
        host.noop("nothing of this source is applied" if to in (None, 0) else f"nothing newer than {to} is applied")
        return
    _show([(f"to revert: {up}", down) for up, down in chosen.steps])
    failover.before_writing(seen.server)
    run = Run.of(wanted, planned, seen)
    for up, down in chosen.steps:
        yield from down_file.revert(run, up, down, allow_data_loss=allow_data_loss)


@operation()
@failure.isolates_host
def adopt(replace_checksum: bool = False, **arguments: Any) -> Commands:
    """Record our own migration where its objects are already there and the contract holds."""
    wanted = target.resolve(host.name, host.data.dict(), **arguments)
    seen = _read(wanted, arguments)
    planned = pending.plan(wanted, seen, will_run=False)
    decided = adoption.plan(wanted, seen, planned, replace_checksum=replace_checksum)
    for note in (*(() if planned.pending else planned.notes), *decided.notes):
        host.log(note)
    if decided.problem is not None:
        yield from failure.fail([str(decided.problem), *decided.details])
        return
    migration = wanted.source.migrations[-1]
    if decided.action is None:
        host.noop(f"{migration}: nothing to write")
        return
    if not state.is_executing and decided.action == "record":
        host.log(f"to record without running it: {migration}; contract holds")
    failover.before_writing(seen.server)
    yield from record.write(Run.of(wanted, planned, seen), migration, decided)


@operation()
@failure.isolates_host
def render(out: Path, **arguments: Any) -> Commands:
    """Write the rendered source into the folder `out` of this machine; files that are there and equal are left alone."""
    source = target.resolve(host.name, host.data.dict(), **arguments).source
    stale = [
        migration
        for migration in (*source.migrations, *source.down.values())
        if not (out / migration.file).is_file() or (out / migration.file).read_bytes() != migration.sql.encode()
    ]
    if not stale:
        host.noop(f"{out} is as the templates render")
    for migration in stale:
        yield FunctionCommand(_write, (out / migration.file, migration.sql.encode()), {})


def _write(state: Any, host: Any, path: Path, content: bytes) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        return failure.print_failure(state, host, [f"{path}: {error.strerror}; choose another folder with out=DIR"])
    host.log(f"wrote {path}")
    return True


@operation()
@failure.isolates_host
def verify(after_migration: bool = False, **arguments: Any) -> Commands:
    """Run the checks, and with `probe_rows` the probe; each violation is one red line, and the host fails. Nothing is left behind.

    A check that the role may not run proves nothing: its host fails too, and the line says what to grant.
    `after_migration`: a plan that still has something to migrate is not verified yet. A standby is verified once its own ledger
    shows the source's versions, which is waited for; without a migration before it also as soon as the contract holds there.
    """
    wanted = target.resolve(host.name, host.data.dict(), **arguments)
    seen = _read(wanted, arguments)
    if after_migration and not state.is_executing and (files := pending.plan(wanted, seen).pending):
        verb.not_verified(f"{len(files)} migration(s) pending, nothing was applied")
        host.log("will be verified after the migration")
        return
    lacking = standby.unreplayed(wanted.source, seen)
    if lacking and (after_migration or not wanted.checks or seen.violations or seen.check_error):
        if not state.is_executing:
            verb.not_verified(f"standby: {len(lacking)} migration(s) not replayed yet")
            host.log(f"standby: {len(lacking)} migration(s) not replayed yet; will be verified when they are")
            return
        seen = _replayed(wanted, arguments, lacking, after_migration)
    if seen.check_error is not None:
        yield from failure.fail(seen.check_error.lines())
        return
    probed = _probe(wanted, seen)
    found = probed.add_to(seen.findings(host.name, wanted.check_names))
    if not wanted.checks:
        verb.not_verified("this source has no checks")
    else:
        verb.verified(found)
    broken = [f"probe: {line}" for line in probed.error.lines()] if probed.error is not None else []
    broken += [f"not run: {reason}" for reason in found.not_run.values()]
    if found.violations or broken:
        yield from failure.fail([*console.violations(found.violations, *verb.room()), *broken], verified=True)
    elif not wanted.checks:
        host.log("not verified: this source has no checks; set `checks`")
    else:
        host.log(f"verified: {seen.database} on PostgreSQL {seen.server_version} is as the contract says")


def _replayed(wanted: Target, arguments: dict[str, Any], lacking: Sequence[Migration], after_migration: bool) -> Observation:
    """A standby once its ledger shows all of the source. Raises HostFailed after `replay_wait`, with its lag.

    Where nothing was migrated before, what is wrong there need not come from the lag, and is said too.
    """
    patience = wanted.settings.replay_wait
    deadline = time.monotonic() + patience / 1000
    host.log(f"standby: waits up to {patience / 1000:g} s for {len(lacking)} migration(s)")
    while True:
        seen = _read(wanted, arguments)
        if not (lacking := standby.unreplayed(wanted.source, seen)):
            return seen
        if time.monotonic() > deadline:
            found = () if after_migration else console.violations(seen.violations, *verb.room())
            raise HostFailed(standby.lag_problem(lacking, seen.server.replay, patience), *found)
        time.sleep(_REPLAY_POLL)


def _probe(wanted: Target, seen: Observation) -> Probed:
    """Try the named queries and storage when `probe_rows` asks for it. What it writes is rolled back: to pyinfra it is a read."""
    rows = wanted.settings.probe_rows
    if not rows:
        return Probed()
    if reason := probe.reason_not_to(wanted, seen):
        probed = Probed(not_probed=reason)
    elif not state.is_executing:
        host.log(f"will be probed with {rows:,} rows in temporary tables")
        return Probed()
    else:
        with connections(host).exclusive_use(
            cast(PostgresConnector, host.connector).endpoint
        ):  # side by side, probes would measure each other
            probed = probe.run(wanted, rows, _send, host.log)
    for timing in probed.queries:
        host.log(f"probed: {timing}")
        if state.print_input:
            for line in timing.plan.splitlines():
                host.log(f"  {line}")
    if probed.not_probed is not None:
        host.log(f"not probed: {probed.not_probed}")
    return probed


def _send(script: Message) -> Answer:
    _, output = host.run_shell_command(script)
    return Answer.from_json(output.stdout)


def _read(wanted: Target, arguments: dict[str, Any]) -> Observation:
    """How the host is now. While planning, the second operation of a verb takes what the first has read. Raises HostFailed."""
    remembered = host.connector_data.get("observation")
    if not state.is_executing and isinstance(remembered, tuple) and remembered[0] == wanted:
        seen: Observation = remembered[1]
        return seen

    def ask(only: Collection[str] | None = None) -> Answer:
        return executor.ask(lambda: host.get_fact(HostState, arguments=arguments, only=only), wanted.settings)

    answer, check_error = ask(), None
    not_run: dict[str, str] = {}
    if answer.error is not None and answer.error.sqlstate not in (None, *executor.BUSY):
        # a check that can't run, say one on a table that is not there yet, must not hide the rest
        check_error = answer.error
        answer = ask(())
        if answer.error is None and check_error.sqlstate == _INSUFFICIENT_PRIVILEGE:
            answer, check_error, not_run = _one_by_one(wanted, answer, ask)
    if answer.error is not None:
        busy = answer.error.sqlstate in executor.BUSY
        raise HostFailed.of(replace(answer.error, hint=executor.tried(wanted.settings)) if busy else answer.error)
    seen = observe(answer, check_error, getattr(host.connector, "login_pid", None), not_run)
    failover.check_same_server(seen.server)
    host.connector_data["observation"] = (wanted, seen)
    return seen


def _one_by_one(
    wanted: Target, answer: Answer, ask: Callable[[Collection[str]], Answer]
) -> tuple[Answer, SqlError | None, dict[str, str]]:
    """Each check in a message of its own: `answer` with what they found, the error of one, and those that the role may not run."""
    rows, not_run = answer.rows, {}
    for name in wanted.check_names:
        asked = ask((name,))
        if asked.error is None:
            rows += tuple(row for row in asked.rows if "check" in row)
        elif asked.error.sqlstate != _INSUFFICIENT_PRIVILEGE:
            return answer, asked.error, {}
        else:
            not_run[name] = asked.error.summary
    return Answer(rows), None, not_run


def _show(files: Sequence[tuple[str, Migration]]) -> None:
    """While planning: what will run; with --diff or -vv its SQL too (with -y, when it is about to run)."""
    planning = not state.is_executing
    if planning:
        for line, _ in files:
            host.log(line)
    if (state.config.DIFF and (planning or not state.should_check_for_changes())) or (planning and state.print_input):
        for _, migration in files:
            host.log(f"{migration.file}:")
            for line in migration.sql.splitlines():
                host.log(f"  {line}")
