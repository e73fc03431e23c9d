"""Fixtures for the purge: an aged database, the verb on it, another session beside it; and how to look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from support.operator import Pyinfra, Result
from support.project import MIGRATION
from support.servers import Database

HOST = "@postgres/aging"

EVENTS = """INSERT INTO integration_events (integration_id, event_type, severity, occurred_at)
SELECT 'airbnb', 'booking_loss', 'low', now() - make_interval(days => day, mins => 1)
FROM generate_series(1, {days}) AS day"""
"""One event a day, for so many days: all but 89 are older than 90 days (and a minute)."""

HEALTH = """INSERT INTO integration_health (integration_id, status, last_checked)
SELECT integration, 'healthy', now() - make_interval(days => day)
FROM unnest(ARRAY['airbnb', 'vrbo']) AS integration, generate_series(0, 99) AS day
UNION ALL SELECT 'dead', 'critical', now() - make_interval(days => day) FROM generate_series(400, 402) AS day"""

SLOW = """CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER DELETE ON integration_events FOR EACH STATEMENT EXECUTE FUNCTION slow()"""
"""Each batch takes a fifth of a second more."""

ADVISORY = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"


Purge = Callable[..., Result]


def rows(database: Database) -> str:
    """Everything in both tables."""
    return database.psql("SELECT * FROM integration_events ORDER BY id; SELECT * FROM integration_health ORDER BY id")


def events(database: Database) -> int:
    return int(database.psql("SELECT count(*) FROM integration_events"))


def scans(database: Database) -> dict[str, int]:
    """Sequential scans of the events table, and scans of each of its indexes, by the statistics of the server."""
    got = database.psql("""SELECT 'seq', seq_scan FROM pg_stat_user_tables WHERE relname = 'integration_events'
        UNION ALL SELECT indexrelname, idx_scan FROM pg_stat_user_indexes WHERE relname = 'integration_events'""")
    return {name: int(count or 0) for name, count in (line.split("|") for line in got.splitlines())}


@pytest.fixture
def aged(database: Database) -> Database:
    """300 daily events, of which 211 are past 90 days, and the status of three integrations, one of them long dead."""
    database.psql(MIGRATION.read_text(encoding="utf-8"))
    database.psql(f"{EVENTS.format(days=300)};\n{HEALTH}")
    return database


@pytest.fixture
def purge(aged: Database, pyinfra: Pyinfra) -> Purge:
    """Run the verb on the aged database with these words."""

    def run(*words: str, flags: tuple[str, ...] = ("-y",), data: dict[str, object] | None = None) -> Result:
        hosts = {HOST: {**aged.data, **(data or {})}}
        return pyinfra(hosts, *flags, "deploy.purge", *words, environment=aged.server.environment())

    return run


@pytest.fixture
def night_shift(aged: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(aged.url, application_name="night-shift") as connection:
        yield connection
