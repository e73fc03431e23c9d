"""What a host says. Facts only read, in one message, and never fail: what went wrong is in what they give."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from pyinfra import host
from pyinfra.api import FactBase

from deploy.connection.message import Answer, Message
from deploy.connectors.postgres import PostgresConnector
from deploy.errors import RunRefused, SqlError
from deploy.execution import observe
from deploy.plan import observation, pending
from deploy.problems import Problem
from deploy.report.run import Run
from deploy.statements import statement

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

T = TypeVar("T")


class PostgresFact(FactBase[T]):
    """A fact of a @postgres host. On a host of another connector it gives its default: no SQL reaches a shell."""

    def check_preconditions(self, state: State, host: Host) -> str | None:
        return None if isinstance(host.connector, PostgresConnector) else f"{host.name} is not a @postgres host"


class QueryAnswer(PostgresFact[Answer]):
    """The answer to a message that only reads."""

    @staticmethod
    def default() -> Answer:
        return Answer(error=SqlError("no answer"))

    def command(self, message: Message) -> Message:
        return message

    def process(self, output: list[str]) -> Answer:
        return Answer.from_json(output[-1])


class Status(PostgresFact[dict[str, Any]]):
    """Version, role, applied, pending and drift of one host.

    `version` is the server's, `role` is primary or standby, `replay` how far a standby is (deploy.server.Replay, null on a
    primary), `applied` and `pending` are lists of versions of the source, `drift` is a list of violations, `problem` says why
    deploy.apply would refuse this host, `error` what kept us from reading it; `kind` is that of either (deploy.problems.KINDS).
    """

    @staticmethod
    def default() -> dict[str, Any]:
        return {"error": "no answer: deploy.facts.Status is for @postgres hosts"}

    def command(self) -> Message:
        self._refused: Problem | None = None
        try:
            self._target = Run.current(host).target()
        except RunRefused as error:
            self._refused = error.problem
            return Message(statement("session/ping.sql.j2"))
        return observe.question(self._target)

    def process(self, output: list[str]) -> dict[str, Any]:
        answer = Answer.from_json(output[-1])
        unread = self._refused or (answer.error.problem if answer.error is not None else None)
        if unread is not None:
            return {"kind": unread.kind, "error": Run.current(host).line(str(unread))}
        seen = observation.observe(self._target, answer)
        made = pending.plan(self._target, seen)
        problem = made.problem or pending.existing_table_problem(self._target, seen, made.pending)
        current = Run.current(host)
        drift = current.shown(seen.violations)
        recorded = {row.version for row in seen.ledger.rows}
        versions = [migration.version for migration in self._target.source.migrations]
        return {
            "version": seen.server_version,
            "role": "standby" if seen.in_recovery else "primary",
            "replay": asdict(seen.server.replay) if seen.server.replay is not None else None,
            "applied": [version for version in versions if version in recorded],
            "pending": [version for version in versions if version not in recorded],
            "drift": [{"check": v.check, "object": v.object, "expected": v.expected, "actual": v.actual} for v in drift],
            "kind": problem.kind if problem is not None else None,
            "problem": current.line(str(problem)) if problem is not None else None,
            "error": None,
        }
