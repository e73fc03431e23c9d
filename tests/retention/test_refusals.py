"""What deploy.purge refuses, in one sentence and with nothing deleted."""

from __future__ import annotations

import pytest
from support.purge_data import HOST, Purge, events
from support.servers import Database

pytestmark = pytest.mark.everything


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("days=true", "deploy.purge: invalid value True for argument 'days': expected an integer"),
        ("days=1000001", "deploy.purge: invalid value 1000001 for argument 'days': expected at most 1000000"),
        ("health_retention_days=0", "deploy.purge: invalid value 0 for argument 'health_retention_days': expected at least 1"),
        ("batch_rows=100001", "deploy.purge: invalid value 100001 for argument 'batch_rows': expected at most 100000"),
    ],
)
def test_days_and_batches_that_are_not_sensible_numbers_are_refused(aged: Database, purge: Purge, word: str, sentence: str) -> None:
    result = purge(word)
    assert result.code == 1
    assert sentence in result.out
    assert events(aged) == 300


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        (
            "DROP TABLE integration_events",
            'there is no table integration_events in schema "public" of database "{name}"; run deploy.apply, or set `schema`',
        ),
        (
            "ALTER TABLE integration_events RENAME TO e; CREATE VIEW integration_events AS SELECT * FROM e",
            'integration_events in schema "public" of database "{name}" is no ordinary table but view; run deploy.verify',
        ),
        (
            "DROP INDEX idx_integration_events_occurred_at",
            'integration_events in schema "public" of database "{name}" has no usable index on occurred_at, '
            "so every batch would read all of it; run deploy.verify",
        ),
        (
            "ALTER TABLE integration_events ALTER occurred_at TYPE timestamp",
            'integration_events.occurred_at in schema "public" has type timestamp without time zone, '
            "expected timestamp with time zone; run deploy.verify",
        ),
    ],
)
def test_a_table_that_is_not_as_it_should_be_is_refused(aged: Database, purge: Purge, sql: str, sentence: str) -> None:
    aged.psql(sql)
    result = purge()
    assert result.code == 1
    assert sentence.format(name=aged.name) in result.lines(HOST), result.out


def test_a_role_without_the_right_to_delete_is_told_the_grant(aged: Database, purge: Purge) -> None:
    role = f"reader_{aged.name}"
    aged.psql(f"CREATE ROLE {role} LOGIN PASSWORD 'r'; GRANT SELECT ON integration_events, integration_health TO {role}")
    try:
        result = purge(data={"postgres_user": role, "postgres_password": "r"})
        assert result.code == 1
        assert (
            f'role "{role}" lacks the right to delete in integration_events in schema "public" of database "{aged.name}"; '
            f'run GRANT UPDATE, DELETE ON TABLE "public"."integration_events" TO "{role}"'
        ) in result.lines(HOST)
        aged.psql(f"GRANT UPDATE, DELETE ON integration_events TO {role}")
        assert purge(data={"postgres_user": role, "postgres_password": "r"}).code == 0
    finally:
        aged.psql(f"DROP OWNED BY {role}; DROP ROLE {role}")
