"""Files that fail, or end their transaction: what stays is said, the file leaves no trace in the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra, run, said
from support.servers import Database

ONE = "@postgres/one"
FIRST = "CREATE TABLE first (i int);\n"


def tables(database: Database) -> str:
    return database.psql(
        "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200"
    )


def versions(database: Database) -> str:
    return database.psql("SELECT coalesce(string_agg(version::text, ' ' ORDER BY version), '') FROM _sqlx_migrations")


def ends_the_transaction(file: str) -> str:
    return (
        f"{file}: ends the transaction it runs in, so it was not recorded and what it committed stays; "
        "remove COMMIT, ROLLBACK and the like from the file"
    )


def test_a_file_that_fails_in_its_third_statement_leaves_earlier_files_applied_and_no_trace_of_itself(
    pyinfra: Pyinfra, database: Database, neighbour: Database, tmp_path: Path
) -> None:
    second = (
        "CREATE TABLE second (i int);\nCREATE TABLE third (i int);\n  SELECT 'ü🦀', nope FROM first;\nCREATE TABLE fourth ();\n"
    )
    source = write(tmp_path / "bad", {"1_first.sql": FIRST, "2_second.sql": second, "3_third.sql": "CREATE TABLE fifth ();"})
    good = write(tmp_path / "good", {"1_first.sql": FIRST})
    hosts = {
        "@postgres/bad0": {**database.data, "migrations": str(source)},
        "@postgres/good": {**neighbour.data, "migrations": str(good)},
    }

    result = run(pyinfra, hosts)

    lines = result.lines("@postgres/bad0")
    assert lines[-4:] == [
        '2_second.sql:3:16: 42703: ERROR: column "nope" does not exist',
        "      SELECT 'ü🦀', nope FROM first;",
        "                   ^",
        "Error: executed 8 commands",
    ]
    assert [line.partition(" (")[0] for line in lines if line.startswith("applied")] == ["applied 1 first"]
    assert result.code == 1
    assert (tables(database), versions(database)) == ("_sqlx_migrations first", "1")
    assert (tables(neighbour), versions(neighbour)) == ("_sqlx_migrations first", "1")

    (tmp_path / "bad" / "2_second.sql").write_text(second.replace("nope", "i"), encoding="utf-8")  # repaired, it goes on
    assert run(pyinfra, hosts).code == 0
    assert (tables(database), versions(database)) == ("_sqlx_migrations fifth first fourth second third", "1 2 3")


ENDINGS = {
    "COMMIT;": "second",
    "END": "second",
    "ROLLBACK;": "",
    "COMMIT; BEGIN;": "second",
    "ROLLBACK; BEGIN;": "",
    "COMMIT AND CHAIN;": "second",
    "ROLLBACK AND CHAIN;": "",
}
"""How a file may end its transaction: what of it stays."""


@pytest.mark.parametrize("first_of_all", [False, True], ids=["later", "first"])
def test_a_file_that_ends_its_transaction_is_not_recorded(
    pyinfra: Pyinfra, database: Database, tmp_path: Path, first_of_all: bool
) -> None:
    """Also when it is the first file of all, in whose transaction the ledger is made."""
    made = {f"@postgres/{number}": database.server.database() for number in range(len(ENDINGS))}
    hosts = {}
    for (host, one), ending in zip(made.items(), ENDINGS, strict=True):
        files = {"2_second.sql": f"CREATE TABLE second ();\n{ending}"}
        folder = write(tmp_path / one.name, files if first_of_all else {"1_first.sql": FIRST, **files})
        hosts[host] = {**one.data, "migrations": str(folder)}

    result = run(pyinfra, hosts)

    assert {host: said(result, host)[-1] for host in hosts} == {host: ends_the_transaction("2_second.sql") for host in hosts}
    assert result.code == 1
    for one, stays in zip(made.values(), ENDINGS.values(), strict=True):
        assert set(tables(one).split()) - {"_sqlx_migrations"} == {*stays.split()} | (set() if first_of_all else {"first"})
        if "_sqlx_migrations" in tables(one):
            assert versions(one) == ("" if first_of_all else "1")


def test_savepoints_and_comments_about_commit_do_not_end_the_transaction(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    sql = (
        "SAVEPOINT a; CREATE TABLE gone (); ROLLBACK TO SAVEPOINT a; RELEASE SAVEPOINT a;\n"
        "CREATE TABLE kept (text text DEFAULT 'COMMIT;'); -- COMMIT;\nDO $$ BEGIN NULL; END $$; -- the last line has no end"
    )
    source = write(tmp_path / "source", {"1_first.sql": sql, "2_empty.sql": ""})

    result = run(pyinfra, {ONE: {**database.data, "migrations": str(source)}})

    assert result.code == 0, result.out
    assert (tables(database), versions(database)) == ("_sqlx_migrations kept", "1 2")


FAILING = {
    "deferred": (
        "CREATE TABLE a (i int PRIMARY KEY);\n"
        "CREATE TABLE b (i int REFERENCES a DEFERRABLE INITIALLY DEFERRED); INSERT INTO b VALUES (1);",
        [
            '2_second.sql: 23503: ERROR: insert or update on table "b" violates foreign key constraint "b_i_fkey"',
            'DETAIL: Key (i)=(1) is not present in table "a".',
        ],
    ),
    "unterminated": (
        "CREATE TABLE a ();\nSELECT 'x",
        ['2_second.sql:2:8: 42601: ERROR: unterminated quoted string at or near "\'x"', "SELECT 'x", "^"],
    ),
    "copy": (
        "CREATE TABLE a (i int);\nCOPY a FROM stdin;\n",
        ["2_second.sql: COPY FROM STDIN and TO STDOUT have no data here; write INSERT instead"],
    ),
    "raise": (
        "DO $$ BEGIN RAISE EXCEPTION 'no %', 'way' USING DETAIL = 'because', HINT = 'turn round'; END $$;",
        [
            "2_second.sql: P0001: ERROR: no way",
            "DETAIL: because",
            "HINT: turn round",
            "CONTEXT: PL/pgSQL function inline_code_block line 1 at RAISE",
        ],
    ),
    "slow": (
        "CREATE TABLE a ();\nSELECT pg_sleep(20);",
        [
            "2_second.sql: 57014: ERROR: canceling statement due to statement timeout",
            "HINT: raise `statement_timeout` when the statement needs longer",
        ],
    ),
}


def test_each_failing_file_is_rolled_back_and_explained(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    made = {name: database.server.database() for name in FAILING}
    hosts = {}
    for name, (sql, _) in FAILING.items():
        folder = write(tmp_path / name, {"1_first.sql": FIRST, "2_second.sql": sql})
        hosts[f"@postgres/{name}"] = {**made[name].data, "migrations": str(folder), "statement_timeout": "1s"}

    result = run(pyinfra, hosts)

    for name, (_, want) in FAILING.items():
        got = said(result, f"@postgres/{name}")
        assert got[2:] == want
        assert (tables(made[name]), versions(made[name])) == ("_sqlx_migrations first", "1")
    assert result.code == 1
