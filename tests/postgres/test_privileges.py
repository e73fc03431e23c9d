"""A role that lacks a right is told so in one sentence; what it says to run, run by a superuser, is what was missing.

Each case is a database with a login role of its own, all names hostile. A verb runs again and again; what the sentence of a
refused host says is pasted. The statements, in order, are the test.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aging import EVENTS, HEALTH
from bad import LEDGER, login, one_server, row, run, said
from conftest import MIGRATION, VERSION, Pyinfra
from neighbours import write
from servers import Database, Server

from deploy import audit

SCHEMA = 'sch"ema ü'
APP = '"sch""ema ü"'
"""The schema as SQL has it."""

OURS = MIGRATION.read_text(encoding="utf-8")
RECORDED = LEDGER + row(VERSION, checksum=hashlib.sha384(MIGRATION.read_bytes()).hexdigest())
INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_x'::regclass"
STEP = re.compile(r"; run ((?:GRANT|ALTER|CREATE) .+?)(?:, or set `\w+`.*)?$")


@dataclass(frozen=True)
class Case:
    """`setup` runs in the schema; `{role}`, `{other}` and `{database}` are quoted names, as in `wants` and `data`.

    `files` are a source of its own. `since` is the first version of PostgreSQL that can be set up so.
    """

    setup: str
    wants: tuple[str, ...]
    data: Mapping[str, object] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    options: str = ""
    since: int = 13


MAY_CREATE = f"GRANT USAGE, CREATE ON SCHEMA {APP} TO {{role}};"
MAY_USE = f"GRANT USAGE ON SCHEMA {APP} TO {{role}};"
OF_OTHER = "ALTER TABLE integration_health OWNER TO {other}; ALTER TABLE integration_events OWNER TO {other};"

APPLY: dict[str, Case] = {
    "nothing": Case(
        "ALTER ROLE {role} NOLOGIN; REVOKE CONNECT ON DATABASE {database} FROM {role}",
        (
            "ALTER ROLE {role} LOGIN",
            "GRANT CONNECT ON DATABASE {database} TO {role}",
            f"GRANT USAGE ON SCHEMA {APP} TO {{role}}",
            f"GRANT CREATE ON SCHEMA {APP} TO {{role}}",
        ),
    ),
    "schema-owner": Case(f"ALTER SCHEMA {APP} OWNER TO {{role}}", ()),
    "public": Case("GRANT USAGE ON SCHEMA public TO PUBLIC", ('GRANT CREATE ON SCHEMA "public" TO {role}',), {"schema": "public"}),
    "owner": Case(
        "DROP ROLE {other}",
        (
            "CREATE ROLE {other}",
            f"GRANT USAGE ON SCHEMA {APP} TO {{other}}",
            "GRANT {other} TO {role}",
            f"GRANT CREATE ON SCHEMA {APP} TO {{other}}",
        ),
        {"owner": "{other}"},
        options="NOINHERIT",
    ),
    "member-that-may-not-act": Case(
        f"ALTER SCHEMA {APP} OWNER TO {{other}}; GRANT {{other}} TO {{role}} WITH SET FALSE",
        ("GRANT {other} TO {role} WITH SET TRUE",),
        {"owner": "{other}"},
        since=16,
    ),
    "ledger-of-other": Case(
        MAY_CREATE + LEDGER + "ALTER TABLE _sqlx_migrations OWNER TO {other}",
        tuple(f'GRANT {right} ON TABLE {APP}."_sqlx_migrations" TO {{role}}' for right in ("SELECT", "INSERT")),
    ),
    "ledger-with-hidden-rows": Case(
        f"{MAY_CREATE} {OURS} {RECORDED} GRANT ALL ON _sqlx_migrations TO {{role}};"
        "ALTER TABLE _sqlx_migrations ENABLE ROW LEVEL SECURITY",
        (f'ALTER TABLE {APP}."_sqlx_migrations" DISABLE ROW LEVEL SECURITY',),
    ),
    "ledger-in-a-schema-of-its-own": Case(
        f"CREATE SCHEMA own; SET search_path = own; {LEDGER} GRANT ALL ON _sqlx_migrations TO {{role}}; {MAY_CREATE}",
        ('GRANT USAGE ON SCHEMA "own" TO {role}',),
        files={"sqlx.toml": '[migrate]\ntable-name = "own._sqlx_migrations"\n', "1_a.sql": "CREATE TABLE a ()"},
    ),
    "audit-trail-of-other": Case(
        MAY_CREATE + audit.create("_deploy_history"),
        (f'GRANT INSERT ON TABLE {APP}."_deploy_history" TO {{role}}',),
        {"audit": True},
    ),
    "tables-of-a-superuser": Case(
        f"{MAY_CREATE} {OURS} DROP INDEX idx_integration_events_type",
        tuple(f"ALTER TABLE {APP}.{table} OWNER TO {{role}}" for table in ("integration_health", "integration_events")),
    ),
    "tables-of-other": Case(f"{MAY_CREATE} {OURS} {OF_OTHER} DROP INDEX idx_integration_events_type", ("GRANT {other} TO {role}",)),
    "tables-of-other-that-is-not-inherited": Case(
        f"{MAY_CREATE} {OURS} {OF_OTHER} DROP INDEX idx_integration_events_type",
        ("GRANT {other} TO {role} WITH INHERIT TRUE",),
        options="NOINHERIT",
        since=16,
    ),
    "schemas-of-sqlx-toml": Case(
        MAY_CREATE,
        ("GRANT CREATE ON DATABASE {database} TO {role}",),
        files={"sqlx.toml": "[migrate]\ncreate-schemas = ['\"New one\"']\n", "1_a.sql": "CREATE TABLE a ()"},
    ),
    "no-transaction": Case(
        MAY_USE + LEDGER + "GRANT SELECT, INSERT ON _sqlx_migrations TO {role};"
        "CREATE TABLE t (x int); ALTER TABLE t OWNER TO {other}; ALTER TABLE _sqlx_migrations OWNER TO {other};"
        f"GRANT CREATE ON SCHEMA {APP} TO {{other}}",
        (f'GRANT UPDATE, DELETE ON TABLE {APP}."_sqlx_migrations" TO {{role}}', "GRANT {other} TO {role}"),
        files={"1_x.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY t_x ON t (x)"},
    ),
    "invalid-index": Case(
        f"{MAY_CREATE} {LEDGER} GRANT ALL ON _sqlx_migrations TO {{role}}; CREATE TABLE t (x int); CREATE INDEX t_x ON t (x);"
        "ALTER TABLE t OWNER TO {other};" + INVALID,
        ("GRANT {other} TO {role}",),
        {"repair_invalid_indexes": True},
        {"1_x.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS t_x ON t (x)"},
    ),
    "language": Case(
        f"ALTER SCHEMA {APP} OWNER TO {{role}}; REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
        ("GRANT USAGE ON LANGUAGE plpgsql TO {role}",),
    ),
}
"""What keeps deploy.apply from running."""

FILES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "routine": (
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION f FROM PUBLIC",
        "SELECT f(1)",
        (f"GRANT EXECUTE ON ROUTINE {APP}.f(integer) TO {{role}}",),
    ),
    "sequence": ("CREATE SEQUENCE q", "SELECT nextval('q')", (f"GRANT USAGE ON SEQUENCE {APP}.q TO {{role}}",)),
    "table": (
        'CREATE TABLE "t T" (x int PRIMARY KEY)',
        'CREATE TABLE c (x int REFERENCES "t T")',
        (f'GRANT REFERENCES ON TABLE {APP}."t T" TO {{role}}',),
    ),
    "view": (
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE c AS SELECT * FROM v",
        (f"GRANT SELECT ON TABLE {APP}.v TO {{role}}",),
    ),
    "schema": (
        'CREATE SCHEMA "o""ther"',
        'CREATE TABLE "o""ther".t ()',
        ('GRANT USAGE ON SCHEMA "o""ther" TO {role}', 'GRANT CREATE ON SCHEMA "o""ther" TO {role}'),
    ),
    "database": ("", "CREATE SCHEMA extra", ("GRANT CREATE ON DATABASE {database} TO {role}",)),
    "temporary": ("", "CREATE TEMPORARY TABLE x ()", ("GRANT TEMPORARY ON DATABASE {database} TO {role}",)),
    "function-of-other": (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "COMMENT ON FUNCTION f() IS 'one'",
        (f"ALTER ROUTINE {APP}.f() OWNER TO {{role}}",),
    ),
    "schema-of-other": (
        "CREATE SCHEMA theirs; ALTER SCHEMA theirs OWNER TO {other}",
        "COMMENT ON SCHEMA theirs IS 'one'",
        ("GRANT {other} TO {role}",),
    ),
    "role": ("GRANT USAGE ON SCHEMA public TO {other}", "SET LOCAL ROLE {other}", ("GRANT {other} TO {role}",)),
}
"""What a file may not do: setup, the file, the statements."""

REVERT: dict[str, Case] = {
    "of-other": Case(
        f"{MAY_USE} {OURS} {OF_OTHER} {RECORDED} GRANT SELECT ON _sqlx_migrations TO {{role}}",
        (f'GRANT DELETE ON TABLE {APP}."_sqlx_migrations" TO {{role}}', "GRANT {other} TO {role}"),
    ),
    "schema-owner-that-may-not-see-whether-a-table-is-empty": Case(
        f"{OURS} {RECORDED} ALTER SCHEMA {APP} OWNER TO {{role}}; GRANT SELECT, DELETE ON _sqlx_migrations TO {{role}}",
        tuple(f"GRANT SELECT, UPDATE ON TABLE {APP}.{table} TO {{role}}" for table in ("integration_events", "integration_health")),
    ),
}

ADOPT: dict[str, Case] = {
    "into-a-ledger": Case(
        MAY_USE + OURS + LEDGER,
        tuple(f'GRANT {right} ON TABLE {APP}."_sqlx_migrations" TO {{role}}' for right in ("SELECT", "INSERT")),
    ),
    "without-a-ledger": Case(MAY_USE + OURS, (f"GRANT CREATE ON SCHEMA {APP} TO {{role}}",)),
    "another-checksum": Case(
        MAY_USE + OURS + LEDGER + row(VERSION) + "GRANT SELECT ON _sqlx_migrations TO {role}",
        (f'GRANT UPDATE ON TABLE {APP}."_sqlx_migrations" TO {{role}}',),
    ),
}

PURGE: dict[str, Case] = {
    "nothing": Case(
        f"{OURS} {EVENTS.format(days=100)}",
        (
            f"GRANT USAGE ON SCHEMA {APP} TO {{role}}",
            f'GRANT SELECT, UPDATE, DELETE ON TABLE {APP}."integration_events" TO {{role}}',
            f'GRANT SELECT ON TABLE {APP}."integration_health" TO {{role}}',
        ),
    ),
    "hidden-rows-and-health": Case(
        f"{MAY_USE} {OURS} {EVENTS.format(days=100)}; {HEALTH}; ALTER TABLE integration_events ENABLE ROW LEVEL SECURITY;"
        "GRANT SELECT, UPDATE, DELETE ON integration_events TO {role}; GRANT SELECT ON integration_health TO {role}",
        (
            f'ALTER TABLE {APP}."integration_events" DISABLE ROW LEVEL SECURITY',
            f'GRANT UPDATE, DELETE ON TABLE {APP}."integration_health" TO {{role}}',
        ),
        {"health_retention_days": 90},
    ),
    "owner-of-another-team": Case(
        f"{MAY_USE} {OURS} {EVENTS.format(days=100)}; GRANT SELECT, UPDATE, DELETE ON integration_events TO {{role}};"
        "GRANT SELECT ON integration_health TO {role}",
        (),
        {"owner": "{other}"},
    ),
}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Made:
    database: Database
    data: dict[str, object]
    wants: list[str]

    def dump(self) -> str:
        """Everything but the rights and row security, which is what a superuser's statements change."""
        arguments = ("--inserts", "--no-privileges", "--no-owner", self.database.name)
        lines = self.database.server.client("pg_dump", *arguments).splitlines()
        return "\n".join(line for line in lines if line and not re.match(r"--|\\(un)?restrict|ALTER TABLE .* ROW LEVEL", line))


Make = Callable[[Mapping[str, Case]], dict[str, Made]]


@pytest.fixture
def make(server: Server, database: Database, tmp_path: Path) -> Make:
    """Databases, roles and sources for cases."""

    def one(number: int, case: Case) -> Made:
        name = f'd"b ü {number} {database.name}'
        server.client("psql", "-Xqc", f"CREATE DATABASE {quoted(name)}", "postgres")
        made = Database(server, name)
        role, other = f"ro'l\"e {number} {database.name}", f'Oth"er {number} {database.name}'
        data = {**login(made, role, options=case.options), "schema": SCHEMA}
        if case.files:
            source = write(tmp_path / str(number) / "migrations", {k: v for k, v in case.files.items() if k != "sqlx.toml"})
            write(source.parent, {k: v for k, v in case.files.items() if k == "sqlx.toml"})
            data["migrations"] = str(source)
        names = {"{role}": quoted(role), "{other}": quoted(other), "{database}": quoted(name)}

        def named(text: str) -> str:
            for placeholder, value in names.items():
                text = text.replace(placeholder, value)
            return text

        if case.files:
            for file in source.iterdir():
                file.write_text(named(file.read_text(encoding="utf-8")), encoding="utf-8")
        made.psql(
            named(
                "CREATE ROLE {other}; REVOKE ALL ON DATABASE {database} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC;"
                f"GRANT CONNECT ON DATABASE {{database}} TO {{role}}; CREATE SCHEMA {APP}; SET search_path = {APP}; {case.setup}"
            )
        )
        data |= {key: other if value == "{other}" else value for key, value in case.data.items()}
        return Made(made, data, [named(statement) for statement in case.wants])

    def all_of(cases: Mapping[str, Case]) -> dict[str, Made]:
        version = int(database.psql("SHOW server_version_num")) // 10000
        return {name: one(number, case) for number, (name, case) in enumerate(cases.items()) if case.since <= version}

    return all_of


def through(pyinfra: Pyinfra, cases: Mapping[str, Made], *words: str) -> None:
    """Run until no host is refused; a refused one says one statement, has changed nothing, and gets what it asked for."""
    before = {name: made.dump() for name, made in cases.items()}
    told: dict[str, list[str]] = {name: [] for name in cases}
    left = dict(cases)
    while left:
        result = run(pyinfra, {f"@postgres/{name}": made.data for name, made in left.items()}, *words)
        for name, made in list(left.items()):
            steps = [match[1] for line in said(result, f"@postgres/{name}") if (match := STEP.search(line))]
            if not steps:
                assert "Error: executed" not in "".join(result.lines(f"@postgres/{name}")), result.out
                del left[name]
                continue
            assert len(steps) == 1, result.out
            assert steps[0] not in told[name], result.out
            told[name] += steps
            assert made.dump() == before[name], name
            made.database.psql(steps[0])
    assert told == {name: made.wants for name, made in cases.items()}, result.out
    assert result.code == 0, result.out


def test_what_keeps_a_role_from_deploying_is_said_with_the_statement_that_allows_it(pyinfra: Pyinfra, make: Make) -> None:
    """A role that owns the schema, and nothing else, needs nothing."""
    cases = make(APPLY)
    through(pyinfra, cases, "-y", "deploy.apply")
    again = run(pyinfra, {f"@postgres/{name}": made.data for name, made in cases.items()})
    assert (again.code, again.change("Migrate"), again.change("Verify")) == (0, "no change", "no change"), again.out


def test_what_a_file_may_not_do_is_said_with_the_statement_that_allows_it(pyinfra: Pyinfra, make: Make) -> None:
    cases = {name: Case(f"{MAY_CREATE} {setup}", wants, files={"1_x.sql": sql}) for name, (setup, sql, wants) in FILES.items()}
    through(pyinfra, make(cases), "-y", "deploy.apply")


@one_server
def test_what_keeps_a_role_from_reverting_is_said_with_the_statement_that_allows_it(pyinfra: Pyinfra, make: Make) -> None:
    cases = make(REVERT)
    through(pyinfra, cases, "-y", "deploy.revert")
    for made in cases.values():
        assert made.database.psql(f"TABLE {APP}._sqlx_migrations") == ""


@one_server
def test_what_keeps_a_role_from_adopting_is_said_with_the_statement_that_allows_it(pyinfra: Pyinfra, make: Make) -> None:
    """It needs no right to create beside a ledger that is there."""
    cases = make(ADOPT)
    through(pyinfra, cases, "-y", "deploy.adopt", "replace_checksum=true")
    for made in cases.values():
        assert made.database.psql(f"TABLE {APP}._sqlx_migrations").startswith(f"{VERSION}|")


@one_server
def test_what_keeps_a_role_from_purging_is_said_with_the_statement_that_allows_it(pyinfra: Pyinfra, make: Make) -> None:
    """A role that can't act as the owner uses what it was granted itself."""
    cases = make(PURGE)
    through(pyinfra, cases, "-y", "deploy.purge")
    for made in cases.values():
        assert made.database.psql(f"TABLE {APP}.integration_events").count("booking_loss") == 89


@one_server
def test_a_statement_of_exec_that_is_refused_names_the_grant_too(pyinfra: Pyinfra, make: Make) -> None:
    made = make({"one": Case(f"{MAY_USE} CREATE TABLE t ()", ())})["one"]
    role = quoted(str(made.data["postgres_user"]))
    result = run(pyinfra, {"@postgres/one": made.data}, "exec", "--", f"TABLE {APP}.t")
    want = f"42501: ERROR: permission denied for table t; run GRANT SELECT ON TABLE {APP}.t TO {role}"
    assert want in said(result, "@postgres/one"), result.out
