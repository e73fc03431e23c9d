"""What a purge says of itself at the end: rows of other tables that go along, a failure after deletions, nothing to do."""

from __future__ import annotations

import json
from pathlib import Path

from support.operator import Pyinfra
from support.purge_data import HOST, Purge, events
from support.servers import Database

NOTES = """CREATE SCHEMA other; CREATE TABLE other.notes (event uuid PRIMARY KEY REFERENCES integration_events ON DELETE CASCADE);
CREATE TABLE replies (note uuid REFERENCES other.notes ON DELETE CASCADE);
CREATE TABLE pins (event uuid REFERENCES integration_events ON DELETE SET NULL);
INSERT INTO other.notes SELECT id FROM integration_events"""

ALONG = "with the rows of other.notes, public.replies that refer to them (ON DELETE CASCADE)"


def test_the_plan_and_the_result_name_the_tables_whose_rows_go_along(aged: Database, purge: Purge) -> None:
    aged.psql(NOTES)
    assert any(
        line.startswith("would delete 211 rows") and line.endswith(f", {ALONG}") for line in purge(flags=("--dry",)).lines(HOST)
    )
    got = purge()
    assert got.code == 0, got.out
    assert any(line.startswith(f"deleted 211 rows of integration_events, {ALONG}") for line in got.lines(HOST)), got.out
    assert aged.psql("SELECT count(*) FROM other.notes") == "89"


def test_one_that_fails_after_deletions_is_failed_and_says_after_how_many(
    aged: Database, neighbour: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    """The third batch meets a trigger that raises."""
    aged.psql(
        "CREATE SEQUENCE batches; CREATE FUNCTION third() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('batches') = 3 THEN RAISE 'no more'; END IF; RETURN NULL; END $$; "
        "CREATE TRIGGER third AFTER DELETE ON integration_events FOR EACH STATEMENT EXECUTE FUNCTION third()"
    )
    hosts = {HOST: {**aged.data, "batch_rows": 50}, "@postgres/none": {**neighbour.data, "postgres_dbname": "nowhere"}}
    got = pyinfra(hosts, "-y", "deploy.purge", "report=out", environment=aged.server.environment())
    assert got.code == 1
    assert events(aged) == 200
    (line,) = [line for line in got.out.splitlines() if line.strip().startswith(f"{HOST}  failed: deleted 100 rows")]
    assert "then failed: P0001: ERROR: no more" in line
    assert any(line.strip().startswith("@postgres/none   not reached: ") for line in got.out.splitlines()), got.out
    report = json.loads((tmp_path / "out" / "purge.json").read_text(encoding="utf-8"))
    assert [host["deleted_events"] for host in report["hosts"]] == [100, 0]


def test_a_dry_run_with_nothing_to_do_says_so(aged: Database, neighbour: Database, purge: Purge, pyinfra: Pyinfra) -> None:
    assert purge().code == 0
    hosts = {f"@postgres/{n}": aged.data for n in range(3)}
    environment = aged.server.environment()
    assert "--> 3 hosts OK, nothing to do" in pyinfra(hosts, "--dry", "deploy.purge", environment=environment).out
    aged.psql("UPDATE integration_events SET occurred_at = '2020-01-01'")
    assert "--> 0 hosts OK, 3 not finished" in pyinfra(hosts, "--dry", "deploy.purge", environment=environment).out
