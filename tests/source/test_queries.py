"""The named queries, and the catalogs' proof that each one's index can serve it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.operator import Pyinfra
from support.project import MIGRATION
from support.servers import Database, Server
from support.sqlx import DEPLOYED
from support.versions import two_versions

from deploy.errors import RunRefused
from deploy.execution import probe
from deploy.source import contracts, queries

pytestmark = pytest.mark.usefixtures("password")

ALL = queries.load(queries.packaged(), 100)
PARAMETERS = {
    "integration_id": "'vrbo'",
    "event_type": "'booking_loss'",
    "severity": "'high'",
    "since": "now() - interval '2 days'",
    "until": "now()",
}


def filled(rows: int) -> str:
    """The schema with the probe's rows in its real tables, for a throw-away database."""
    fills = "".join(probe.fill(first, min(first + 49_999, rows), rows) for first in range(1, rows + 1, 50_000))
    return f"{MIGRATION.read_text(encoding='utf-8')}\n{fills}\nVACUUM ANALYZE;"


def bound(query: queries.Query) -> str:
    sql = query.sql
    for number, kind in reversed(list(enumerate(query.parameters, 1))):
        sql = sql.replace(f"${number}", PARAMETERS[kind])
    return sql


@pytest.fixture(scope="module")
def rows(server: Server) -> Database:
    database = server.database()
    database.psql(filled(20_000))
    return database


def test_every_index_of_the_contract_serves_a_named_query() -> None:
    (contract,) = contracts.load(contracts.packaged())
    indexes = {entry.name for entry in contract.entries if entry.kind == "index" or "UNIQUE" in entry.spellings[0]}
    assert {query.index for query in ALL} == indexes


def test_every_named_query_is_bounded() -> None:
    assert [query.name for query in ALL if "LIMIT" not in query.sql.split("\n")[-1] and query.name != "current_status"] == []
    assert "LIMIT 1\n" in next(query.sql for query in ALL if query.name == "current_status")


@two_versions
def test_the_current_status_of_all_reads_one_index_entry_for_each_integration(rows: Database) -> None:
    query = next(query for query in ALL if query.name == "current_status_of_all")
    plan = json.loads(rows.psql(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.sql}"))

    def scans(node: dict[str, object]) -> list[dict[str, object]]:
        children = node.get("Plans", [])
        assert isinstance(children, list)
        return [node] * ("Relation Name" in node) + [scan for child in children for scan in scans(child)]

    found = scans(plan[0]["Plan"])
    assert {scan["Index Name"] for scan in found} == {query.index}
    assert sum(int(str(scan["Actual Loops"])) for scan in found) == 4 + 1
    assert max(float(str(scan["Actual Rows"])) for scan in found) == 1
    assert sum(int(str(scan.get("Rows Removed by Filter", 0))) for scan in found) == 0


def test_the_current_status_of_all_is_what_distinct_on_gives(rows: Database) -> None:
    query = next(query for query in ALL if query.name == "current_status_of_all")
    want = rows.psql(
        "SELECT DISTINCT ON (integration_id) integration_id, status, pricing_sync_status, fees_sync_status, booking_loss_rate, "
        "error_rate, last_checked FROM integration_health ORDER BY integration_id DESC, last_checked DESC"
    )
    assert rows.psql(query.sql) == want
    assert len(want.splitlines()) == 4


def test_the_current_status_of_one_is_its_newest_row_and_none_for_an_unknown_one(rows: Database) -> None:
    query = next(query for query in ALL if query.name == "current_status")
    columns = "integration_id, status, pricing_sync_status, fees_sync_status, booking_loss_rate, error_rate, last_checked"
    for integration in ("airbnb", "booking-com", "hmbn", "vrbo", "nobody", "zzz", "", "a"):
        want = rows.psql(
            f"SELECT {columns} FROM integration_health WHERE integration_id = '{integration}' ORDER BY last_checked DESC LIMIT 1"  # noqa: S608
        )
        assert rows.psql(query.sql.replace("$1", f"'{integration}'")) == want


@pytest.mark.parametrize("query", ALL, ids=lambda query: query.name)
def test_a_named_query_gives_rows_newest_first_or_in_its_own_order(rows: Database, query: queries.Query) -> None:
    assert rows.psql(bound(query)) or query.name == "events_of_severity_in_last_24_hours"


def test_the_index_of_each_named_query_has_the_columns_that_its_header_says(database: Database) -> None:
    """It is one of the contract's, so verification sees when it can't serve the query."""
    database.psql(MIGRATION.read_text(encoding="utf-8"))
    for path in queries.packaged().iterdir():
        header = re.search(r"^-- index: (\w+) ON (\w+) (\(.+\))$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert header is not None, path
        definition = database.psql(f"SELECT pg_get_indexdef('{header[1]}'::regclass)")
        assert definition.endswith(f"INDEX {header[1]} ON public.{header[2]} USING btree {header[3]}")


def test_a_role_that_may_read_the_ledger_alone_proves_that_the_indexes_are_there(database: Database, pyinfra: Pyinfra) -> None:
    database.psql(DEPLOYED)
    role = f"r_{database.name}"
    database.psql(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; REVOKE TEMPORARY ON DATABASE {database.name} FROM PUBLIC")
    database.psql(f"GRANT SELECT ON _sqlx_migrations TO {role}")
    try:
        host = {**database.data, "postgres_user": role, "probe_rows": 1000}
        environment = database.server.environment(PGPASSWORD="x")
        ran = pyinfra({"@postgres/h": host}, "-y", "deploy.verify", environment=environment)
        lines = [line.strip() for line in ran.lines("@postgres/h")]
        assert ran.code == 0, ran.out
        assert (
            f'not probed: role "{role}" may not make temporary tables; '
            f'run GRANT TEMPORARY ON DATABASE "{database.name}" TO "{role}"' in lines
        )
        assert any(line.startswith("verified: ") for line in lines)
        database.psql("DROP INDEX idx_integration_events_type")
        ran = pyinfra({"@postgres/h": host}, "-y", "deploy.verify", environment=environment)
        assert ran.code == 1
        assert (
            "violation: idx_integration_events_type: expected INDEX ON integration_events USING btree (event_type), found missing"
            in ran.out
        )
    finally:
        database.psql(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT 1", "no line `-- index: NAME ON table (columns)` that can be read; add it"),
        ("-- index: i ON t (a)\nSELECT 1", "no line `-- budget_ms: MILLISECONDS` that can be read; add it"),
        (
            "-- index: i ON t (a)\n-- budget_ms: {{ query_budget_ms }}\n-- $1: nonsense\nSELECT $1",
            "no line `-- $1: KIND` with one of integration_id, event_type, severity, since, until; add it",
        ),
    ],
)
def test_a_query_file_with_a_header_that_cannot_be_read_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "q.sql.j2").write_text(text, encoding="utf-8")
    with pytest.raises(RunRefused) as refused:
        queries.load(tmp_path, 100)
    assert str(refused.value) == f"{tmp_path / 'q.sql.j2'}: {said}"
