"""Ill-typed data, misspelt keys, unknown words: the run is refused in one sentence and nothing is written anywhere."""

from __future__ import annotations

import pytest
from bad import ended, is_deployed, login, run, said
from conftest import Pyinfra
from servers import Database
from versions import one_server

from deploy.errors import Refused
from deploy.settings import read

TIME = "expected a time such as '2s', '500ms' or 0"
KNOWN = (
    "audit, batch_rows, checks, health_retention_days, ignore_missing, lock_timeout, lock_wait, "
    "migrations, owner, probe_rows, query_budget_ms, repair_invalid_indexes, replay_wait, report, retention_days, schema, "
    "secret_variables, statement_timeout, variables"
)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("query_budget_ms", "fast", "'fast' is not usable: expected a valid integer"),
        ("query_budget_ms", True, "True is not usable: expected a valid integer"),
        ("query_budget_ms", 0, "0 is not usable: expected greater than or equal to 1"),
        ("wave", -1, "-1 is not usable: expected greater than or equal to 0"),
        ("wave", "1", "'1' is not usable: expected a valid integer"),
        ("probe_rows", 1.5, "1.5 is not usable: expected a valid integer"),
        ("max_connections_per_server", 0, "0 is not usable: expected greater than or equal to 1"),
        ("lock_wait", "5 parsecs", f"'5 parsecs' is not usable: {TIME}"),
        ("lock_timeout", True, f"True is not usable: {TIME}"),
        ("statement_timeout", -1, f"-1 is not usable: {TIME}"),
        ("statement_timeout", "30d", "'30d' is not usable: expected a time of at most 24 days"),
        ("lock_wait", [], f"[] is not usable: {TIME}"),
        ("audit", "yes", "'yes' is not usable: expected a valid boolean"),
        ("ignore_missing", 1, "1 is not usable: expected a valid boolean"),
        ("schema", 5, "5 is not usable: expected text"),
        ("schema", "", "'' is not usable: expected a name of 1 to 63 bytes, got 0"),
        ("schema", "ü" * 32, f"{'ü' * 32!r} is not usable: expected a name of 1 to 63 bytes, got 64"),
        ("schema", "a\0b", "'a\\x00b' is not usable: expected a name without control characters"),
        ("schema", "a\nb", "'a\\nb' is not usable: expected a name without control characters"),
        ("owner", "o" * 64, f"{'o' * 64!r} is not usable: expected a name of 1 to 63 bytes, got 64"),
        ("migrations", "", "'' is not usable: expected at least 1 character"),
        ("checks", 7, "7 is not usable: expected a valid string"),
        ("postgres_port", "x", "'x' is not usable: expected a valid integer"),
        ("postgres_port", 70000, "70000 is not usable: expected less than or equal to 65535"),
        ("postgres_password", 5, "that value is not usable: expected a valid string"),
        ("postgres_conninfo", 5, "that value is not usable: expected a valid string"),
    ],
)
def test_an_ill_typed_value_is_refused_by_host_key_and_value(key: str, value: object, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        read("@postgres/one", {key: value})
    assert str(refused.value) == f"@postgres/one: data key {key!r}: {reason}"


@one_server
def test_an_ill_typed_value_refuses_the_run_before_any_connection(pyinfra: Pyinfra, database: Database) -> None:
    """Also of a host that is never reached: no host was connected to, as the server's log says."""
    log = database.server.log
    before = log.read_text(encoding="utf-8", errors="replace").count(database.name)

    result = run(pyinfra, {"@postgres/good": database.data, "@postgres/bad": {**database.data, "query_budget_ms": "fast"}})

    assert ended(result) == "@postgres/bad: data key 'query_budget_ms': 'fast' is not usable: expected a valid integer"
    assert result.code == 1
    assert log.read_text(encoding="utf-8", errors="replace").count(database.name) == before


@one_server
@pytest.mark.parametrize(
    ("key", "nearest"),
    [("postgres_hots", "postgres_host"), ("postgres_pasword", "postgres_password")],
)
def test_a_misspelt_connection_key_is_refused_with_the_nearest_name(
    pyinfra: Pyinfra, database: Database, key: str, nearest: str
) -> None:
    before = database.dump()

    result = run(pyinfra, {"@postgres/good": database.data, "@postgres/bad": {**database.data, key: "s3cr3t"}})

    assert ended(result) == f"@postgres/bad: unknown data key {key!r}; did you mean {nearest!r}?"
    assert "s3cr3t" not in result.out
    assert result.code == 1
    assert database.dump() == before


@one_server
def test_keys_that_are_not_ours_are_none_of_our_business(pyinfra: Pyinfra, database: Database) -> None:
    result = run(pyinfra, {"@postgres/one": {**database.data, "query_budget": "fast", "nginx_port": 80}})

    assert result.code == 0, result.out
    assert is_deployed(database)


@one_server
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["foo=1"], f"deploy.apply: unknown argument 'foo'; use one of {KNOWN}"),
        (["shcema=x"], "deploy.apply: unknown argument 'shcema'; use one of schema"),
        (["foo"], f"deploy.apply: 'foo' is no argument; write KEY=VALUE, with one of {KNOWN}"),
        (["schema=public", "schema"], f"deploy.apply: 'schema' is no argument; write KEY=VALUE, with one of {KNOWN}"),
        (["postgres_port=5"], "deploy.apply: 'postgres_port' says where a host is; set it in the inventory"),
        (["query_budget_ms=fast"], "@postgres/one: data key 'query_budget_ms': 'fast' is not usable: expected a valid integer"),
    ],
)
def test_unknown_words_and_arguments_of_a_verb_are_refused(
    pyinfra: Pyinfra, database: Database, words: list[str], sentence: str
) -> None:
    before = database.dump()

    result = run(pyinfra, {"@postgres/one": database.data}, "-y", "deploy.apply", *words)

    assert (ended(result), result.code) == (sentence, 1)
    assert database.dump() == before


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


@one_server
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
