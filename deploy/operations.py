"""What changes a host, and what proves it. Bodies run twice, for the plan and for the execution: read, compare, then yield."""

from __future__ import annotations

from typing import Any, cast

from pyinfra import host, state
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from deploy.cli import failure, preview
from deploy.connection.message import Answer, Commands, Message
from deploy.connection.server import Server
from deploy.connectors.database import Database
from deploy.connectors.postgres import PostgresConnector
from deploy.errors import HostFailed
from deploy.execution import down_file, non_transactional, observe, probe, record, transactional
from deploy.execution.conversation import Steps, drive
from deploy.execution.work import Progress, Work
from deploy.facts import QueryAnswer
from deploy.files import read_contract, render, write_contract
from deploy.findings import Probed
from deploy.plan import adoption, ledger, pending, reversal, standby, trust, verdict
from deploy.plan.observation import Observation
from deploy.plan.pending import Plan
from deploy.plan.target import Target
from deploy.report import console
from deploy.report.host_run import HostRun
from deploy.report.run import Run
from deploy.retention import expiry
from deploy.retention import plan as retention
from deploy.retention import purge as deletion

__all__ = ["adopt", "migrate", "purge", "read_contract", "render", "revert", "verify", "write_contract"]


@operation()
@failure.isolates_host
def migrate(**arguments: Any) -> Commands:
    """Apply what is pending, each file in a transaction of its own with its ledger row.

    `arguments` are keys of deploy.settings that win over the host's data. On a standby nothing is done.
    """
    target = _current().target(**arguments)
    observation = _observe(target)
    plan = pending.plan(target, observation)
    problem = plan.problem or pending.existing_table_problem(target, observation, plan.pending)
    if problem is not None:
        raise HostFailed(problem)
    for note in plan.notes:
        _current().log(note)
    if not plan.pending:
        count = len(target.source.migrations)
        _current().noop("standby: nothing to migrate" if observation.in_recovery else f"{count} migration(s) at target")
        return
    preview.show([f"pending: {migration}" for migration in plan.pending], [(file.file, file.sql) for file in plan.pending])
    _check_only_primary(observation.server)
    work, progress = _work(target, plan, observation), Progress.of(plan)
    for migration in plan.pending:
        apply = transactional.apply if migration.transactional else non_transactional.apply
        progress = yield from apply(work, migration, progress)


@operation()
@failure.isolates_host
def revert(to: int | None = None, allow_data_loss: bool = False, **arguments: Any) -> Commands:
    """Run the down files of the newest applied migration, of all above version `to`, or of all when `to` is 0."""
    target = _current().target(**arguments)
    observation = _observe(target)
    plan = pending.plan(target, observation, will_run=False)
    if observation.in_recovery:
        _current().noop("standby: nothing was reverted")
        return
    chosen = reversal.plan(target.source, observation.ledger.rows, to, allow_data_loss=allow_data_loss)
    files = [down for _, down in chosen.steps]
    problem = plan.problem or chosen.problem or (pending.cannot_run(target, observation, files) if files else None)
    if problem is not None:
        raise HostFailed(problem)
    if not chosen.steps:
        _current().noop("nothing of this source is applied" if to in (None, 0) else f"nothing newer than {to} is applied")
        return
    preview.show([f"to revert: {up}" for up, _ in chosen.steps], [(down.file, down.sql) for down in files])
    _check_only_primary(observation.server)
    work, progress = _work(target, plan, observation), Progress.of(plan)
    for up, down in chosen.steps:
        if down.transactional:
            progress = yield from down_file.revert(work, up, down, progress, allow_data_loss=allow_data_loss)
        else:
            progress = yield from non_transactional.revert(work, up, down, progress)


@operation()
@failure.isolates_host
def adopt(replace_checksum: bool = False, to: int | None = None, **arguments: Any) -> Commands:
    """Record the migrations whose objects are already there: up to the newest whose contract holds, or up to version `to`."""
    target = _current().target(**arguments)
    observation = _observe(target)
    plan = pending.plan(target, observation, will_run=False)
    decided = adoption.plan(target, observation, plan, replace_checksum=replace_checksum, to=to)
    for note in (*(() if plan.pending else plan.notes), *decided.notes):
        _current().log(note)
    if decided.problem is not None:
        raise HostFailed(decided.problem, *decided.details)
    if not decided.record and not decided.replace:
        _current().noop("nothing to write")
        return
    if not state.is_executing:
        for migration in decided.record:
            _current().log(f"to record without running it: {migration}; contract holds")
    _check_only_primary(observation.server)
    yield from record.write(_work(target, plan, observation), decided, observation.major, Progress.of(plan))


@operation()
@failure.isolates_host
def verify(after_migration: bool = False, **arguments: Any) -> Commands:
    """Compare ledger and contract, run the checks, and with `probe_rows` the probe. Each violation is one red line, and the host
    fails. Nothing is left behind.

    A check that the role may not run proves nothing: its host fails too, and the line says what to grant.
    `after_migration`: a plan that still has something to migrate is not verified yet. A standby is verified once its own ledger
    shows the source's versions, which is waited for; without a migration before it also as soon as the contract holds there.
    """
    target = _current().target(**arguments)
    observation = _observe(target)
    if after_migration and not state.is_executing and (files := pending.plan(target, observation).pending):
        _current().not_verified(f"{len(files)} migration(s) pending, nothing was applied")
        _current().log("will be verified after the migration")
        return
    lacking = standby.unreplayed(target.source, observation)
    if lacking and (after_migration or not observation.proof.contract or observation.violations or observation.check_error):
        if not state.is_executing:
            _current().not_verified(f"standby: {len(lacking)} migration(s) not replayed yet")
            _current().log(f"standby: {len(lacking)} migration(s) not replayed yet; will be verified when they are")
            return
        wait = target.settings.replay_wait
        _current().log(f"standby: waits up to {wait / 1000:g} s for {len(lacking)} migration(s)")
        observation = _read(target, observe.wait_for_replay(target, _current().check_same_server, _login_pid))
        if lacking := standby.unreplayed(target.source, observation):
            # where nothing was migrated before, what is wrong there need not come from the lag
            found = () if after_migration else _current().shown(observation.violations)
            problem = standby.lag_problem(lacking, observation.server.replay, wait)
            raise HostFailed(problem, *console.violations(found, console.console_columns(host)))
    if observation.check_error is not None:
        raise HostFailed.of(observation.check_error)
    for note in () if after_migration else trust.notes(target, observation):
        _current().log(note)
    probed = _probe(target, observation)
    findings = _current().shown(probed.add_to(verdict.findings(target, observation, host.name)))
    lines = [str(problem) for problem in findings.problems if problem.kind not in ("probe", "check-not-run")]
    lines += [f"probe: {line}" for line in probed.error.lines()] if probed.error is not None else []
    lines += [f"not run: {reason}" for reason in findings.not_run.values()]
    for note in observation.proof.notes:
        _current().log(f"note: {note}")
    if findings.violations or lines:
        _current().verified(findings)
        yield from failure.fail_verified([*console.violations(findings.violations, console.console_columns(host)), *lines])
        return
    if verdict.proves(target, observation):
        _current().verified(findings)
    else:
        _current().not_verified(observation.proof.reason)
    _current().log(verdict.sentence(target, observation))


def _probe(target: Target, observation: Observation) -> Probed:
    """Try the named queries and storage when `probe_rows` asks for it. What it writes is rolled back: to pyinfra it is a read."""
    rows = target.settings.probe_rows
    if not rows:
        return Probed()
    if reason := probe.reason_not_to(target, observation):
        probed = Probed(not_probed=reason)
    elif not state.is_executing:
        _current().log(f"will be probed with {rows:,} rows in temporary tables")
        return Probed()
    else:
        with _database().exclusive_use():  # side by side, probes would measure each other
            probed = drive(probe.run_all(target, rows, _current().log), _send)
    for timing in probed.queries:
        _current().log(f"probed: {timing}")
        for line in timing.plan.splitlines() if state.print_input else ():
            _current().log(f"  {line}")
    if probed.not_probed is not None:
        _current().log(f"not probed: {probed.not_probed}")
    return probed


@operation()
@failure.isolates_host
def purge(**arguments: Any) -> Commands:
    """Delete events past `retention_days`, and with `health_retention_days` old rows of the status, never the newest of each.

    `arguments` are keys of deploy.settings that win over the host's data. On a standby nothing is done.
    """
    values, current = _current().target(**arguments).settings, _current()
    key = (values.retention_days, values.health_retention_days)
    plan = drive(retention.read(values, current.cutoffs.get(key), current.check_same_server, current.reached), _ask)
    if plan.cutoffs is not None:
        current.cutoffs.setdefault(key, plan.cutoffs)
    current.purged(plan.findings(host.name))
    if not plan.rows:
        standby_note = ["standby: left alone, its primary is the one to purge"] if plan.server.in_recovery else []
        for line in (*standby_note, *plan.expired):
            _current().log(str(line))
        _current().noop("nothing to purge")
        return
    lines = [f"would delete {table}" if table.rows else str(table) for table in plan.expired]
    preview.show(lines, [(None, span.batch().get_raw_value()) for span in plan.spans])
    _check_only_primary(plan.server)
    yield FunctionCommand(_delete, (plan,), {})


def _delete(state: State, host: Host, plan: retention.Plan) -> bool:
    """One command however many batches it takes, because pyinfra keeps every command and its output to the end."""

    def send(message: Message) -> Answer:
        message.execute(state, host, {})
        return message.answer

    with _database().lock_queue(plan.server, plan.database, expiry.LOCK_KEY).turn():
        purged = drive(deletion.delete(plan, host.name, Run.current(host).log), send)
    if purged.interrupted:
        host.disconnect()
    Run.current(host).purged(purged.findings)
    if purged.failed is not None:
        return failure.print_failure(state, host, purged.failed.problem, *purged.failed.details, before=purged.summary)
    Run.current(host).log(purged.summary)
    return True


def _current() -> HostRun:
    return Run.current(host)


def _database() -> Database:
    return cast(PostgresConnector, host.connector).database


def _login_pid() -> int | None:
    return _database().login_pid


def _ask(message: Message) -> Answer:
    """As a fact: pyinfra shows what it reads."""
    return host.get_fact(QueryAnswer, message=message)


def _send(message: Message) -> Answer:
    _, output = host.run_shell_command(message)
    return Answer.from_json(output.stdout)


def _observe(target: Target) -> Observation:
    """How the host is now. While planning, the second operation of a verb takes what the first has read. Raises HostFailed."""
    if not state.is_executing and (known := _current().observation_of(target)) is not None:
        return known
    return _read(target, observe.read(target, _current().check_same_server, _login_pid))


def _read(target: Target, conversation: Steps[Observation]) -> Observation:
    observation = drive(conversation, _ask)
    _current().observe(target, observation)
    return observation


def _work(target: Target, plan: Plan, observation: Observation) -> Work:
    queue = _database().lock_queue(observation.server, observation.database, ledger.lock_key(observation.database))
    return Work.of(target, plan, observation, _current().log, _login_pid, queue)


def _check_only_primary(server: Server) -> None:
    """While executing, ahead of the first write."""
    if state.is_executing:
        observe.check_only_primary(server, _database().other_hosts())
