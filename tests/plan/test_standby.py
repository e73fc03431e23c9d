"""Real standbys: each is verified once its own ledger shows what its primary was given, or says how far behind it is."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra, Result, has_tables, is_deployed, run, said
from support.project import VERSION
from support.servers import Database, Server
from support.standbys import Pair, ask, cut, replayed, standby_of, until_true
from support.versions import programs
from support.waiting import until

PRIMARY, STANDBY = "@postgres/primary", "@postgres/standby"

pytestmark = [pytest.mark.server, pytest.mark.everything]

LAG = r"received 0/[0-9A-F]+, replayed 0/[0-9A-F]+, [\d,]+ bytes behind, last replayed transaction (\d+ s ago|unknown)"


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Of PostgreSQL 18, unless the test says otherwise."""
    made = Pair.create(programs(getattr(request, "param", "embedded")), log_statement="all")
    yield made
    made.remove()


@pytest.fixture
def database(pair: Pair) -> Iterator[Database]:
    """A fresh database of the primary, which the standby has too."""
    made = pair.primary.database()
    replayed(pair.primary, pair.standby)
    yield made
    made.drop()


def both(pair: Pair, database: Database, **data: object) -> dict[str, dict[str, object]]:
    """The standby comes first; nothing depends on it."""
    return {STANDBY: {**Database(pair.standby, database.name).data, **data}, PRIMARY: database.data}


def verified(result: Result, host: str, database: Database) -> bool:
    return any(line.startswith(f"verified: {database.name} on PostgreSQL") for line in said(result, host))


def lag(result: Result, wait: str, next_step: str) -> str:
    """The sentence of the standby. It is there and matches, or the test fails."""
    head = rf"standby: 1 migration\(s\) not replayed within {wait}, the first is {VERSION}: "
    lines = [line for line in said(result, STANDBY) if re.fullmatch(f"{head}.*; {re.escape(next_step)}", line)]
    assert len(lines) == 1, result.out
    return lines[0]


@pytest.mark.parametrize("pair", ["embedded", pytest.param("debian15", marks=pytest.mark.everything)], indirect=True)
def test_one_apply_migrates_the_primary_and_verifies_the_standby(pyinfra: Pyinfra, pair: Pair, database: Database) -> None:
    hosts = both(pair, database)
    planned = run(pyinfra, hosts, "--dry", "deploy.apply")
    assert planned.code == 0, planned.out
    assert said(planned, STANDBY) == [
        "standby: verified only",
        "standby: 1 migration(s) not replayed yet; will be verified when they are",
    ]
    assert database.psql("SELECT to_regclass('_sqlx_migrations')") == ""

    done = run(pyinfra, hosts)
    assert (done.code, is_deployed(database)) == (0, True), done.out
    assert verified(done, STANDBY, database) and verified(done, PRIMARY, database)

    for words in (["-y", "deploy.apply"], ["--dry", "deploy.apply"]):
        again = run(pyinfra, hosts, *words)
        assert again.code == 0 and verified(again, STANDBY, database), again.out
        assert "waits" not in again.out and again.change("Migrate") in (None, "no change")


def test_the_plan_of_a_fleet_is_approved_although_its_standby_lacks_the_migration(
    pyinfra: Pyinfra, pair: Pair, database: Database
) -> None:
    environment = pair.primary.environment()
    done = pyinfra(both(pair, database), "deploy.apply", environment=environment, stdin="\n")
    assert done.code == 0 and verified(done, STANDBY, database), done.out


def test_a_standby_is_waited_for_until_it_has_replayed(pyinfra: Pyinfra, pair: Pair, database: Database) -> None:
    ask(pair.standby, "SELECT pg_wal_replay_pause()")
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(run, pyinfra, both(pair, database, replay_wait="60s"))
        until(lambda: len(Database(pair.standby, database.name).statements()) > 3)
        ask(pair.standby, "SELECT pg_wal_replay_resume()")
        done = running.result()
    assert done.code == 0 and verified(done, STANDBY, database), done.out
    assert "standby: waits up to 60 s for 1 migration(s)" in said(done, STANDBY)


def test_a_standby_that_applies_late_on_purpose_says_how_long_to_wait(pyinfra: Pyinfra, pair: Pair, database: Database) -> None:
    delay(pair.standby, "1h")
    try:
        short = run(pyinfra, both(pair, database, replay_wait="500ms"))
        assert (short.code, is_deployed(database)) == (1, True)
        lag(short, "0.5 s", "recovery_min_apply_delay is 1h: set replay_wait above it, then run the command again")
        delay(pair.standby, "3s")
        done = run(pyinfra, both(pair, database), "-y", "deploy.verify")
        assert done.code == 0 and verified(done, STANDBY, database), done.out
    finally:
        delay(pair.standby, "0")


def delay(standby: Server, time: str) -> None:
    standby.configure(recovery_min_apply_delay=time)
    ask(standby, "SELECT pg_reload_conf()")


def test_a_standby_that_does_not_replay_says_its_lag_and_the_primary_is_ok(
    pyinfra: Pyinfra, pair: Pair, database: Database
) -> None:
    hosts = both(pair, database, replay_wait="2s")
    ask(pair.standby, "SELECT pg_wal_replay_pause()")
    try:
        started = time.monotonic()
        late = run(pyinfra, hosts)
        assert late.code == 1 and verified(late, PRIMARY, database) and is_deployed(database), late.out
        assert time.monotonic() - started > 2
        line = lag(late, "2 s", "replay is paused: run SELECT pg_wal_replay_resume() there, then the command again")
        assert re.search(LAG, line) and ", 0 bytes" not in line, line
        out = run(pyinfra, hosts, "fact", "deploy.facts.Status").out
        status, _ = json.JSONDecoder().raw_decode(out[out.index("\n{\n") + 1 :])
        assert (status[STANDBY]["role"], status[STANDBY]["pending"]) == ("standby", [VERSION])
        assert status[STANDBY]["replay"]["paused"] and status[STANDBY]["replay"]["bytes"] > 0
        assert status[PRIMARY]["replay"] is None
    finally:
        ask(pair.standby, "SELECT pg_wal_replay_resume()")
    done = run(pyinfra, hosts, "-y", "deploy.verify")
    assert done.code == 0 and verified(done, STANDBY, database), done.out


def test_a_standby_whose_primary_is_not_migrated_says_so(pyinfra: Pyinfra, pair: Pair, database: Database) -> None:
    """Alone in the inventory, and in a wave before its primary, which then is not attempted."""
    alone = {STANDBY: both(pair, database, replay_wait=0)[STANDBY]}
    step = "it has replayed all it received: run deploy.apply on its primary, in the same wave or an earlier one"
    for words in (["-y", "deploy.apply"], ["-y", "deploy.verify"]):
        got = run(pyinfra, alone, *words)
        assert got.code == 1
        assert re.search(LAG, lag(got, "0 s", step))
        violated = "violation: integration_events: expected table, found missing" in said(got, STANDBY)
        assert violated == ("deploy.verify" in words), "without a migration before, the lag may not be the reason"

    hosts = both(pair, database, replay_wait=0)
    hosts[PRIMARY]["wave"] = 1
    got = run(pyinfra, hosts)
    assert (got.code, has_tables(database)) == (1, False)
    lag(got, "0 s", step)
    assert "not attempted: wave 0 failed on standby" in said(got, PRIMARY)
    hosts[STANDBY]["wave"], hosts[PRIMARY]["wave"] = 1, 0
    hosts[STANDBY]["replay_wait"] = "30s"
    assert run(pyinfra, hosts).code == 0


def test_a_standby_of_a_schema_made_by_hand_is_verified_and_its_primary_says_that_the_ledger_is_missing(
    pyinfra: Pyinfra, pair: Pair, database: Database
) -> None:
    assert run(pyinfra, {PRIMARY: database.data}).code == 0
    database.psql("DROP TABLE _sqlx_migrations")
    replayed(pair.primary, pair.standby)
    got = run(pyinfra, both(pair, database), "-y", "deploy.verify")
    assert got.code == 1 and verified(got, STANDBY, database) and "waits" not in got.out, got.out
    assert [line for line in said(got, PRIMARY) if line.startswith("violation: _sqlx_migrations: expected applied")], got.out


def test_a_check_that_replay_cancels_is_tried_again(pyinfra: Pyinfra, pair: Pair, database: Database, tmp_path: Path) -> None:
    """The primary locks a table that a check on the standby is reading; replay waits for nobody there."""
    assert run(pyinfra, {PRIMARY: database.data}).code == 0
    replayed(pair.primary, pair.standby)
    read = "pg_sleep(1.5), public.integration_health WHERE pg_sleep(0) IS NULL"
    slow = f"SELECT 'x' AS object, 'y' AS expected, 'z' AS actual FROM {read}"  # noqa: S608
    folder = write(tmp_path / "checks", {"slow.sql": slow})
    pair.standby.configure(max_standby_streaming_delay="0")
    ask(pair.standby, "SELECT pg_reload_conf()")
    database.psql("INSERT INTO integration_health (integration_id, status, last_checked) VALUES ('a', 'b', now())")
    replayed(pair.primary, pair.standby)
    hosts = {STANDBY: both(pair, database)[STANDBY]}
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(run, pyinfra, hosts, "-y", "deploy.verify", f"checks={folder}")
        until_true(pair.standby, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')")
        database.psql("BEGIN; LOCK TABLE integration_health IN ACCESS EXCLUSIVE MODE; COMMIT")
        got = running.result()
    assert got.code == 0 and verified(got, STANDBY, database), got.out
    assert f"{database.name}|ERROR:  canceling statement due to conflict with recovery" in pair.standby.log.read_text()


def test_a_standby_of_a_standby_is_waited_for_and_one_without_its_source_says_so(
    pyinfra: Pyinfra, pair: Pair, database: Database
) -> None:
    second = standby_of(pair.standby)
    try:
        cascade = {"@postgres/cascade": Database(second, database.name).data}
        done = run(pyinfra, {**cascade, **both(pair, database)})
        assert done.code == 0 and verified(done, "@postgres/cascade", database), done.out

        other = pair.primary.database()
        replayed(pair.primary, second)
        cut(second)
        lost = {STANDBY: {**Database(second, other.name).data, "replay_wait": "1s"}, PRIMARY: other.data}
        got = run(pyinfra, lost)
        assert got.code == 1 and verified(got, PRIMARY, other)
        lag(
            got, "1 s", "no WAL receiver is connected: check primary_conninfo and that its primary runs, then run the command again"
        )
    finally:
        second.remove()
