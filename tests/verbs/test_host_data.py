"""Data of hosts: what is ill-typed or misspelt refuses the run, and every name that Postgres takes is one for us."""

from __future__ import annotations

from support.operator import Pyinfra, ended, is_deployed, run, said
from support.servers import Database, login


def test_an_ill_typed_value_refuses_the_run_before_any_connection(pyinfra: Pyinfra, database: Database) -> None:
    """Also of a host that is never reached: no host was connected to, as the server's log says."""
    log = database.server.log
    before = log.read_text(encoding="utf-8", errors="replace").count(database.name)

    result = run(pyinfra, {"@postgres/good": database.data, "@postgres/bad": {**database.data, "query_budget_ms": "fast"}})

    assert ended(result) == "@postgres/bad: invalid value 'fast' for data key 'query_budget_ms': expected an integer"
    assert result.code == 1
    assert log.read_text(encoding="utf-8", errors="replace").count(database.name) == before


def test_a_misspelt_connection_key_is_refused_with_the_nearest_name_and_without_its_value(
    pyinfra: Pyinfra, database: Database
) -> None:
    before = database.dump()

    result = run(pyinfra, {"@postgres/good": database.data, "@postgres/bad": {**database.data, "postgres_pasword": "s3cr3t"}})

    assert ended(result) == "@postgres/bad: unknown data key 'postgres_pasword'; did you mean 'postgres_password'?"
    assert "s3cr3t" not in result.out
    assert result.code == 1
    assert database.dump() == before


def test_keys_that_are_not_ours_are_none_of_our_business(pyinfra: Pyinfra, database: Database) -> None:
    result = run(pyinfra, {"@postgres/one": {**database.data, "query_budget": "fast", "nginx_port": 80}})

    assert result.code == 0, result.out
    assert is_deployed(database)


NAMES = [
    'a"b',
    "x'; DROP TABLE y; --",
    "a" * 63,
    "ü🦀",
    "$$",
    "$ledger$",
    "a\\b",
    "{{ x }}",
    "{% raw %}",
    "%s",
    ":x",
    "sel ect",
    "a USING b",
    "Ü;",
]


def test_a_hostile_schema_name_is_deployed_right(pyinfra: Pyinfra, database: Database, neighbour: Database) -> None:
    """All of them in one database, each with its own two tables and ledger; the same dump but for the name."""
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in NAMES}
    database.psql("\n".join(f"CREATE SCHEMA {schema};" for schema in quoted.values()))
    database.psql("CREATE TABLE public.y ();")
    hosts = {f"@postgres/{number:02}": {**database.data, "schema": name} for number, name in enumerate(NAMES)}

    result = run(pyinfra, {**hosts, "@postgres/neighbour": neighbour.data})

    assert result.code == 0, result.out
    found = database.psql("SELECT nspname, count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace GROUP BY 1")
    for name in NAMES:
        assert f"{name}|12" in found.splitlines()  # 3 tables, their 4 keys' indexes, 5 indexes
    assert database.psql("SELECT to_regclass('public.y'), to_regclass('public._sqlx_migrations')") == "y|"
    again = run(pyinfra, hosts)
    assert (again.code, again.change("Migrate")) == (0, "no change")


def test_a_schema_that_is_not_there_or_not_for_us_fails_alone(pyinfra: Pyinfra, database: Database, neighbour: Database) -> None:
    name = database.name
    poor = login(database, f"poor_{name}")
    role = poor["postgres_user"]
    database.psql("REVOKE ALL ON SCHEMA public FROM public; CREATE SCHEMA locked; CREATE SCHEMA readable;")
    database.psql(f'GRANT USAGE ON SCHEMA readable TO "{role}"')
    cases: dict[str, tuple[dict[str, object], str]] = {
        "absent": (
            {**database.data, "schema": 'ab"sent'},
            f'schema "ab"sent" does not exist in database "{name}"; '
            'run CREATE SCHEMA "ab""sent" there, or set `schema` to one that exists',
        ),
        "temporary": (
            {**database.data, "schema": "pg_temp"},
            f'schema "pg_temp" does not exist in database "{name}"; '
            'run CREATE SCHEMA "pg_temp" there, or set `schema` to one that exists',
        ),
        "no-usage": (
            {**poor, "schema": "locked"},
            f'role "{role}" may not use schema "locked" of database "{name}"; run GRANT USAGE ON SCHEMA "locked" TO "{role}"',
        ),
        "no-create": (
            {**poor, "schema": "readable"},
            f'role "{role}" may not create in schema "readable" of database "{name}"; '
            f'run GRANT CREATE ON SCHEMA "readable" TO "{role}"',
        ),
        "no-owner": (
            {**database.data, "owner": "gh'o\"st"},
            'role "gh\'o"st", the data key `owner`, does not exist; run CREATE ROLE "gh\'o""st", or set `owner`',
        ),
        "other-owner": (
            {**poor, "owner": "postgres", "schema": "readable"},
            f'role "{role}" can\'t act as "postgres", the data key `owner`; run GRANT "postgres" TO "{role}", or set `owner`',
        ),
    }
    before = database.dump()

    result = run(pyinfra, {**{f"@postgres/{n}": d for n, (d, _) in cases.items()}, "@postgres/healthy": neighbour.data})

    assert {n: said(result, f"@postgres/{n}") for n in cases} == {n: [sentence] for n, (_, sentence) in cases.items()}
    assert result.code == 1
    assert database.dump() == before
    assert is_deployed(neighbour)
