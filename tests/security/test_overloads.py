"""Names in our SQL lead to pg_catalog: nothing that anybody planted on a search_path is called, by any verb, on any server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import planted
from support.calls import seen, traced
from support.files import write
from support.operator import Hosts, Pyinfra, Result, run, said
from support.project import MIGRATION
from support.purge_data import EVENTS, HEALTH
from support.servers import SUPERUSER, Database, Server
from support.sessions import session
from support.sqlx import LEDGER, row
from support.versions import every_version

OURS = MIGRATION.read_text(encoding="utf-8")


@every_version
def test_a_role_that_may_only_log_in_gets_nothing_from_a_superuser_who_deploys(database: Database, pyinfra: Pyinfra) -> None:
    planted.admit(database)
    role, file = f"mallory_{database.name}", database.server.folder / f"taken_{database.name}"
    database.psql(f"CREATE ROLE {role} LOGIN")
    steps = "".join(
        f"BEGIN EXECUTE $${step}$$; EXCEPTION WHEN OTHERS THEN NULL; END; "
        for step in (f"ALTER ROLE {role} SUPERUSER", f"COPY (SELECT 1) TO PROGRAM 'touch {file}'")
    )
    concat = "".join(
        f"""CREATE FUNCTION concat_ws(text, {types}) RETURNS text LANGUAGE plpgsql AS $_$
            BEGIN {steps} RETURN pg_catalog.concat_ws($1, {values}); END $_$;"""
        for types, values in (
            ("text, text, text, text, text", "$2, $3, $4, $5, $6"),
            ("text, text, text, text, text, text", "$2, $3, $4, $5, $6, $7"),
        )
    )
    database.psql(
        f"""SET search_path = public; {concat}
        CREATE FUNCTION joined(text, integer) RETURNS text LANGUAGE plpgsql AS $_$
            BEGIN {steps} RETURN $1 OPERATOR(pg_catalog.||) $2::text; END $_$;
        CREATE OPERATOR || (FUNCTION = joined, LEFTARG = text, RIGHTARG = integer);""",
        user=role,
    )
    codes = [run(pyinfra, {"@postgres/victim": database.data}, "-y", verb).code for verb in ("deploy.apply", "deploy.verify")]
    assert database.psql(f"SELECT rolsuper FROM pg_roles WHERE rolname = '{role}'") == "f"
    assert not file.exists()
    assert codes == [0, 0]


@every_version
def test_a_planted_function_hides_no_drift(database: Database, pyinfra: Pyinfra) -> None:
    assert run(pyinfra, {"@postgres/victim": database.data}).code == 0
    planted.admit(database)
    database.psql(
        """SET search_path = public;
        CREATE FUNCTION concat_ws(text, text, text, text, text, text) RETURNS text LANGUAGE sql
            AS $$ SELECT 'character varying(20) NOT NULL' $$""",
        user=planted.MALLORY,
    )
    database.psql("ALTER TABLE integration_health ALTER status TYPE text")
    ran = run(pyinfra, {"@postgres/victim": database.data}, "-y", "deploy.verify")
    assert ran.code == 1
    violation = "violation: integration_health.status: expected character varying(20) NOT NULL, found text NOT NULL"
    assert violation in said(ran, "@postgres/victim")


SOURCE = {
    "sqlx.toml": "[migrate]\ncreate-schemas = ['extra']\n",
    "1_table.up.sql": "CREATE TABLE a (x int)",
    "1_table.down.sql": "DROP TABLE a",
    "2_index.up.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY a_x ON a (x)",
    "2_index.down.sql": "-- no-transaction\nDROP INDEX CONCURRENTLY a_x",
}
PURGE = "-y deploy.purge days=1 health_retention_days=1"
BROKEN = {
    "1_broken.sql": "CREATE TABLE b (x int); CREATE TABLE b (x int)",
    "2_never.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY nowhere ON nothing (x)",
}
HALF = {"1_half.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY nowhere ON nothing (x)"}


@contextmanager
def fleet(server: Server, folder: Path, base: Database) -> Iterator[tuple[dict[str, Database], Hosts]]:
    """Databases in every state that leads to a message of its own, and the data of their hosts."""
    names = ("plain", "audited", "there", "recorded", "foreign", "broken", "half")
    databases = {name: server.database(like=base) for name in names}
    aged = f"{OURS} {EVENTS.format(days=3)}; {HEALTH}"
    databases["plain"].psql(aged)
    databases["foreign"].psql(aged)
    databases["there"].psql(OURS)
    databases["recorded"].psql(OURS + LEDGER + row(20260111030835))
    more: dict[str, dict[str, object]] = {
        "audited": {"audit": True, "owner": SUPERUSER, "variables": {"a": "b"}},
        "foreign": {"migrations": str(write(folder / "foreign", SOURCE)), "audit": True},
        "broken": {"migrations": str(write(folder / "broken", BROKEN))},
        "half": {"migrations": str(write(folder / "half", HALF))},
    }
    hosts = {f"@postgres/{name}": {**one.data, **more.get(name, {})} for name, one in databases.items()}
    yield databases, {name: {**data, "lock_wait": "300ms"} for name, data in hosts.items()}
    for one in databases.values():
        one.drop()


def every_verb(pyinfra: Pyinfra, databases: dict[str, Database], hosts: Hosts, *, dry: bool) -> dict[str, Result]:
    """Run them all, with `dry` their plans too, in an order that leaves each something to do."""
    done: dict[str, Result] = {}

    def do(*words: str, only: tuple[str, ...] = ()) -> None:
        if "--dry" in words and not dry:
            return
        chosen = {name: data for name, data in hosts.items() if not only or name.removeprefix("@postgres/") in only}
        done[" ".join([*only, *words])] = run(pyinfra, chosen, *words)

    do("fact", "deploy.facts.Status")
    do("--dry", "deploy.adopt", only=("there", "recorded"))
    do("-y", "deploy.adopt", only=("there", "recorded"))
    do("-y", "deploy.adopt", "replace_checksum=true", only=("recorded",))
    do("--dry", "deploy.apply")
    do("-y", "deploy.apply")
    do("-y", "deploy.verify", "probe_rows=20")
    do("-y", "deploy.contract", "out=contract", only=("plain",))
    do("exec", "--", "SELECT 1")
    do("--dry", "deploy.purge", "days=1", "health_retention_days=1")
    with session(databases["plain"]) as holder:
        holder.execute("BEGIN; SELECT FROM public.integration_events ORDER BY occurred_at LIMIT 1 FOR UPDATE")
        do("-y", "deploy.purge", "days=1", "health_retention_days=1")
    do("--dry", "deploy.revert")
    do("-y", "deploy.revert")
    do("-y", "deploy.revert", "to=0", "allow_data_loss=true", only=("plain", "audited", "foreign"))
    return done


@every_version
@pytest.mark.everything
@pytest.mark.timeout(900)
def test_no_overload_of_anything_that_our_sql_calls_is_ever_called(server: Server, pyinfra: Pyinfra, tmp_path: Path) -> None:
    """Every function, aggregate and operator, for the argument types of each call; every catalog and type by its name."""
    base = server.database()
    with fleet(server, tmp_path, base) as (databases, hosts):
        for one in databases.values():
            traced(one)
        clean = every_verb(pyinfra, databases, hosts, dry=False)
        applied, reverted = clean["-y deploy.apply"], clean["plain audited foreign -y deploy.revert to=0 allow_data_loss=true"]
        assert len([line for line in said(applied, "@postgres/foreign") if line.startswith("applied ")]) == 2, applied.out
        assert {clean[words].code for words in ("plain -y deploy.contract out=contract", "exec -- SELECT 1")} == {0}
        assert reverted.code == 0, reverted.out
        assert any(line.startswith("deleted ") for line in said(clean[PURGE], "@postgres/foreign")), clean[PURGE].out
        what = seen(databases.values())
    assert len(what.calls) > 100 and "pg_attribute" in what.relations
    assert planted.overload(base, what) > len(what.calls)
    with fleet(server, tmp_path, base) as (databases, hosts):
        for one in databases.values():
            planted.mislead(one)
        hostile = every_verb(pyinfra, databases, hosts, dry=True)
        called = {f"{name}: {call}" for name, one in databases.items() for call in planted.called(one)}
    base.drop()
    assert sorted(called) == []
    assert {words: hostile[words].code for words in clean} == {words: one.code for words, one in clean.items()}
