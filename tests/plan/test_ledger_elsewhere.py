"""A search_path that was changed after the first deploy must not lead to a second ledger; many ledgers fit on one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.files import write
from support.observations import EMPTY, with_ledger
from support.operator import Pyinfra
from support.servers import Database
from support.sqlx import HOST, deploy, ledger

from deploy.plan import pending
from deploy.plan.target import Targets

SOURCE = {"1_a.sql": "CREATE TABLE public.t (n int)", "2_b.up.sql": "INSERT INTO public.t VALUES (1)", "2_b.down.sql": "SELECT 1"}


@pytest.mark.parametrize("whose", ["DATABASE {database}", "ROLE postgres IN DATABASE {database}"])
def test_a_search_path_that_leads_away_from_the_ledger_is_refused_with_the_key_that_chooses(
    pyinfra: Pyinfra, database: Database, tmp_path: Path, whose: str
) -> None:
    source = str(write(tmp_path / "migrations", SOURCE))
    assert deploy(pyinfra, database, "deploy.apply", migrations=source).code == 0
    database.psql(f"CREATE SCHEMA app; ALTER {whose.format(database=database.name)} SET search_path = app")
    want = (
        'this database has ledger "public"."_sqlx_migrations", and the search_path of role "postgres" leads to schema "app", where '
        'a second one would be made and every file run again; set `schema` to "public" to go on there, or to "app" to begin a '
        "ledger of its own"
    )
    for words in (("deploy.apply",), ("--dry", "deploy.apply"), ("deploy.revert",)):
        got = deploy(pyinfra, database, *words, migrations=source)
        assert got.code == 1
        assert want in got.lines(HOST), got.out
    assert database.psql("SELECT count(*) FROM public.t; SELECT to_regclass('app._sqlx_migrations')") == "1"
    again = deploy(pyinfra, database, "deploy.apply", migrations=source, schema="public")
    assert (again.code, again.change("Migrate")) == (0, "no change")
    fresh = write(tmp_path / "fresh", {"1_c.sql": "CREATE TABLE c ()"})
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(fresh), schema="app").code == 0
    assert len(ledger(database, "app._sqlx_migrations")) == 1


def test_of_many_ledgers_three_are_named() -> None:
    ours = Targets().resolve("@postgres/h", {})
    schemas = tuple(f"tenant_{n:03}" for n in range(400))
    many = replace(with_ledger(), ledger_schemas=schemas)
    assert (
        'this database holds 400 ledgers, in schemas tenant_000, tenant_001, tenant_002 and 397 more; "public"."_sqlx_migrations" '
        "is used"
    ) in pending.plan(ours, many).notes
    role_path = replace(ours, settings=replace(ours.settings, schema=None))
    problem = pending.plan(role_path, replace(EMPTY, ledger_schemas=schemas)).problem
    assert problem is not None
    assert '"tenant_002"."_sqlx_migrations" and 397 more, and the search_path' in problem.text
