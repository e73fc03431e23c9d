"""However an attempt ends, its transaction ends in one place: no lock, no setting and nothing half-done is left in the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from support.servers import PASSWORD, Database

from deploy.connection import conninfo
from deploy.connection.connections import Connections
from deploy.connection.message import Answer, Message
from deploy.connection.server import Server
from deploy.errors import HostFailed, StatementFailed
from deploy.execution.conversation import Steps, drive, send
from deploy.execution.outcomes import Again, Commit, CommitMarker, Skip
from deploy.execution.transaction import Transaction, in_one_message, rolled_back, under_lock
from deploy.execution.work import Progress, Work
from deploy.plan.ledger import LedgerHandle, LedgerState, lock_key
from deploy.plan.target import Targets
from deploy.problems import Problem
from deploy.source import migrations
from deploy.statements import statement

VERSION = 7
FIRST = Progress(ledger_exists=False)
(FILE,) = migrations.load(migrations.packaged()).migrations

Attempt = Callable[[Transaction], Steps[Commit | CommitMarker | Skip | Again]]


@dataclass
class Host:
    """One session of a database, and what it was sent."""

    database: Database
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        data = {**self.database.data, "postgres_password": PASSWORD, "lock_wait": "2s"}
        target, connections = Targets().resolve("@postgres/h", data), Connections()
        self._session = connections.session(conninfo.endpoint("h", target.settings), 1, 0)
        server = Server.of(self.ask(Message(statement("session/server.sql.j2"))))
        ledger = LedgerHandle('"public"."_sqlx_migrations"', None, lock_key(self.database.name))
        queue = connections.lock_queue(server, self.database.name, ledger.key)
        self.work = Work(target, ledger, server, None, print, lambda: self._session.login_pid, queue)
        self.sent.clear()

    def ask(self, message: Message) -> Answer:
        self.sent.append("".join(part.sql for part in message.parts))
        self._session.open()
        answer, _ = self._session.run(message.parts, 30, keep_session=message.keep_session)
        return answer

    def under_lock(self, attempt: Attempt, *, own_session: bool = False, done: str | None = None) -> Commit | Skip:
        def already_done(state: LedgerState) -> str | None:
            return done

        return drive(
            under_lock(self.work, VERSION, FIRST, attempt, already_done=already_done, own_session=FILE if own_session else None),
            self.ask,
        )

    def leftovers(self) -> tuple[object, ...]:
        """What the session is in, holds and has set; ('idle', 0, lock_timeout of the login) when nothing is left."""
        of_session = f"pid = {self._session.login_pid}"
        state = self.database.psql(f"SELECT state FROM pg_stat_activity WHERE {of_session}")  # noqa: S608
        locks = self.database.psql(f"SELECT count(*) FROM pg_locks WHERE {of_session}")  # noqa: S608
        return state, int(locks), self.ask(Message("SHOW lock_timeout")).value("lock_timeout")

    def tables(self) -> str:
        return self.database.psql("SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 2200 AND relkind = 'r'")


@pytest.fixture
def host(database: Database) -> Iterator[Host]:
    made = Host(database)
    yield made
    made._session.close()


def test_a_commit_takes_its_sql_along_and_resets_the_session_in_one_message(host: Host) -> None:
    clean = host.leftovers()
    host.sent.clear()

    def attempt(transaction: Transaction) -> Steps[Commit]:
        assert not transaction.state.ledger_exists
        yield from send(Message("CREATE TABLE public.a (); SET lock_timeout = '7s'; SELECT pg_advisory_lock(1)"))
        return Commit("done", "CREATE TABLE public.b ();")

    assert host.under_lock(attempt) == Commit("done", "CREATE TABLE public.b ();")
    assert len(host.sent) == 3
    assert (host.tables(), host.leftovers()) == ("a b", clean)


def test_what_another_process_has_done_is_not_attempted(host: Host) -> None:
    def attempt(transaction: Transaction) -> Steps[Commit]:
        raise AssertionError
        yield

    assert host.under_lock(attempt, done="already there") == Skip("already there")


class Surprise(Exception):
    pass


@pytest.mark.parametrize("own_session", [False, True])
@pytest.mark.parametrize("end", [HostFailed(Problem("internal", "no")), Surprise("no")], ids=["host failed", "surprise"])
def test_an_exception_of_an_attempt_rolls_back(host: Host, own_session: bool, end: Exception) -> None:
    clean = host.leftovers()

    def attempt(transaction: Transaction) -> Steps[Commit]:
        yield from send(Message("CREATE TABLE public.a (); SET lock_timeout = '7s'"))
        raise end

    with pytest.raises(type(end)):
        host.under_lock(attempt, own_session=own_session)
    assert (host.tables(), host.leftovers()) == ("", clean)


@pytest.mark.parametrize("own_session", [False, True])
def test_an_sql_error_ends_the_transaction_and_fails_the_host_with_it(host: Host, own_session: bool) -> None:
    clean = host.leftovers()

    def attempt(transaction: Transaction) -> Steps[Commit]:
        yield from send(Message("CREATE TABLE public.a (); SET lock_timeout = '7s'"))
        yield from send(Message("SELECT nowhere"))
        raise AssertionError

    with pytest.raises(HostFailed) as failed:
        host.under_lock(attempt, own_session=own_session)
    assert failed.value.problem.kind == "statement"
    assert (host.tables(), host.leftovers()) == ("", clean)


def test_what_is_busy_is_tried_again_until_lock_wait_has_passed(host: Host) -> None:
    tried = []

    def busy(transaction: Transaction) -> Steps[Commit]:
        tried.append(transaction)
        yield from send(Message("DO $$ BEGIN RAISE 'busy' USING ERRCODE = '40001'; END $$"))
        raise AssertionError

    with pytest.raises(HostFailed) as failed:
        host.under_lock(busy)
    assert len(tried) > 2
    assert (failed.value.problem.kind, failed.value.details[-1]) == (
        "busy",
        "tried for 2 s; run the command again, or raise lock_wait",
    )


def test_an_attempt_may_ask_for_another_one(host: Host) -> None:
    begun: list[Transaction] = []

    def attempt(transaction: Transaction) -> Steps[Commit | Again]:
        begun.append(transaction)
        yield from send(Message("CREATE TABLE public.a ()"))
        return Again() if len(begun) < 3 else Commit("third time")

    assert host.under_lock(attempt) == Commit("third time")
    assert (len(begun), host.tables()) == (3, "a")


@pytest.mark.parametrize("fails", [False, True])
def test_after_a_marker_the_session_keeps_its_lock_until_the_rest_is_recorded_or_has_failed(host: Host, fails: bool) -> None:
    clean = host.leftovers()
    held = []

    def rest() -> Steps[str]:
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        answer = yield from send(Message(f"{query}; SHOW lock_timeout", keep_session=True))
        held.append((answer.value("count"), answer.value("lock_timeout")))
        if fails:
            raise Surprise("no")
        recorded = yield from in_one_message(
            host.work, VERSION, "SELECT 7 AS version;", already_done=lambda state: False, format_error=HostFailed.of
        )
        return f"recorded: {recorded}"

    def attempt(transaction: Transaction) -> Steps[CommitMarker]:
        yield from send(Message("CREATE TABLE public.a ()"))
        return CommitMarker("CREATE TABLE public.b ();", "SET lock_timeout = '9s';", rest)

    if fails:
        with pytest.raises(Surprise):
            host.under_lock(attempt, own_session=True)
    else:
        assert host.under_lock(attempt, own_session=True) == Commit("recorded: True")
    assert held == [(1, "9s")]
    assert (host.tables(), host.leftovers()) == ("a b", clean)


@pytest.mark.parametrize("sql", ["SELECT 1", "SELECT nowhere"])
def test_a_scratch_transaction_leaves_nothing_and_is_rolled_back_once(host: Host, sql: str) -> None:
    clean = host.leftovers()
    host.sent.clear()

    def attempt(begun: Answer) -> Steps[bool]:
        message = Message(sql)
        yield message
        return message.answer.error is None

    steps = rolled_back("", "CREATE TABLE a ();", attempt, statement_timeout=0)
    assert drive(steps, host.ask) == (sql == "SELECT 1")
    assert [text for text in host.sent if "ROLLBACK" in text] == (["ROLLBACK;\n"] if sql == "SELECT 1" else [])
    assert (host.tables(), host.leftovers()) == ("", clean)


def test_a_conversation_sees_what_its_sender_raises(host: Host) -> None:
    def conversation() -> Steps[str]:
        try:
            yield from send(Message("SELECT 1"))
        except TimeoutError:
            return "stopped"
        except StatementFailed:
            return "failed"
        return "answered"

    def late(message: Message) -> Answer:
        raise TimeoutError

    assert (drive(conversation(), host.ask), drive(conversation(), late)) == ("answered", "stopped")
