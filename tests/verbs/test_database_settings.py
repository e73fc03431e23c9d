"""Settings of a database that change how catalogs are spelt, text is read or plans are made change no result of a verb."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support import versions
from support.files import write
from support.operator import PYINFRA, Result, inventory_file, without_colours
from support.purge_data import EVENTS, HEALTH
from support.servers import Server

SETTINGS = (
    "quote_all_identifiers = on",
    "standard_conforming_strings = off",
    "backslash_quote = off",
    "escape_string_warning = on",
    "array_nulls = off",
    "transform_null_equals = on",
    "bytea_output = escape",
    "xmlbinary = hex",
    "xmloption = document",
    "DateStyle = 'German, DMY'",
    "IntervalStyle = iso_8601",
    "TimeZone = 'Asia/Kathmandu'",
    "timezone_abbreviations = 'India'",
    "extra_float_digits = -15",
    "client_encoding = LATIN1",
    "client_min_messages = debug1",
    "check_function_bodies = off",
    "row_security = off",
    "search_path = pg_catalog, public",
    "search_path = nowhere",
    "default_transaction_isolation = serializable",
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_deferrable = on",
    "default_tablespace = pg_default",
    "plpgsql.variable_conflict = use_variable",
    "plpgsql.variable_conflict = use_column",
    "plpgsql.extra_errors = 'all'",
    "plpgsql.extra_warnings = 'all'",
    "plan_cache_mode = force_generic_plan",
    "enable_indexscan = off",
    "enable_indexonlyscan = off",
    "enable_seqscan = off",
    "enable_sort = off",
    "join_collapse_limit = 1",
    "random_page_cost = 10000",
    "seq_page_cost = 10000",
    "jit_above_cost = 0",
    "max_parallel_workers_per_gather = 0",
    "lock_timeout = 1",
    "statement_timeout = 50",
    "idle_in_transaction_session_timeout = 200",
    "session_replication_role = replica",
    "track_activities = off",
    "constraint_exclusion = on",
    "synchronous_commit = off",
    "lo_compat_privileges = on",
)


class Fleet:
    """A database for each setting, and one without any; each verb runs once on all of them."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.folder = folder
        self.databases = {setting: server.database() for setting in ("none", *SETTINGS)}
        for setting, database in self.databases.items():
            if setting != "none":
                database.psql(f"ALTER DATABASE {database.name} SET {setting}")
        self.server = server

    def run(self, *words: str, **data: object) -> Result:
        hosts: Mapping[str, Mapping[str, object]] = {
            f"@postgres/{database.name}": {**database.data, "query_budget_ms": 10_000, **data}
            for database in self.databases.values()
        }
        done = subprocess.run(
            [PYINFRA, str(inventory_file(self.folder, hosts)), "-y", *words],
            cwd=self.folder,
            env=self.server.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=300,
        )
        return Result(done.returncode, without_colours(done.stdout))

    def lines(self, result: Result, setting: str) -> list[str]:
        return [line.strip() for line in result.lines(f"@postgres/{self.databases[setting].name}")]

    def psql(self, sql: str) -> None:
        for database in self.databases.values():
            database.psql(f"RESET ALL; {sql}")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Mapping[str, Result]]]:
    server = Server.create(versions.programs("embedded"))
    fleet = Fleet(server, tmp_path_factory.mktemp("fleet"))
    source = write(
        fleet.folder / "other",
        {
            "1_größe.up.sql": "CREATE TABLE public.größe (n int PRIMARY KEY, t text DEFAULT 'ä'); SET client_encoding = LATIN1;",
            "1_größe.down.sql": "DROP TABLE public.größe; SET client_encoding = LATIN1;",
        },
    )
    other = {"migrations": str(source), "ignore_missing": True, "schema": "public"}
    try:
        runs = {"apply": fleet.run("deploy.apply"), "again": fleet.run("deploy.apply")}
        runs["probe"] = fleet.run("deploy.verify", "probe_rows=2000")
        fleet.psql(f"SET search_path = public; {EVENTS.format(days=120)}; {HEALTH}")
        runs["purge"] = fleet.run("deploy.purge")
        runs["other"] = fleet.run("deploy.apply", **other)
        runs["revert"] = fleet.run("deploy.revert", **other)
        fleet.psql("DROP TABLE public._sqlx_migrations")
        runs["adopt"] = fleet.run("deploy.adopt")
        yield fleet, runs
    finally:
        server.remove()


@pytest.mark.everything
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_the_database_changes_no_result(results: tuple[Fleet, Mapping[str, Result]], setting: str) -> None:
    fleet, runs = results
    mine, plain = fleet.databases[setting], fleet.databases["none"]
    assert any(line.startswith("applied ") for line in fleet.lines(runs["apply"], "none"))
    assert any(line.startswith("adopted ") for line in fleet.lines(runs["adopt"], "none"))
    assert any(line.startswith("deleted 31 rows ") for line in fleet.lines(runs["purge"], "none"))
    for verb, result in runs.items():
        got = [line.replace(mine.name, plain.name) for line in fleet.lines(result, setting)]
        assert _without_times(got) == _without_times(fleet.lines(result, "none")), verb
    tables = "SELECT count(*) FROM public.integration_events; SELECT version, description FROM public._sqlx_migrations"
    assert mine.psql(tables) == plain.psql(tables)


def _without_times(lines: list[str]) -> list[str]:
    """Without what a clock or a planner decides."""
    return [re.sub(r"[\d.]+ m?s\b|p50.*|p95.*|by \d.*", "", line) for line in lines]
