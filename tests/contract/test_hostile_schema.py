"""Reading a catalog runs nothing of the schema that is read, though names are spelt as if that were on the search_path."""

from __future__ import annotations

import re
from itertools import product

import pytest
from support import catalogs
from support.project import MIGRATION
from support.servers import Database
from support.sessions import session
from support.versions import every_version

from deploy.plan import catalogs as product_catalogs
from deploy.source import contracts, sql_templates

pytestmark = pytest.mark.everything

TYPES = ("text", "name", "oid", "integer", "bigint", "smallint", "boolean", "text[]", "name[]", '"char"', "jsonb", "regclass")


def overloads(database: Database, sql: str) -> list[str]:
    """Statements that make a function and an operator of every name in `sql`, each for types that suit a call better."""
    words = set(re.findall(r"\b[a-z_][a-z0-9_]*(?=\()", sql))
    known = sorted(words & set(database.psql("SELECT DISTINCT proname FROM pg_proc").split()))
    body = "RETURNS {} LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$"
    made = []
    for name in known:
        for count in (1, 2, 3):
            for types in product(TYPES[:4], repeat=count):
                made.append(f'CREATE FUNCTION "{name}"({", ".join(types)}) {body.format("text")}')
        made.append(f'CREATE FUNCTION "{name}"(VARIADIC text[]) {body.format("text")}')
    for left, right in product(TYPES, repeat=2):
        made.append(f"CREATE FUNCTION planted({left}, {right}) {body.format('boolean')}")
        for operator in ("=", "<>", ">", ">=", "||", "->>", "+"):
            made.append(f"CREATE OPERATOR {operator} (FUNCTION = planted, LEFTARG = {left}, RIGHTARG = {right})")
    return made


@every_version
def test_overloads_planted_in_the_schema_are_never_called_and_change_no_spelling(database: Database) -> None:
    database.psql(
        """CREATE TABLE t (id int PRIMARY KEY, a text DEFAULT lower('A') || 'b', b text, CHECK (a <> 'x' AND length(a) > 0));
        CREATE INDEX ON t (lower(a), (a || b)) WHERE b IS NOT NULL; CREATE VIEW v AS SELECT a || b AS c, count(*) FROM t GROUP BY 1;
        CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING; CREATE TYPE e AS ENUM ('x');
        CREATE DOMAIN d AS text CHECK (value <> '')"""
    )
    question = product_catalogs.ask_all("public", [], [catalogs.LEDGER], has_privileges=True)
    with session(database) as connection:
        before = catalogs.catalog(connection, question)
        planted = overloads(database, question)
        assert len(planted) > 2000
        connection.execute(";\n".join(planted).encode())
        # as an operator's or a service's own setting may have it
        connection.execute("SET search_path = public, pg_catalog")
        after = catalogs.catalog(connection, question)
        assert connection.execute("SHOW search_path").fetchone() == ("public, pg_catalog",)
    kinds = {"function", "operator"}
    told = [one for one in after.objects if one.kind not in {*kinds, "owner", "grant"}]
    assert told == [one for one in before.objects if one.kind not in {*kinds, "owner", "grant"}]


def test_the_packaged_contract_holds_beside_planted_overloads(database: Database) -> None:
    contract = contracts.read(sql_templates.folder() / "contract" / "20260111030835.toml")
    database.psql(MIGRATION.read_text(encoding="utf-8"))
    question = product_catalogs.ask([contract], "public", [])
    database.psql(";\n".join(overloads(database, question)))
    assert catalogs.violations(database, contract) == []
