"""Any source: rendered and plain files, variables, checks of its own, each file read once, no state from file to file."""

from __future__ import annotations

import json
from pathlib import Path

from support.files import write
from support.operator import Pyinfra
from support.servers import Database
from support.sqlx import HOST, deploy, sqlx


def test_plain_files_are_taken_byte_for_byte_and_templates_are_rendered(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    source = write(
        tmp_path / "migrations",
        {
            "1_plain.sql": 'CREATE TABLE "{{ nothing }}" ();\r\n',
            "2_rendered.up.sql.j2": "CREATE TABLE {{ tenant | ident }} (v text DEFAULT {{ note | literal }});\n",
            "2_rendered.down.sql.j2": "DROP TABLE {{ tenant | ident }};\n",
        },
    )
    variables = {"tenant": 'A "b', "note": "it's"}
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source), variables=variables)
    assert got.code == 0, got.out
    assert database.psql(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
    ) == ('A "b\n_sqlx_migrations\n{{ nothing }}')
    rendered = write(
        tmp_path / "rendered",
        {
            "1_plain.sql": 'CREATE TABLE "{{ nothing }}" ();\r\n',
            "2_rendered.up.sql": "CREATE TABLE \"A \"\"b\" (v text DEFAULT 'it''s');\n",
        },
    )
    assert sqlx(database, rendered, "run").code == 0


def test_a_variable_that_is_missing_refuses_the_run_with_file_and_line(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql.j2": "SELECT 1;\nSELECT {{ tenant | literal }};\n"})
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert got.code == 1
    assert f"{source / '1_a.sql.j2'}:2: template error: 'tenant' is undefined" in got.out
    assert database.psql("SELECT to_regclass('_sqlx_migrations')") == ""


def test_a_source_of_its_own_runs_its_checks_and_not_our_contract(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": "CREATE TABLE a ()"})
    checks = write(
        tmp_path / "checks",
        {"b.sql": "SELECT 'b' AS object, 'a table' AS expected, 'missing' AS actual WHERE to_regclass('b') IS NULL"},
    )
    without = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert without.code == 0
    assert any(line.startswith("not verified: this source has no contract, ") for line in without.lines(HOST))
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source), checks=str(checks))
    assert got.code == 1
    assert "violation: b: expected a table, found missing" in got.out
    assert "integration_health" not in got.out


def test_planning_reads_each_file_once_a_run_and_not_once_a_host(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    """Twenty hosts with the same source; an audit hook of Python counts how often each file is opened."""
    files = {f"{n}_plain.sql": "SELECT 1" for n in range(1, 30)} | {f"{n}_made.sql.j2": "SELECT {{ x }}" for n in range(30, 40)}
    source = write(tmp_path / "migrations", files)
    data = {**database.data, "migrations": str(source), "variables": {"x": 1}}
    opened = tmp_path / "opened"
    inventory = tmp_path / "counting.py"
    inventory.write_text(
        f"""
import atexit, json, os, sys
seen = {{}}
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and {str(source)!r} in arguments[0]:
        seen[os.path.basename(arguments[0])] = seen.get(os.path.basename(arguments[0]), 0) + 1
sys.addaudithook(hook)
atexit.register(lambda: open({str(opened)!r}, "w").write(json.dumps(seen)))
hosts = [(f"@postgres/db{{n}}", {data!r}) for n in range(20)]
""",
        encoding="utf-8",
    )
    got = pyinfra(str(inventory), "--dry", "-y", "deploy.apply", environment=database.server.environment())
    assert got.code == 0, got.out
    assert json.loads(opened.read_text()) == dict.fromkeys(files, 1)


def test_session_state_of_one_file_never_leaks_into_the_next(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    """SQLx differs here: with it the second file would meet what the first one set."""
    database.psql("CREATE SCHEMA elsewhere; DROP ROLE IF EXISTS leaky; CREATE ROLE leaky")
    probe = (
        "CREATE TABLE {name} AS SELECT current_schema() AS path, current_user::text AS role, session_user::text AS login,"
        " current_setting('timezone') AS zone, current_setting('lock_timeout') AS lock, current_setting('work_mem') AS work,"
        " (SELECT count(*) FROM pg_prepared_statements) AS prepared, to_regclass('pg_temp.mine') IS NULL AS clean,"
        " (SELECT count(*) FROM pg_cursors WHERE name = 'c') AS cursors,"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks;"
    )
    leak = (
        "SET search_path = elsewhere; SET timezone = 'Asia/Tokyo'; SET lock_timeout = 77; SET work_mem = '1MB';"
        " CREATE TEMP TABLE mine (); PREPARE p AS SELECT 1; DECLARE c CURSOR WITH HOLD FOR SELECT 1;"
        " LISTEN somebody; SELECT pg_advisory_lock(4711); SET SESSION AUTHORIZATION leaky;"
    )
    source = write(
        tmp_path / "migrations",
        {
            "1_before.sql": probe.format(name="public.before"),
            "2_leak.sql": leak,
            "3_after.sql": probe.format(name="public.after"),
            "4_index.sql": "-- no-transaction\nSET work_mem = '2MB'",
            "5_last.sql": probe.format(name="public.last"),
        },
    )
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source), schema="public")
    assert got.code == 0, got.out
    before, after, last = (database.psql(f"TABLE public.{name}") for name in ("before", "after", "last"))
    assert before == after == last
    assert before.split("|")[:5] == ["public", "postgres", "postgres", "UTC", "0"]


def test_a_file_that_ends_its_transaction_leaks_nothing_either(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(
        tmp_path / "migrations", {"1_a.sql": "CREATE TABLE a (); COMMIT; SET work_mem = '1MB'; BEGIN; CREATE TABLE b ();"}
    )
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert got.code == 1
    assert (
        "1_a.sql: ends the transaction it runs in, so it was not recorded and what it committed stays; "
        "remove COMMIT, ROLLBACK and the like from the file"
    ) in got.lines(HOST)
    assert database.psql("SELECT to_regclass('a') IS NOT NULL, to_regclass('b') IS NULL") == "t|t"
