"""Reading a host: how it is, in one message, and again once a standby has replayed; and whether it alone takes writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from deploy.connection.message import Answer, Message
from deploy.connection.server import Server
from deploy.errors import HostFailed, SqlError, StatementFailed
from deploy.execution.conversation import Steps, send
from deploy.execution.deadline import Deadline
from deploy.execution.transaction import retry_hint, retry_while_busy, snapshot
from deploy.plan import catalogs, history, ledger, privileges, proof, standby
from deploy.plan.catalogs import Catalog
from deploy.plan.making import Look
from deploy.plan.observation import Observation, observe
from deploy.plan.target import Target, transaction_settings
from deploy.settings import Settings
from deploy.source import checks
from deploy.source.contracts import Contract
from deploy.statements import statement

_INSUFFICIENT_PRIVILEGE = "42501"

_REPLAY_POLL = 0.5
"""Seconds between two looks at a standby that has not replayed all."""


def question(target: Target, only: Collection[str] | None = None) -> Message:
    """One message, one round trip, one snapshot: server, role, ledger and the violations. Takes no lock above ACCESS SHARE.

    `only` names the checks that run; without it all of them.
    """
    expected = [look(target, target.contracts)] if target.contracts else []
    views = [statement("session/views.sql.j2")] if target.settings.checks is not None else []
    found = checks.fragments(target.checks, only)
    return snapshot(transaction_settings(target.settings), _status(target), *expected, *views, *found)


def _status(target: Target) -> str:
    values = target.settings
    return statement(
        "status/message.sql.j2",
        ledger_schema=target.ledger_schema,
        ledger_table=target.source.sqlx.ledger_table,
        create_schemas=target.source.sqlx.create_schemas,
        lock_factor=ledger.LOCK_FACTOR,
        history_table=history.TABLE if values.audit else None,
        schema=values.schema,
        owner=values.owner,
    )


def look(target: Target, contracts: Sequence[Contract]) -> str:
    """What of a message reads the catalogs. The ledger and the audit trail are no part of any schema."""
    return catalogs.ask(contracts, target.settings.schema, [target.source.sqlx.ledger_table, history.TABLE])


def look_at_all(target: Target, schemas: Sequence[str]) -> Steps[Look]:
    """What a contract is made of: every object of the host's schema and of `schemas`. Raises HostFailed."""
    left_out = [target.source.sqlx.ledger_table, history.TABLE]
    question = snapshot(
        transaction_settings(target.settings), _status(target), catalogs.ask_all(target.settings.schema, schemas, left_out)
    )
    try:
        answer = yield from ask(question, target.settings)
    except StatementFailed as failed:
        raise HostFailed.of(failed.error) from None
    seen = observe(replace(target, contracts=(), checks=()), answer)
    if (problem := privileges.ledger_read_problem(target, seen)) is not None:
        raise HostFailed(problem)
    version = proof.newest_recorded(target.source, seen.ledger.rows)
    catalog = next(Catalog.of(row) for row in answer.rows if "unmatched" in row)
    return Look(version, seen.major, catalog.objects)


def is_torn(error: SqlError) -> bool:
    """Whether an object went away under the look: its row is of the snapshot, its definition of now."""
    return error.sqlstate == "XX000" and any(words in error.message for words in ("could not open relation", "cache lookup failed"))


def ask(message: Message, settings: Settings) -> Steps[Answer]:
    """The answer to a read, which is sent again while a table is locked as a whole. Raises StatementFailed."""
    deadline = Deadline(settings.lock_wait)
    return (yield from retry_while_busy(lambda: send(message), deadline, may_retry=lambda error: error.is_busy or is_torn(error)))


def read(target: Target, check_server: Callable[[Server], None], login_pid: Callable[[], int | None]) -> Steps[Observation]:
    """How the host is now. `check_server` refuses another server than the run has seen before. Raises HostFailed.

    Where something was deployed and differs from the contract, a second look must agree: other people's DDL is seen half-done.
    """
    observation = yield from _read(target, check_server, login_pid)
    if not observation.proof.violations or not observation.ledger.rows:
        return observation
    return (yield from _read(target, check_server, login_pid)).agreed_with(observation)


def _read(target: Target, check_server: Callable[[Server], None], login_pid: Callable[[], int | None]) -> Steps[Observation]:
    """A check that can't run, say one on a table that is not there yet, does not hide the rest."""
    check_error: SqlError | None = None
    not_run: dict[str, str] = {}
    try:
        try:
            answer = yield from ask(question(target), target.settings)
        except StatementFailed as failed:
            if failed.error.sqlstate is None or failed.error.is_busy:
                raise
            check_error = failed.error
            answer = yield from ask(question(target, ()), target.settings)
            if check_error.sqlstate == _INSUFFICIENT_PRIVILEGE:
                answer, check_error, not_run = yield from _one_by_one(target, answer)
    except StatementFailed as failed:
        error = failed.error
        raise HostFailed.of(replace(error, hint=retry_hint(target.settings)) if error.is_busy else error) from None
    observation = observe(target, answer, check_error, login_pid(), not_run)
    check_server(observation.server)
    return observation


def _one_by_one(target: Target, answer: Answer) -> Steps[tuple[Answer, SqlError | None, dict[str, str]]]:
    """Each check in a message of its own: `answer` with what they found, the error of one, and those that the role may not run."""
    rows, not_run = answer.rows, {}
    for name in (check.name for check in target.checks):
        try:
            found = yield from ask(question(target, (name,)), target.settings)
        except StatementFailed as failed:
            if failed.error.sqlstate != _INSUFFICIENT_PRIVILEGE:
                return answer, failed.error, {}
            not_run[name] = failed.error.summary
        else:
            rows += tuple(row for row in found.rows if "check" in row)
    return Answer(rows), None, not_run


def wait_for_replay(
    target: Target, check_server: Callable[[Server], None], login_pid: Callable[[], int | None]
) -> Steps[Observation]:
    """A standby once its ledger shows all of the source, or as it is after `replay_wait`. Raises HostFailed."""
    deadline = Deadline(target.settings.replay_wait, _REPLAY_POLL)
    while True:
        observation = yield from read(target, check_server, login_pid)
        if not standby.unreplayed(target.source, observation) or deadline.passed:
            return observation
        deadline.pause()


def check_only_primary(server: Server, other_hosts: Mapping[str, Server]) -> None:
    """Before the first write: none of the other hosts of the connection string takes writes too. Raises HostFailed.

    A connection that is still open to the old primary would not notice that another one was promoted meanwhile.
    """
    if (problem := server.split_brain_problem(other_hosts)) is not None:
        raise HostFailed(problem)
