"""The probe on real servers: what it measures, what it says, and that nothing is left of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.operator import PYINFRA, Pyinfra, inventory_file, start, without_colours
from support.servers import Database, Server
from support.sessions import OURS
from support.sqlx import DEPLOYED
from support.standbys import standby_of
from support.versions import every_version, two_versions
from support.waiting import until

from deploy.execution import probe
from deploy.plan.target import Targets
from deploy.source import queries

pytestmark = pytest.mark.usefixtures("password")

ROWS = int(os.environ.get("PROBE_TEST_ROWS", "200000"))
"""Rows of the large probe; 1000000 takes a minute on each server."""

NAMES = [query.name for query in queries.load(queries.packaged(), 100)]
TABLES = "('integration_health', 'integration_events')"
TEMPORARY = "SELECT count(*) FROM pg_class WHERE relpersistence = 't'"


@pytest.fixture
def deployed(database: Database) -> Database:
    database.psql(DEPLOYED)
    database.psql(
        "INSERT INTO integration_health (integration_id, status, last_checked) VALUES ('vrbo', 'healthy', now());"
        "INSERT INTO integration_events (integration_id, event_type, severity, occurred_at) VALUES ('vrbo', 'x', 'low', now());"
        "VACUUM ANALYZE"
    )
    return database


def trace(database: Database) -> str:
    """What a probe could leave behind: rows, dead rows, sizes, definitions, temporary tables, locks, sessions."""
    return database.psql(
        f"""SELECT 'rows', (SELECT count(*) FROM integration_health), (SELECT count(*) FROM integration_events);
        SELECT relname, n_dead_tup, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables WHERE relname IN {TABLES} ORDER BY 1;
        SELECT relname, relfilenode, pg_total_relation_size(oid) FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') ORDER BY 1;
        {TEMPORARY};
        SELECT count(*) FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND pid <> pg_backend_pid();
        SELECT count(*) FROM pg_prepared_xacts"""  # noqa: S608
    )


def lines_of(pyinfra: Pyinfra, database: Database, *words: str, code: int = 0, **data: object) -> list[str]:
    ran = pyinfra({"@postgres/h": {**database.data, **data}}, "-y", *words)
    assert ran.code == code, ran.out
    return [line.strip() for line in ran.lines("@postgres/h")]


@every_version
def test_each_named_query_is_timed_and_a_second_apply_with_probes_changes_nothing(database: Database, pyinfra: Pyinfra) -> None:
    host = {"@postgres/h": {**database.data, "probe_rows": 2000}}
    first = pyinfra(host, "-y", "deploy.apply")
    timed = [
        match[1]
        for line in first.lines("@postgres/h")
        if (match := re.match(r"\s*probed: (\w+): p95 [\d.]+ ms of 100 ms, p50", line))
    ]
    assert (first.code, first.change("Migrate"), first.change("Verify"), timed) == (0, "success", "no change", NAMES)
    database.psql("VACUUM ANALYZE")
    before = trace(database)
    second = pyinfra(host, "-y", "-vv", "deploy.apply")
    assert (second.code, second.change("Migrate"), second.change("Verify")) == (0, "no change", "no change")
    assert "Index Scan using idx_integration_health_last_checked on integration_health" in second.out  # a plan, with -vv
    assert trace(database) == before


def test_a_dry_run_announces_the_probe_and_does_not_run_it(deployed: Database, pyinfra: Pyinfra) -> None:
    lines = lines_of(pyinfra, deployed, "--dry", "deploy.verify", "probe_rows=2000")
    assert "will be probed with 2,000 rows in temporary tables" in lines
    assert not [line for line in lines if line.startswith("probed: ")]
    assert not [statement for statement in deployed.statements() if "TEMPORARY TABLE" in statement]


def test_without_probe_rows_nothing_is_probed(deployed: Database, pyinfra: Pyinfra) -> None:
    assert not [line for line in lines_of(pyinfra, deployed, "deploy.verify") if "probed" in line]


@every_version
def test_a_query_over_its_budget_is_a_violation_and_drift_is_not_probed(deployed: Database, pyinfra: Pyinfra) -> None:
    for setting in ("enable_indexscan", "enable_bitmapscan", "enable_indexonlyscan"):
        deployed.psql(f'ALTER DATABASE "{deployed.name}" SET {setting} = off')
    lines = lines_of(pyinfra, deployed, "deploy.verify", code=1, probe_rows=5_000, query_budget_ms=1)
    slow = (
        r"violation: current_status_of_all: expected p95 within 1 ms, found p95 [\d.]+ ms, p50 [\d.]+ ms in \d+ run\(s\) on 5,000"
    )
    assert len([line for line in lines if re.match(slow, line)]) == 1, lines
    deployed.psql("DROP INDEX idx_integration_events_type")
    lines = lines_of(pyinfra, deployed, "deploy.verify", code=1, probe_rows=5_000)
    assert "not probed: a copy of tables that are not as the contract says proves nothing; repair the violations first" in lines


@two_versions
def test_the_tables_are_those_of_the_migrations_whatever_was_added_and_making_them_locks_nothing(deployed: Database) -> None:
    described = f"""
        SELECT c.relname, c.reloptions, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation, a.attstorage,
            pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = NAMESPACE AND c.relname IN {TABLES} ORDER BY 1, a.attnum;
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = NAMESPACE AND contype <> 'n' AND conname LIKE 'integration%' ORDER BY 1;
        SELECT regexp_replace(pg_get_indexdef(i.indexrelid), ' ON [^.]+[.]', ' ON ')
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        WHERE c.relnamespace = NAMESPACE AND c.relname IN {TABLES} ORDER BY 1;
    """  # noqa: S608
    want = deployed.psql(
        f"SET search_path = pg_temp;{described.replace('NAMESPACE', chr(39) + 'public' + chr(39) + '::regnamespace')}"
    )
    deployed.psql(
        "CREATE INDEX added ON integration_events (lower(message)) WHERE severity = 'low'; "
        "ALTER TABLE integration_events SET (fillfactor = 80); ALTER TABLE integration_events ALTER message SET STORAGE EXTERNAL"
    )
    begin = "BEGIN;\n" + probe.make_tables(Targets().resolve("@postgres/h", {}))
    here = described.replace("NAMESPACE", "pg_my_temp_schema()")
    locks = "SELECT 'lock', mode FROM pg_locks WHERE relation::regclass::text LIKE 'public.integration_%';"
    got = deployed.psql(f"{begin}\n\\echo made\n{here}{locks}\nROLLBACK").split("made\n")[1]
    assert got == want
    assert "PRIMARY KEY" in want and "varying(50)" in want


@two_versions
def test_no_query_can_reach_a_real_table(deployed: Database) -> None:
    begin = "BEGIN;\n" + probe.make_tables(Targets().resolve("@postgres/h", {}))
    got = deployed.psql(
        f"{begin}\nSELECT count(*) FROM integration_health;\nDROP TABLE integration_health;\n"
        "SELECT to_regclass('integration_health') IS NULL;\nROLLBACK"
    ).splitlines()
    assert got[-2:] == ["0", "t"]


def test_probes_of_one_server_run_one_after_the_other(database: Database, pyinfra: Pyinfra) -> None:
    schemas = ("a", "b", "c")
    database.psql("".join(f"CREATE SCHEMA {schema};" for schema in schemas))
    hosts = {f"@postgres/{schema}": {**database.data, "schema": schema} for schema in schemas}
    assert pyinfra(hosts, "-y", "deploy.apply").code == 0
    before = len(database.statements())
    assert pyinfra(hosts, "-y", "deploy.verify", "probe_rows=500").code == 0
    edges = {"BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE;": "begin", "ROLLBACK;": "end"}
    seen = [edges.get(statement.split("\n")[0]) for statement in database.statements()[before:]]
    assert [edge for edge in seen if edge] == ["begin", "end"] * 3


@two_versions
def test_an_index_that_the_query_cannot_use_is_seen_where_it_is_the_only_one(deployed: Database) -> None:
    begin = "BEGIN;\n" + probe.make_tables(Targets().resolve("@postgres/h", {}))
    sql = "SELECT id FROM integration_events WHERE severity = $1 LIMIT 10"
    wrong = queries.Query("wrong", sql, "idx_integration_events_type", "integration_events", ("severity",), 100)
    script = f"{begin}\n{probe.fill(1, 2000, 2000)}\nANALYZE;\n{probe.time_query(wrong, runs=3)}\nROLLBACK"
    probed = json.loads(deployed.psql(script).splitlines()[-1])
    assert (probed["serves"], probed["runs"]) == (False, 3)
    assert "Seq Scan" in probed["alone"]


@pytest.mark.everything
def test_a_killed_client_leaves_nothing_and_nobody_waits_for_a_probe(deployed: Database, tmp_path: Path) -> None:
    before = trace(deployed)
    inventory = inventory_file(tmp_path, {"@postgres/h": deployed.data})
    client = start(inventory, "-y", "deploy.verify", "probe_rows=3000000", environment=deployed.server.environment())
    try:
        assert client.stdout is not None
        progress = next(line for line in client.stdout if "rows in each temporary table" in line)
        assert re.search(r"\[@postgres/h\] probe: [\d,]+ of 3,000,000 rows in each temporary table \(\d+ s\)", progress)
        assert deployed.psql(f"{OURS} AND backend_xid IS NOT NULL") != ""
        deployed.psql(
            "SET lock_timeout = '1ms'; BEGIN; LOCK TABLE integration_health, integration_events IN ACCESS EXCLUSIVE MODE; ROLLBACK"
        )
    finally:
        client.send_signal(signal.SIGKILL)
        client.communicate()
    until(lambda: deployed.psql(OURS) == "")
    assert trace(deployed) == before


@pytest.mark.everything
@pytest.mark.alone
def test_a_large_probe_stays_inside_the_budget_and_in_bounded_memory(deployed: Database, tmp_path: Path) -> None:
    inventory = inventory_file(tmp_path, {"@postgres/h": deployed.data})
    command = [PYINFRA, "-y", str(inventory), "deploy.verify", f"probe_rows={ROWS}"]
    started = time.monotonic()
    with (tmp_path / "out").open("w+", encoding="utf-8") as out:
        client = subprocess.Popen(command, cwd=tmp_path, env=deployed.server.environment(), stdout=out, stderr=subprocess.STDOUT)
        peak: dict[str, int] = {"client": 0, "server": 0}
        while client.poll() is None:
            pids = {"client": str(client.pid), "server": deployed.psql(OURS).split("\n")[0]}
            for label, pid in pids.items():
                status = Path(f"/proc/{pid}/status")
                if pid and status.exists() and (match := re.search(r"RssAnon:\s+(\d+)", status.read_text(encoding="utf-8"))):
                    peak[label] = max(peak[label], int(match[1]) // 1024)
            time.sleep(0.5)
        out.seek(0)
        text = without_colours(out.read())
    print(f"{ROWS:,} rows, {time.monotonic() - started:.0f} s, peak memory in MB {peak}", text)
    assert client.returncode == 0, text
    assert len(re.findall(r"probed: \w+: p95 ", text)) == len(NAMES)
    assert peak["server"] < 100 and peak["client"] < 150


@pytest.fixture
def standby(server: Server) -> Iterator[Server]:
    made = standby_of(server)
    yield made
    made.remove()


def test_a_standby_proves_its_indexes_and_is_not_probed(deployed: Database, standby: Server, pyinfra: Pyinfra) -> None:
    copy = Database(standby, deployed.name)
    lines = lines_of(pyinfra, copy, "deploy.verify", "probe_rows=2000")
    assert "not probed: a standby takes no temporary tables; probe its primary" in lines
    assert any(line.startswith("verified: ") for line in lines)
    deployed.psql("DROP INDEX idx_integration_events_type")
    until(lambda: copy.psql("SELECT to_regclass('idx_integration_events_type') IS NULL") == "t")
    lines = lines_of(pyinfra, copy, "deploy.verify", "probe_rows=2000", "replay_wait=0", code=1)
    assert any(line.startswith("violation: idx_integration_events_type: ") and line.endswith("found missing") for line in lines)
