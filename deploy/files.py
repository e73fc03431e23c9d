"""Operations that write files of this machine: the rendered source, and the contract of what hosts hold.

Bodies run twice, for the plan and for the execution: read, compare, then yield.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyinfra import host, state
from pyinfra.api import FunctionCommand, operation

from deploy.cli import failure
from deploy.connection.message import Answer, Commands, Message
from deploy.errors import HostFailed
from deploy.execution import observe
from deploy.execution.conversation import drive
from deploy.facts import QueryAnswer
from deploy.plan import making
from deploy.problems import Problem
from deploy.report.run import Run
from deploy.source import contract_text, contracts
from deploy.source.migrations import secret_problem

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State


@operation()
@failure.isolates_host
def render(out: Path, with_secrets: bool = False, **arguments: Any) -> Commands:
    """Write the rendered source into the folder `out` of this machine; files that are there and equal are left alone."""
    current = Run.current(host)
    source = current.target(**arguments).source
    stale = [
        migration
        for migration in (*source.migrations, *source.down.values())
        if not (out / migration.file).is_file() or (out / migration.file).read_bytes() != migration.sql.encode()
    ]
    if not with_secrets and (problem := secret_problem(stale, current.secrets)) is not None:
        raise HostFailed(problem)
    if not stale:
        current.noop(f"{out} is up to date")
    for migration in stale:
        yield FunctionCommand(_write, (out / migration.file, migration.sql.encode()), {})


def _write(state: State, host: Host, path: Path, content: bytes) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        problem = Problem("report", f"{path}: {error.strerror}", "choose another folder with out=DIR")
        return failure.print_failure(state, host, problem)
    Run.current(host).log(f"wrote {path}")
    return True


@operation()
@failure.isolates_host
def read_contract(schemas: Sequence[str] = (), **arguments: Any) -> Commands:
    """Read every object of the host's schema and of `schemas`, for the contract that `write_contract` makes of all hosts."""
    current = Run.current(host)
    target = current.target(**arguments)
    if not state.is_executing:
        current.log("will be read; the contract is written when all hosts are")
        return
    look = drive(observe.look_at_all(target, schemas), _ask)
    current.look = look
    current.noop(f"version {look.version} on PostgreSQL {look.major}: {len(look.objects)} objects")
    yield from ()


@operation()
@failure.isolates_host
def write_contract(out: Path, schemas: Sequence[str] = (), **arguments: Any) -> Commands:
    """Write the contract of what all hosts hold into the folder `out`, once, by the first of them."""
    if not state.is_executing:
        return
    runs = [Run.current(one) for one in state.inventory]
    first = next(run.host for run in runs if run.look is not None)
    if first.name != host.name:
        Run.current(host).noop(f"written with {first.name}")
        return
    if unread := [run.host.name for run in runs if run.look is None]:
        text = f"nothing was written, because {len(unread)} host(s) could not be read, the first is {unread[0]}"
        raise HostFailed(Problem("unprovable", text, "run the command again, or leave them out with --limit"))
    looks = {run.host.name: run.look for run in runs if run.look is not None}
    existing = contracts.load(out) if out.is_dir() else ()
    made = making.make(looks, existing, schemas)
    path = out / contracts.file_name(made.version)
    written = path.read_text(encoding="utf-8") if path.is_file() else ""
    known = next((one for one in existing if one.version == made.version), None)
    same = known is not None and known == replace(made, through=known.through, majors=known.majors)
    text = contract_text.with_header(written, made) if same else contract_text.write(made)
    if text == written:
        Run.current(host).noop(f"{path} is up to date")
        return
    if names := {name: None for run in runs for name in run.secrets.found_in(text)}:
        reason = f"{path.name} would hold the value of the secret variable {', '.join(map(repr, names))}"
        raise HostFailed(Problem("arguments", reason, "pass secret_variables=[] to write it all the same"))
    yield FunctionCommand(_write, (path, text.encode()), {})


def _ask(message: Message) -> Answer:
    return host.get_fact(QueryAnswer, message=message)
