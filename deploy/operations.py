"""What changes a host, and what proves it. Bodies run twice, for the plan and for the execution: read, compare, then yield."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from pyinfra import host, state
from pyinfra.api import FunctionCommand, operation

from deploy import failure, leases, plan, probe, target, transactions
from deploy.connector import PostgresConnector
from deploy.errors import SqlError
from deploy.facts import Database
from deploy.failure import Commands
from deploy.findings import Probed
from deploy.observation import Observation, observe
from deploy.plan import Plan
from deploy.script import Answer, Script
from deploy.target import Target


@operation()
@failure.alone
def migrate(**arguments: Any) -> Commands:
    """Apply what is pending, each file in a transaction of its own with its ledger row.

    `arguments` are keys of deploy.settings that win over the host's data. On a standby nothing is done.
    """
    wanted = target.resolve(host.name, host.data.dict(), **arguments)
    seen = _read(wanted, arguments)
    if isinstance(seen, SqlError):
        yield from failure.fail(seen.lines())
        return
    planned = plan.make(wanted, seen)
    for note in planned.notes:
        host.log(note)
    if planned.problem is not None:
        yield from failure.fail([planned.problem])
        return
    if not planned.pending:
        host.noop(f"{len(wanted.source.migrations)} migration(s) at target")
        return
    _announce(planned)
    yield from transactions.apply(wanted, planned, seen)


@operation()
@failure.alone
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
        return failure.report(state, host, [f"{path}: {error.strerror}; choose another folder with out=DIR"])
    host.log(f"wrote {path}")
    return True


@operation()
@failure.alone
def verify(after_migration: bool = False, **arguments: Any) -> Commands:
    """Run the checks, and with `probe_rows` the probe; each violation is one red line, and the host fails. Nothing is left behind.

    `after_migration`: a plan that still has something to migrate is not verified yet.
    """
    wanted = target.resolve(host.name, host.data.dict(), **arguments)
    seen = _read(wanted, arguments)
    if isinstance(seen, SqlError):
        yield from failure.fail(seen.lines())
        return
    if after_migration and not state.is_executing and plan.make(wanted, seen).pending:
        host.log("will be verified after the migration")
        return
    if seen.check_error is not None:
        yield from failure.fail(seen.check_error.lines())
        return
    probed = _probe(wanted, seen)
    found = probed.add_to(seen.findings(host.name, wanted.check_names))
    host.connector_data["findings"] = found
    if found.violations or probed.error is not None:
        broken = [f"probe: {line}" for line in probed.error.lines()] if probed.error is not None else []
        yield from failure.fail([*(f"violation: {violation}" for violation in found.violations), *broken])
    elif wanted.checks is None:
        host.log("not verified: this source has no checks; set `checks`")
    else:
        host.log(f"verified: {seen.database} on PostgreSQL {seen.server_version} is as the contract says")


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
        endpoint = cast(PostgresConnector, host.connector).endpoint
        with leases.turn(endpoint.host, endpoint.port):  # side by side, probes would measure each other
            probed = probe.run(wanted, rows, _send, host.log)
    for timing in probed.queries:
        host.log(f"probed: {timing}")
        if state.print_input:
            for line in timing.plan.splitlines():
                host.log(f"  {line}")
    if probed.not_probed is not None:
        host.log(f"not probed: {probed.not_probed}")
    return probed


def _send(script: Script) -> Answer:
    _, output = host.run_shell_command(script)
    return Answer.from_json(output.stdout)


def _read(wanted: Target, arguments: dict[str, Any]) -> Observation | SqlError:
    """How the host is now. While planning, the second operation of a verb takes what the first has read."""
    remembered = host.connector_data.get("observation")
    if not state.is_executing and isinstance(remembered, tuple) and remembered[0] == wanted:
        seen: Observation = remembered[1]
        return seen
    answer = host.get_fact(Database, arguments=arguments)
    check_error = None
    if answer.error is not None and answer.error.name is not None:
        # a check that can't run, say one on a table that is not there yet, must not hide the rest
        check_error = answer.error
        answer = host.get_fact(Database, with_checks=False, arguments=arguments)
    if answer.error is not None:
        return answer.error
    seen = observe(answer, check_error)
    host.connector_data["observation"] = (wanted, seen)
    return seen


def _announce(planned: Plan) -> None:
    """While planning: what is pending; with --diff or -vv its SQL too (with -y, when it is about to run)."""
    planning = not state.is_executing
    if planning:
        for migration in planned.pending:
            host.log(f"pending: {migration}")
    if (state.config.DIFF and (planning or not state.should_check_for_changes())) or (planning and state.print_input):
        for migration in planned.pending:
            host.log(f"{migration.file}:")
            for line in migration.sql.splitlines():
                host.log(f"  {line}")
