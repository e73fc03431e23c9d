"""A ledger or a table that is not what a plan may build on: one sentence, nothing changed, the host beside it deployed."""

from __future__ import annotations

import pytest
from support.operator import Pyinfra, ended, is_deployed, run, said
from support.project import MIGRATION, ROOT, VERSION
from support.servers import Database, login
from support.sqlx import LEDGER, row
from support.versions import every_version

pytestmark = pytest.mark.everything

ONE = "@postgres/one"
MISSING = (
    f"migration 5 was previously applied but is missing in the resolved migrations of {ROOT / 'sql_templates' / 'migrations'}; "
    "add its file there, or set ignore_missing=true when it belongs to another source"
)


def not_a_ledger(misfit: str) -> str:
    return f"public._sqlx_migrations is not SQLx's ledger: {misfit}; rename it, or set `schema` to the one that holds the ledger"


def in_the_way(violation: str) -> str:
    return (
        f"a table of the migration is there already and differs from the contract: {violation}; "
        "run deploy.verify to see all, then repair or rename the table"
    )


BAD = {
    "another-checksum": (
        LEDGER + row(VERSION, checksum="abcd" * 24),
        f"migration {VERSION} was previously applied but has been modified: the ledger has checksum abcdabcdabcdabcd…, "
        f"{MIGRATION.name} has 6d80b2c29d431bbe…; restore the file that was applied, or repair what deploy.verify reports",
    ),
    "dirty": (
        LEDGER + row(VERSION, success=False),
        f"migration {VERSION} is partially applied; fix and remove row from `_sqlx_migrations` table; then run deploy.apply again",
    ),
    "dirty-row-of-another-source": (
        LEDGER + row(7, success=False),
        "migration 7 is partially applied; fix and remove row from `_sqlx_migrations` table; then run deploy.apply again",
    ),
    "ledger-view": ("CREATE VIEW _sqlx_migrations AS SELECT 1 AS version", not_a_ledger("it is not a table")),
    "ledger-sequence": ("CREATE SEQUENCE _sqlx_migrations", not_a_ledger("it is not a table")),
    "ledger-index": ("CREATE TABLE t (i int); CREATE INDEX _sqlx_migrations ON t (i)", not_a_ledger("it is not a table")),
    "ledger-of-other-types": (
        LEDGER + "ALTER TABLE _sqlx_migrations ALTER version TYPE int, ALTER checksum TYPE text",
        not_a_ledger("column checksum is text, not bytea, column version is integer, not bigint"),
    ),
    "ledger-without-a-column": (
        LEDGER + "ALTER TABLE _sqlx_migrations DROP success",
        not_a_ledger("column success is missing"),
    ),
    "ledger-with-a-required-column": (
        LEDGER + "ALTER TABLE _sqlx_migrations ADD author text NOT NULL",
        not_a_ledger("column author is NOT NULL and has no default"),
    ),
    "table-without-its-key": (  # as pg_restore -t leaves it
        MIGRATION.read_text(encoding="utf-8") + "ALTER TABLE integration_events DROP CONSTRAINT integration_events_pkey",
        in_the_way("integration_events_pkey: expected PRIMARY KEY (id), found missing"),
    ),
    "table-is-a-view": (
        "CREATE VIEW integration_health AS SELECT 1 AS x",
        in_the_way("integration_health: expected table, found view"),
    ),
    "table-of-another-shape": (
        "CREATE TABLE integration_events (id int, integration_id text, event_type text, occurred_at text)",
        in_the_way("integration_events.created_at: expected timestamp with time zone DEFAULT now(), found missing and 8 more"),
    ),
    "table-with-one-more-column": (
        MIGRATION.read_text(encoding="utf-8") + "ALTER TABLE integration_health ADD region text",
        in_the_way("integration_health.region: expected no such column, found text"),
    ),
}


def test_each_ledger_or_table_that_is_something_else_fails_alone_and_stays_as_it_is(
    pyinfra: Pyinfra, database: Database, neighbour: Database
) -> None:
    made = {name: database.server.database() for name in BAD}
    for name, (sql, _) in BAD.items():
        made[name].psql(sql)
    before = {name: one.whole() for name, one in made.items()}

    result = run(pyinfra, {**{f"@postgres/{name}": one.data for name, one in made.items()}, "@postgres/healthy": neighbour.data})

    assert {name: said(result, f"@postgres/{name}") for name in BAD} == {name: [sentence] for name, (_, sentence) in BAD.items()}
    assert result.code == 1
    assert {name: one.whole() for name, one in made.items()} == before
    assert is_deployed(neighbour)


@pytest.mark.parametrize(
    "words",
    [
        ["-y", "deploy.apply"],
        ["deploy.apply"],
        ["--dry", "deploy.apply"],
        ["--dry", "--json", "deploy.apply"],
        ["--dry", "-y", "deploy.apply"],
        ["-y", "--json", "deploy.apply"],
    ],
    ids=" ".join,
)
def test_a_row_without_a_file_is_said_and_fails_the_run_without_a_terminal_and_under_every_flag(
    pyinfra: Pyinfra, database: Database, neighbour: Database, words: list[str]
) -> None:
    database.psql(LEDGER + row(5))
    before = database.dump()
    hosts = {ONE: {**database.data, "ignore_missing": False}, "@postgres/healthy": neighbour.data}

    result = run(pyinfra, hosts, *words)

    assert said(result, ONE) == [MISSING]
    assert (result.code, "EOFError" in result.out) == (1, False)
    assert database.dump() == before
    assert is_deployed(neighbour) if words[0] == "-y" else "integration_health" not in neighbour.dump()


@pytest.mark.parametrize("words", [["deploy.apply"], ["--dry", "--json", "deploy.apply"], ["-y", "deploy.apply"]], ids=" ".join)
def test_the_last_host_that_fails_ends_the_run_with_a_sentence(pyinfra: Pyinfra, database: Database, words: list[str]) -> None:
    database.psql(LEDGER + row(5))

    result = run(pyinfra, {ONE: {**database.data, "ignore_missing": False}}, *words)

    assert said(result, ONE) == [MISSING]
    assert (ended(result), result.code) == ("No hosts remaining!", 1)


@every_version
def test_a_ledger_of_a_role_that_we_can_not_act_as_names_the_role_and_the_key(
    pyinfra: Pyinfra, database: Database, neighbour: Database
) -> None:
    """Without rights; with the right to read only; with `owner` set to the role but no membership."""
    role, service = f"poor_{database.name}", f"Service {database.name}"
    poor = login(database, role)
    database.psql(LEDGER + f'CREATE ROLE "{service}"; ALTER TABLE _sqlx_migrations OWNER TO "{service}"')
    database.psql(f'GRANT CREATE, USAGE ON SCHEMA public TO "{role}", "{service}"')
    ledger = 'TABLE "public"."_sqlx_migrations"'
    before = database.dump()

    result = run(pyinfra, {ONE: poor, "@postgres/two": {**poor, "owner": service}, "@postgres/healthy": neighbour.data})

    belongs = f'ledger public._sqlx_migrations belongs to role "{service}", and "{role}" may not'
    remedy = f'run GRANT SELECT ON {ledger} TO "{role}", or set `owner` to "{service}"'
    assert said(result, ONE) == [f"{belongs} read it; {remedy}"]
    assert said(result, "@postgres/two") == [
        f'role "{role}" can\'t act as "{service}", the data key `owner`; run GRANT "{service}" TO "{role}", or set `owner`'
    ]
    assert result.code == 1
    assert database.dump() == before
    assert is_deployed(neighbour)

    database.psql(f'GRANT SELECT ON _sqlx_migrations TO "{role}"')
    result = run(pyinfra, {ONE: poor})
    remedy = f'run GRANT INSERT ON {ledger} TO "{role}", or set `owner` to "{service}"'
    assert (said(result, ONE), result.code) == ([f"{belongs} write it; {remedy}"], 1)

    database.psql(f'GRANT "{service}" TO "{role}"')  # the remedy of the second host's sentence works
    result = run(pyinfra, {ONE: {**poor, "owner": service}})
    assert result.code == 0, result.out
    assert is_deployed(database)
    assert database.psql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == service


def test_an_owner_that_does_not_exist_is_said_also_when_nothing_is_pending(pyinfra: Pyinfra, database: Database) -> None:
    assert run(pyinfra, {ONE: database.data}).code == 0

    result = run(pyinfra, {ONE: {**database.data, "owner": "ghost"}})

    want = 'role "ghost", the data key `owner`, does not exist; run CREATE ROLE "ghost", or set `owner`'
    assert (said(result, ONE), result.code) == ([want], 1)
    result = run(pyinfra, {ONE: {**database.data, "owner": "ghost"}}, "-y", "deploy.verify")
    assert [line for line in said(result, ONE) if line.startswith("violation")] == [
        "violation: _sqlx_migrations: expected owner ghost, found owner postgres",
        "violation: integration_events: expected owner ghost, found owner postgres",
        "violation: integration_health: expected owner ghost, found owner postgres",
    ]
    assert result.code == 1
