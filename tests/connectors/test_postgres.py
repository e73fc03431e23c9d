"""@postgres under pyinfra's own state machine: rows, errors, refusals, transactions, notices."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.host import Host
from support.operator import Pyinfra
from support.servers import PASSWORD, Database

NAME = "@postgres/one"


@pytest.fixture
def host(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """One connected host of a real State."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    state = State(Inventory(([(NAME, database.data)], {})), Config())
    connect_all(state)
    found = state.inventory.get_host(NAME)
    assert found in state.activated_hosts
    yield found
    disconnect_all(state)
    disconnect_all(state)  # safe twice


def run(host: Host, sql: str, **arguments: Any) -> tuple[bool, Any, list[str]]:
    """Whether it succeeded, the JSON on standard output, and the lines on standard error."""
    status, output = host.run_shell_command(sql, **arguments)
    return status, json.loads(output.stdout) if output.stdout else None, output.stderr_lines


def test_rows_of_all_statements_come_back_as_one_json_document(host: Host) -> None:
    sql = (
        "SELECT 1 AS a, NULL AS b, true AS c, 'ä🐘' AS d; CREATE TABLE x (y int); "
        "SELECT 1.50 AS n, 1e300::float8 AS f, 'NaN'::float8 AS nan, '{\"k\": [1]}'::jsonb AS j, 9223372036854775807 AS big, "
        "'2026-01-11 03:08:35+02'::timestamptz AS t, '\\x00ff'::bytea AS raw, ARRAY[1,2] AS l"
    )
    status, rows, errors = run(host, sql)
    assert (status, errors) == (True, [])
    assert rows == [
        {"a": 1, "b": None, "c": True, "d": "ä🐘"},
        {
            "n": "1.50",
            "f": 1e300,
            "nan": "NaN",
            "j": {"k": [1]},
            "big": 9223372036854775807,
            "t": "2026-01-11 01:08:35+00",
            "raw": "\\x00ff",
            "l": "{1,2}",
        },
    ]


@pytest.mark.parametrize("sql", ["", ";", "-- nothing", "SELECT FROM pg_class WHERE false", "SET work_mem = '1MB'"])
def test_no_rows_are_an_empty_list(host: Host, sql: str) -> None:
    assert run(host, sql) == (True, [], [])


def test_a_percent_sign_is_a_percent_sign(host: Host) -> None:
    assert run(host, "SELECT '%s %d %' AS a, 5 % 3 AS b") == (True, [{"a": "%s %d %", "b": 2}], [])


def test_an_error_names_its_place_with_the_line_and_a_caret(host: Host) -> None:
    status, rows, errors = run(host, "SELECT 1;\nSELECT 'é', wrong\nFROM pg_class")
    assert (status, rows) == (False, None)
    assert errors == [
        '2:13: 42703: ERROR: column "wrong" does not exist',
        "    SELECT 'é', wrong",
        "                ^",
    ]


def test_detail_hint_and_context_of_the_server_are_shown(host: Host) -> None:
    _, _, errors = run(host, "DO $$ BEGIN RAISE 'no' USING DETAIL = 'why', HINT = 'try this', ERRCODE = 'P0042'; END $$")
    assert errors == [
        "P0042: ERROR: no",
        "DETAIL: why",
        "HINT: try this",
        "CONTEXT: PL/pgSQL function inline_code_block line 1 at RAISE",
    ]


def test_a_notice_is_shown_and_no_failure(host: Host) -> None:
    assert run(host, "DROP TABLE IF EXISTS nowhere; SELECT 1 AS a") == (
        True,
        [{"a": 1}],
        ['NOTICE: table "nowhere" does not exist, skipping'],
    )


def test_a_failed_command_rolls_back_what_was_open(host: Host, database: Database) -> None:
    assert run(host, "BEGIN; CREATE TABLE kept (a int)")[0]
    assert not run(host, "SELECT wrong")[0]
    assert run(host, "SELECT pg_current_xact_id_if_assigned() AS x, to_regclass('kept') AS y")[1] == [{"x": None, "y": None}]
    assert not run(host, "CREATE TABLE half (a int); SELECT 1/0")[0]
    assert database.psql("SELECT to_regclass('kept'), to_regclass('half')") == "|"


@pytest.mark.parametrize(
    "arguments",
    [
        {"_sudo": True},
        {"_sudo_user": "x"},
        {"_su_user": "x"},
        {"_doas": True},
        {"_env": {"A": "b"}},
        {"_chdir": "/tmp"},
        {"_stdin": "x"},
        {"_use_sudo_login": True},
        {"_preserve_sudo_env": True},
        {"_shell_executable": "bash"},
        {"_success_exit_codes": [0, 1]},
        {"_get_pty": True},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_an_argument_that_is_not_supported_is_refused_and_nothing_runs(
    host: Host, database: Database, arguments: dict[str, Any]
) -> None:
    status, rows, errors = run(host, "CREATE TABLE x (a int)", **arguments)
    assert (status, rows) == (False, None)
    key = next(iter(arguments))
    assert errors == [f"{key} is not supported on a @postgres host; remove it from the command or the data"]
    assert database.psql("SELECT to_regclass('x')") == ""


def test_a_timeout_cancels_the_command_and_the_next_one_works(host: Host, database: Database) -> None:
    started = time.monotonic()
    status, _, errors = run(host, "CREATE TABLE x (a int); SELECT pg_sleep(30)", _timeout=1)
    assert not status
    assert time.monotonic() - started < 20
    assert len(errors) == 1
    assert errors[0].startswith("no answer from ") and " within 1 s; the command was cancelled; " in errors[0]
    assert run(host, "SELECT to_regclass('x') AS x") == (True, [{"x": None}], [])
    assert database.psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)' AND state = 'active'") == "0"


def test_an_idle_connection_that_the_server_closed_is_opened_again(host: Host, database: Database) -> None:
    kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'integration-health-deploy'"
    database.psql(kill)
    assert run(host, "SELECT 1 AS a") == (True, [{"a": 1}], [])


def test_a_lost_connection_fails_the_command_and_the_next_one_opens_another(host: Host) -> None:
    status, _, errors = run(host, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert not status
    assert len(errors) == 1, errors
    assert errors[0].endswith("; look whether it was committed before you run it again")
    assert run(host, "SELECT 1 AS a") == (True, [{"a": 1}], [])


def test_files_are_refused_with_a_sentence(host: Host, tmp_path: Any) -> None:
    assert not host.put_file(str(tmp_path / "here"), "/tmp/there")
    assert not host.get_file("/tmp/there", str(tmp_path / "here"))
    assert not (tmp_path / "here").exists()


def test_the_session_is_set_up_as_sqlx_does(host: Host) -> None:
    names = [
        "TimeZone",
        "DateStyle",
        "client_encoding",
        "extra_float_digits",
        "application_name",
        "lock_timeout",
        "statement_timeout",
    ]
    sql = "SELECT " + ", ".join(f"current_setting('{name}') AS \"{name}\"" for name in names)
    want = ["UTC", "ISO, MDY", "UTF8", "2", "integration-health-deploy", "2s", "1min"]
    assert run(host, sql)[1] == [dict(zip(names, want, strict=True))]


def test_exec_needs_no_inventory_file(database: Database, pyinfra: Pyinfra) -> None:
    name = f"@postgres/127.0.0.1:{database.server.port}/{database.name}"
    environment = database.server.environment(PGUSER="postgres")
    result = pyinfra(name, "exec", "--", "select 1 AS one, current_database() AS db", environment=environment)
    assert result.code == 0
    assert f'[{{"one": 1, "db": "{database.name}"}}]' in result.lines(name)


def test_exec_of_a_wrong_statement_fails_with_exit_code_1(database: Database, pyinfra: Pyinfra) -> None:
    result = pyinfra({NAME: database.data}, "exec", "--", "select wrong", environment=database.server.environment())
    assert result.code == 1
    assert '1:8: 42703: ERROR: column "wrong" does not exist' in result.lines(NAME)


DEPLOY = """
from pyinfra import host
from pyinfra.api import FactBase, operation


class Open(FactBase):
    def command(self):
        return "SELECT count(*) AS n, pg_current_xact_id_if_assigned()::text AS x FROM mine"

    def process(self, output):
        import json
        return json.loads(output[-1])[0]


@operation()
def mine():
    yield "BEGIN"
    yield "CREATE TABLE mine (a int)"
    yield "INSERT INTO mine VALUES (1), (2)"
    found = host.get_fact(Open)
    yield "COMMIT" if found["n"] == 2 and found["x"] else "ROLLBACK"


mine(name="Mine")
"""


def test_someones_operation_may_open_a_transaction_and_read_a_fact_in_it(
    database: Database, pyinfra: Pyinfra, tmp_path: Any
) -> None:
    """A body is run lazily, on one connection."""
    (tmp_path / "someones.py").write_text(DEPLOY)
    result = pyinfra({NAME: database.data}, "-y", "someones.py", environment=database.server.environment())
    assert (result.code, result.change("Mine")) == (0, "success"), result.out
    assert database.psql("SELECT count(*) FROM mine") == "2"


def test_an_argument_in_the_data_that_is_not_supported_fails_its_host_alone(database: Database, pyinfra: Pyinfra) -> None:
    """`_sudo` in the inventory of machines, say. The last host to fail ends the run without a traceback."""
    for words in (["-y"], ["--dry"]):
        hosts = {NAME: {**database.data, "_sudo": True}}
        result = pyinfra(hosts, *words, "deploy.apply", environment=database.server.environment())
        assert result.code == 1
        want = "_sudo is not supported on a @postgres host; remove it from the command or the data"
        assert want in result.lines(NAME), result.out
    assert database.psql("SELECT to_regclass('integration_health')") == ""


def test_rows_keep_every_column_and_are_always_json(host: Host) -> None:
    sql = "SELECT 1 AS a, 2 AS a, '1e400'::json AS n, (repeat('[', 3000) || repeat(']', 3000))::json AS deep"
    status, rows, errors = run(host, sql)
    assert (status, errors) == (True, [])
    assert [value for key, value in rows[0].items() if key.startswith("a")] == [1, 2]
    assert rows[0]["n"] == "1e400"
    assert rows[0]["deep"].startswith("[[")


def test_sql_that_is_no_unicode_fails_its_command(host: Host) -> None:
    assert run(host, "SELECT '\udcff'") == (
        False,
        None,
        ["the SQL contains invalid Unicode, which Postgres refuses; write it without"],
    )
