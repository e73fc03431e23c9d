"""What is to be done on one host, and what a run has learnt of it on the way: values that each file's step takes and returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from deploy.connection.lock_queue import LockQueue
from deploy.connection.message import Message
from deploy.connection.server import Server
from deploy.errors import HostFailed
from deploy.execution.conversation import Steps, send
from deploy.plan import history, ledger
from deploy.plan.ledger import LedgerHandle, LedgerState
from deploy.plan.observation import Observation
from deploy.plan.pending import Plan
from deploy.plan.target import Target
from deploy.problems import Problem
from deploy.secrets import Secrets, in_variables
from deploy.settings import Settings
from deploy.source.migrations import Migration


@dataclass(frozen=True)
class Work:
    """The work on one host: its target, its ledger, the server that the plan was made for.

    `history` is the quoted name of the audit trail, None when none is wanted. `log` shows the operator a line. `login_pid` gives
    the process id that the connection was given at its login. In `queue` other hosts of this run are that need the same lock.
    """

    target: Target
    ledger: LedgerHandle
    server: Server
    history: str | None
    log: Callable[[str], None]
    login_pid: Callable[[], int | None]
    queue: LockQueue

    @classmethod
    def of(
        cls,
        target: Target,
        plan: Plan,
        observation: Observation,
        log: Callable[[str], None],
        login_pid: Callable[[], int | None],
        queue: LockQueue,
    ) -> Work:
        handle = LedgerHandle(plan.ledger, target.settings.owner, ledger.lock_key(observation.database))
        return cls(target, handle, observation.server, plan.history, log, login_pid, queue)

    @property
    def settings(self) -> Settings:
        return self.target.settings

    def audited(self, migration: Migration, action: str, progress: Progress) -> str:
        """The statements that put this into the audit trail, in the same transaction; empty when none is wanted."""
        if self.history is None:
            return ""
        given, secret = self.settings.variables, self.settings.secret_variables
        variables = Secrets(in_variables(given, secret)).masked(history.without_secrets(given, secret))
        row = history.record(self.history, migration, action, variables, owner=self.ledger.owner)
        return row if progress.history_exists else history.create(self.history) + row

    def dirty_problem(self, version: int) -> Problem:
        return ledger.dirty_problem(self.target.source.sqlx.ledger_table, version)


@dataclass(frozen=True)
class Progress:
    """What is there on the host, as far as this run knows. `schemas` are those of sqlx.toml that are still to be made."""

    ledger_exists: bool
    schemas: tuple[str, ...] = ()
    history_exists: bool = True

    @classmethod
    def of(cls, plan: Plan) -> Progress:
        return cls(not plan.creates_ledger, plan.create_schemas, not plan.creates_history)

    def after_recording(self, *, committed: bool) -> Progress:
        """After a file was recorded, by this run or by another process."""
        return Progress(ledger_exists=True) if committed else replace(self, ledger_exists=True)

    def after_reverting(self, *, committed: bool) -> Progress:
        return replace(self, history_exists=self.history_exists or committed)


def prepare(work: Work, state: LedgerState, progress: Progress) -> Steps[None]:
    """Create the ledger and the schemas of sqlx.toml when they are not there."""
    if not state.ledger_exists or progress.schemas:
        sql = ledger.create(work.ledger.name, schemas=progress.schemas, create_table=not state.ledger_exists)
        yield from send(Message(sql))


def check_lock(work: Work, state: LedgerState, *, in_time: bool) -> None:
    """Raise HostFailed when the server is another one, or when the lock was not to be had `in_time`."""
    if (problem := work.server.failover_problem(state.server)) is not None:
        raise HostFailed(problem)
    if not in_time:
        holder = state.holder
        raise HostFailed(
            Problem(
                "lock",
                f"another migrator holds the lock of this database: pid {holder.get('pid', 'unknown')}, "
                f"application {holder.get('application') or 'unknown'}, since {holder.get('since') or 'unknown'}",
                f"waited {work.settings.lock_wait / 1000:g} s, run the command again when it is done, or raise lock_wait",
            )
        )


def check_row(work: Work, migration: Migration, state: LedgerState, *, resumes: bool = False) -> None:
    """Raise HostFailed when the ledger, read under the lock, forbids to apply; with `resumes` the file's own marker does not."""
    if state.dirty is not None and not (resumes and state.dirty == migration.version):
        raise HostFailed(work.dirty_problem(state.dirty))
    if state.checksum is not None and state.checksum != migration.checksum.hex():
        text = f"migration {migration.version} was recorded meanwhile with another checksum"
        raise HostFailed(Problem("ledger-changed", text, "run the command again"))
