"""deploy.purge on real servers: what goes, what stays, what is told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import psycopg
from support.operator import Pyinfra
from support.project import MIGRATION
from support.purge_data import EVENTS, HOST, Purge, events, rows, scans
from support.servers import Database, Server, unprivileged
from support.versions import every_version, two_versions
from support.waiting import until


@two_versions
def test_what_is_past_retention_goes_and_the_rest_stays(aged: Database, purge: Purge) -> None:
    """By rows, and with one cut-off for all batches; the second run reads only and reports no changes."""
    health = aged.psql("SELECT * FROM integration_health ORDER BY id")
    kept = aged.psql("SELECT * FROM integration_events WHERE occurred_at >= now() - interval '90 days' ORDER BY id")
    first = purge("batch_rows=50")
    assert (first.code, first.change("Purge")) == (0, "success"), first.out
    (line,) = [line for line in first.lines(HOST) if line.startswith("deleted")]
    assert re.fullmatch(r"deleted 211 rows of integration_events in \d+\.\d s", line)
    assert aged.psql("SELECT * FROM integration_events ORDER BY id") == kept
    assert aged.psql("SELECT * FROM integration_health ORDER BY id") == health
    batches = [text for text in aged.statements() if "DELETE FROM" in text]
    assert len(batches) == 5
    assert len({match for text in aged.statements() for match in re.findall(r"occurred_at\" < '([^']+)'", text)}) == 1
    before = len(aged.statements())
    second = purge("batch_rows=50")
    assert (second.code, second.change("Purge")) == (0, "no change"), second.out
    assert any(re.fullmatch(r"no row of integration_events is older than .* UTC", line) for line in second.lines(HOST))
    for text in aged.statements()[before:]:
        assert text.startswith("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"), text


def test_a_dry_run_says_how_many_and_which_span_from_the_index(aged: Database, purge: Purge) -> None:
    """Nothing is deleted, and the table is never read as a whole, although it is so small that the planner would."""
    aged.psql("ANALYZE")
    before, scanned = rows(aged), scans(aged)
    result = purge("health_retention_days=30", flags=("--dry", "-y"))
    assert result.code == 0, result.out
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    lines = "\n".join(result.lines(HOST))
    assert re.search(rf"^would delete 211 rows of integration_events older than {stamp}, from {stamp} to {stamp}$", lines, re.M)
    assert re.search(
        rf"^would delete 142 rows of integration_health older than {stamp}, from {stamp} to {stamp}; "
        "the newest of each integration stays$",
        lines,
        re.M,
    ), lines
    name = "idx_integration_events_occurred_at"
    until(lambda: scans(aged)[name] > scanned[name])
    got = scans(aged)
    assert {key: got[key] - scanned[key] for key in got if key != name} == {key: 0 for key in got if key != name}
    assert rows(aged) == before


def test_diff_shows_the_sql_of_a_batch(purge: Purge) -> None:
    assert any("DELETE FROM ONLY" in line for line in purge(flags=("--dry", "--diff", "-y")).lines(HOST))


@every_version
def test_the_status_is_thinned_but_for_the_newest_of_each_integration(aged: Database, purge: Purge) -> None:
    """Also when the newest is older than the limit: the dead integration keeps one row."""
    result = purge("health_retention_days=30", "batch_rows=7")
    assert result.code == 0, result.out
    got = aged.psql("SELECT integration_id, count(*) FROM integration_health GROUP BY 1 ORDER BY 1")
    assert got.splitlines() == ["airbnb|30", "dead|1", "vrbo|30"]
    again = purge("health_retention_days=1")
    assert again.code == 0
    assert aged.psql("SELECT count(*) FROM integration_health WHERE integration_id = 'dead'") == "1"
    assert purge("health_retention_days=1").change("Purge") == "no change"


def test_the_last_but_one_stays_while_someone_deletes_the_newest(
    aged: Database, purge: Purge, night_shift: psycopg.Connection
) -> None:
    """What is uncommitted may be committed: then the older row is the newest."""
    night_shift.execute(
        "DELETE FROM integration_health WHERE integration_id = 'dead' AND last_checked > now() - interval '401 days'"
    )
    result = purge("health_retention_days=30", "lock_wait=0")
    night_shift.commit()
    assert result.code == 1
    assert any("1 row still" in line for line in result.lines(HOST)), result.out
    assert aged.psql("SELECT count(*) FROM integration_health WHERE integration_id = 'dead'") == "1"


def test_a_status_that_went_away_meanwhile_fails_the_host(aged: Database, purge: Purge) -> None:
    """A trigger on events deletes the status of an integration: the verification sees it."""
    aged.psql("""CREATE FUNCTION greedy() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN DELETE FROM integration_health WHERE integration_id = 'dead'; RETURN NULL; END $$;
        CREATE TRIGGER greedy AFTER DELETE ON integration_events FOR EACH STATEMENT EXECUTE FUNCTION greedy()""")
    result = purge()
    assert result.code == 1
    assert (
        "integration_health lost rows while the purge ran, which deleted 0 there: 203 rows and newest rows of 3 integration(s) "
        "before, 200 rows and 2 after; look for a trigger or another job that deletes or changes them"
    ) in result.lines(HOST)


def test_a_fleet_is_purged_but_for_the_host_that_fails(aged: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    """It fails alone, and purge.json has all of them, by --limit only those."""
    empty = aged.server.database()
    hosts = {"@postgres/a": aged.data, "@postgres/b": empty.data, "@postgres/c": {**aged.data, "postgres_port": 1}}
    environment = aged.server.environment()
    result = pyinfra(hosts, "-y", "deploy.purge", "report=r", environment=environment)
    assert result.code == 1
    assert any(line.startswith("deleted 211 rows of integration_events in ") for line in result.lines("@postgres/a"))
    document = json.loads((tmp_path / "r" / "purge.json").read_text(encoding="utf-8"))
    got = {host["host"]: host for host in document["hosts"]}
    assert document["summary"] == {"hosts": 3, "failed": 2, "deleted_events": 211, "deleted_health": 0}
    done = got["@postgres/a"]
    assert (done["deleted_events"], done["remaining"], done["problems"]) == (211, 0, [])
    assert done["cutoff"].endswith("+00") and done["seconds"] > 0
    assert got["@postgres/b"]["problems"][0]["text"].startswith("there is no table integration_events")
    assert "Connection refused" in got["@postgres/c"]["problems"][0]["text"]
    limited = pyinfra(hosts, "-y", "--limit", "@postgres/b", "deploy.purge", "report=r", environment=environment)
    assert limited.code == 1
    document = json.loads((tmp_path / "r" / "purge.json").read_text(encoding="utf-8"))
    assert [host["host"] for host in document["hosts"]] == ["@postgres/b"]
    empty.psql("SELECT 1")
    empty.drop()


def test_a_standby_is_left_alone(server: Server, pyinfra: Pyinfra) -> None:
    """A server of its own, restarted into recovery."""
    standby = Server.create(server.bin)
    try:
        database = standby.database("aged")
        database.psql(MIGRATION.read_text(encoding="utf-8"))
        database.psql(EVENTS.format(days=100))
        standby.stop("fast")
        signal_file = standby.folder / "data" / "standby.signal"
        signal_file.touch()
        if (owner := unprivileged()) is not None:
            import shutil

            shutil.chown(signal_file, owner)
        standby.start()
        result = pyinfra({HOST: database.data}, "-y", "deploy.purge", environment=standby.environment())
        assert (result.code, result.change("Purge")) == (0, "no change"), result.out
        assert "standby: left alone, its primary is the one to purge" in result.lines(HOST)
        assert events(database) == 100
    finally:
        standby.remove()


def test_a_wave_is_not_purged_after_one_that_failed(aged: Database, pyinfra: Pyinfra) -> None:
    empty = aged.server.database()
    hosts = {"@postgres/first": {**empty.data, "wave": 0}, "@postgres/later": {**aged.data, "wave": 1}}
    result = pyinfra(hosts, "-y", "deploy.purge", environment=aged.server.environment())
    assert result.code == 1
    assert "not attempted: wave 0 failed on first" in result.lines("@postgres/later"), result.out
    assert events(aged) == 300
