"""Reading a host while other people change it: what is torn is read again, and a difference counts when two looks agree."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg.rows import dict_row
from support.servers import Database
from support.sqlx import DEPLOYED

from deploy.connection.message import Answer, Message
from deploy.errors import HostFailed, SqlError
from deploy.execution import observe
from deploy.execution.conversation import drive
from deploy.plan.observation import Observation
from deploy.plan.target import Targets

OURS = Targets().resolve("@postgres/h", {})


def read(database: Database, before: Callable[[int], Answer | None]) -> tuple[Observation, int]:
    """What a host is found to be, and in how many messages; `before` acts before each, or answers in the server's place."""
    asked = 0

    def ask(message: Message) -> Answer:
        nonlocal asked
        asked += 1
        if (answer := before(asked)) is not None:
            return answer
        rows = []
        with psycopg.connect(database.url, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(message.get_raw_value().encode())
            while True:
                if cursor.description is not None:
                    rows += cursor.fetchall()
                if not cursor.nextset():
                    return Answer(tuple(rows))

    return drive(observe.read(OURS, lambda server: None, lambda: None), ask), asked


def test_a_host_at_target_is_read_in_one_message(database: Database) -> None:
    database.psql(DEPLOYED)
    observation, messages = read(database, lambda number: None)
    assert (observation.violations, observation.proof.holds, messages) == ((), True, 1)


def test_a_difference_that_a_second_look_does_not_have_is_none(database: Database) -> None:
    """As where someone makes an index anew."""
    database.psql(DEPLOYED + "DROP INDEX idx_integration_events_type; ALTER TABLE integration_health DROP COLUMN error_rate")

    def before(number: int) -> None:
        if number == 2:
            database.psql("CREATE INDEX idx_integration_events_type ON integration_events (event_type)")

    observation, messages = read(database, before)
    assert [violation.object for violation in observation.violations] == ["integration_health.error_rate"]
    assert messages == 2


@pytest.mark.parametrize(
    "words", ["could not open relation with OID 16400", "cache lookup failed for index 16400", "cache lookup failed for function 1"]
)
def test_a_look_at_what_was_just_dropped_is_taken_again(database: Database, words: str) -> None:
    database.psql(DEPLOYED)
    torn = Answer(error=SqlError(f"ERROR: {words}", "XX000"))
    observation, messages = read(database, lambda number: torn if number < 3 else None)
    assert (observation.proof.holds, messages) == (True, 3)


def test_another_internal_error_is_told_at_once(database: Database) -> None:
    with pytest.raises(HostFailed, match="invalid memory alloc request"):
        read(database, lambda number: Answer(error=SqlError("ERROR: invalid memory alloc request", "XX000")))
