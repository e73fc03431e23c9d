"""The main job against real servers: a plan, a dry run that touches nothing, the schema of the story, and nothing to do after."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from support.operator import Pyinfra, Result
from support.project import MIGRATION, ROOT, VERSION
from support.servers import Database
from support.versions import every_version, two_versions

from deploy.plan import ledger

STORY = ROOT / "tests" / "support" / "story_example.sql"
HOST = "@postgres/health"
NO_LEDGER = "--exclude-table=_sqlx_migrations"


@dataclass
class Case:
    """One database and the runs on it."""

    database: Database
    pyinfra: Pyinfra

    def run(self, *words: str, stdin: str = "") -> Result:
        result = self.pyinfra({HOST: self.database.data}, *words, environment=self.database.server.environment(), stdin=stdin)
        assert result.code == 0, result.out
        return result


@pytest.fixture
def case(database: Database, pyinfra: Pyinfra) -> Case:
    return Case(database, pyinfra)


@pytest.fixture
def story(database: Database) -> Iterator[Database]:
    """An empty database of the same server in which psql ran the story's own example."""
    made = database.server.database()
    made.psql(STORY.read_text(encoding="utf-8"))
    yield made
    made.drop()


def assert_reads_only(messages: list[str]) -> None:
    """Each message is one transaction that the server itself holds to reading."""
    assert messages
    for message in messages:
        assert message.startswith("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;\n")
        assert message.rstrip().endswith("COMMIT;")
        outside = re.sub(r"(\$\w*\$).*?\1", "", message, flags=re.DOTALL)  # a DO block can't end the transaction it is in
        assert len(re.findall(r"\b(?:BEGIN TRANSACTION|COMMIT|ROLLBACK)|;\s*END\b", outside)) == 2
        assert not re.search(r"READ WRITE|transaction_read_only|pg_\w*advisory\w*\(", message)


def assert_at_target_takes_access_share_only(case: Case) -> None:
    """EXCLUSIVE on all three tables conflicts with every lock but ACCESS SHARE, and the migrators' lock is held too:
    whatever else a run asked for, it would wait and fail after lock_timeout."""
    url = case.database.url
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [ledger.lock_key(case.database.name)])
        other.execute("LOCK TABLE integration_health, integration_events, _sqlx_migrations IN EXCLUSIVE MODE")
        second = case.run("-y", "deploy.apply")
    assert (second.change("Migrate"), second.change("Verify")) == ("no change", "no change")


@two_versions
def test_the_story_is_deployed_and_a_second_run_changes_nothing(case: Case, story: Database) -> None:
    empty = case.database.dump()

    dry = case.run("--dry", "deploy.apply")
    assert f"pending: {VERSION} create integration health tables" in dry.lines(HOST)
    assert 'new objects and ledger "public"."_sqlx_migrations" will belong to role "postgres"' in dry.lines(HOST)
    assert re.search(r"^    Migrate +1 ", dry.out, re.MULTILINE), dry.out
    assert case.database.dump() == empty

    first = case.run("-y", "deploy.apply")
    assert (first.change("Migrate"), first.change("Verify")) == ("success", "no change")
    assert any(re.fullmatch(rf"applied {VERSION} create integration health tables \(\d+ ms\)", line) for line in first.lines(HOST))
    assert case.database.dump(NO_LEDGER) == story.dump()

    deployed = case.database.dump()
    row = case.database.psql("SELECT * FROM _sqlx_migrations")
    before = len(case.database.statements())
    assert_at_target_takes_access_share_only(case)
    assert_reads_only(case.database.statements()[before:])
    assert case.database.dump() == deployed
    assert case.database.psql("SELECT * FROM _sqlx_migrations") == row


def test_a_dry_run_of_any_kind_plans_the_change_and_touches_nothing(case: Case) -> None:
    empty = case.database.dump()
    sql = MIGRATION.read_text(encoding="utf-8")
    for words, shows_sql in (
        (["--dry", "-y"], False),
        (["--dry", "--json"], False),
        (["--dry", "--diff"], True),
        (["--dry", "-vv"], True),
        (["--dry", "-y", "--diff"], True),
    ):
        before = len(case.database.statements())
        result = case.run(*words, "deploy.apply")
        assert_reads_only(case.database.statements()[before:])
        lines = result.lines(HOST)
        assert f"pending: {VERSION} create integration health tables" in lines, (words, result.out)
        assert all(("  " + line).rstrip() in lines for line in sql.splitlines()) is shows_sql, words
        assert case.database.dump() == empty, words


def test_a_plan_that_is_shown_and_approved_is_applied(case: Case, story: Database) -> None:
    result = case.run("deploy.apply", stdin="\n")
    assert f"pending: {VERSION} create integration health tables" in result.lines(HOST)
    assert "will be verified after the migration" in result.lines(HOST)
    assert (result.change("Migrate"), result.change("Verify")) == ("success", "no change")
    assert case.database.dump(NO_LEDGER) == story.dump()


def test_with_yes_and_diff_the_sql_is_shown_as_it_is_about_to_run(case: Case) -> None:
    lines = case.run("-y", "--diff", "deploy.apply").lines(HOST)
    want = [("  " + line).rstrip() for line in MIGRATION.read_text(encoding="utf-8").splitlines()]
    start = lines.index(f"{MIGRATION.name}:") + 1
    assert lines[start : start + len(want)] == want
    assert lines.count(f"{MIGRATION.name}:") == 1


@every_version
def test_the_ledger_is_made_and_filled_as_sqlx_does(case: Case) -> None:
    case.run("-y", "deploy.apply")

    got = case.database.psql(
        "SELECT version, description, success, encode(checksum, 'hex'), execution_time > 0 FROM _sqlx_migrations"
    )
    assert got == f"{VERSION}|create integration health tables|t|{hashlib.sha384(MIGRATION.read_bytes()).hexdigest()}|t"
    columns = case.database.psql(
        "SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_name = '_sqlx_migrations' ORDER BY ordinal_position"
    )
    assert columns.splitlines() == [
        "version|bigint|NO|",
        "description|text|NO|",
        "installed_on|timestamp with time zone|NO|now()",
        "success|boolean|NO|",
        "checksum|bytea|NO|",
        "execution_time|bigint|NO|",
    ]


@every_version
def test_the_schema_is_deployed_into_the_schema_that_the_data_names(case: Case, story: Database) -> None:
    """The same bytes and the same checksum: only the search_path of the transaction differs."""
    case.database.psql('CREATE SCHEMA "odd ""name"; CREATE TABLE public.integration_health (other int)')
    data = {**case.database.data, "schema": 'odd "name'}
    environment = case.database.server.environment()
    for want in ("success", "no change"):
        result = case.pyinfra({HOST: data}, "-y", "deploy.apply", environment=environment)
        assert (result.code, result.change("Migrate"), result.change("Verify")) == (0, want, "no change"), result.out
    got = case.database.dump('--schema="odd ""name"', "--exclude-table=*._sqlx_migrations")
    statements = [line for line in got.splitlines() if not line.startswith(("--", "CREATE SCHEMA", "ALTER SCHEMA"))]
    want = [line for line in story.dump("--table=integration_*").splitlines() if not line.startswith("--")]
    assert "\n".join(filter(None, statements)).replace('"odd ""name".', "public.") == "\n".join(filter(None, want))
    assert case.database.psql('SELECT count(*) FROM "odd ""name"._sqlx_migrations') == "1"
    assert case.database.psql("SELECT to_regclass('public._sqlx_migrations')") == ""


@every_version
def test_events_are_stored_with_all_their_fields(case: Case) -> None:
    """The story's last criterion, on what was deployed."""
    case.run("-y", "deploy.apply")
    case.database.psql(
        "INSERT INTO integration_events (integration_id, event_type, severity, message, metadata, occurred_at) VALUES "
        "('airbnb', 'booking_loss', 'critical', 'lost: é 🐘', '{\"n\": [1, null]}', '2026-01-11 03:08:35+02')"
    )
    got = case.database.psql(
        "SET TimeZone = 'UTC'; SELECT id IS NOT NULL, integration_id, event_type, severity, message, metadata, occurred_at, "
        "created_at IS NOT NULL FROM integration_events"
    )
    assert got == 't|airbnb|booking_loss|critical|lost: é 🐘|{"n": [1, null]}|2026-01-11 01:08:35+00|t'
