"""The audit trail: none unasked; with audit=true who rendered what from which variables, in the same transaction."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path

from support.files import write
from support.operator import Pyinfra
from support.servers import Database
from support.sqlx import deploy, ledger, sqlx

from deploy.plan import history

TEMPLATE = "CREATE TABLE t (v text DEFAULT {{ note | literal }}); -- {{ region | literal }} {{ db_password | literal }}\n"
VARIABLES = {"note": "one", "region": "europe", "db_password": "hunter2"}


def test_no_table_unasked(pyinfra: Pyinfra, database: Database) -> None:
    assert deploy(pyinfra, database, "deploy.apply").code == 0
    assert database.psql("SELECT to_regclass('_deploy_history')") == ""


def test_each_version_is_recorded_with_what_it_was_made_of(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    files = {
        "1_t.up.sql.j2": TEMPLATE,
        "1_t.down.sql": "DROP TABLE t",
        "2_i.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON t (v)",
    }
    source = write(tmp_path / "migrations", files)
    data = {"migrations": str(source), "variables": VARIABLES, "secret_variables": ["region"], "audit": True}
    got = deploy(pyinfra, database, "deploy.apply", **data)
    assert got.code == 0, got.out
    rows = json.loads(
        database.psql(
            "SELECT json_agg(json_build_array(h.version, action, template_sha256, h.checksum = l.checksum, variables, "
            "tool_version, database_role, client_user <> '', client_host, recorded_at > now() - interval '1 minute') ORDER BY id) "
            "FROM _deploy_history h JOIN _sqlx_migrations l USING (version)"
        )
    )
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in (TEMPLATE, files["2_i.sql"])]
    tail = [True, {"note": "one"}, "0.1.0", "postgres", True, socket.gethostname(), True]
    assert rows == [[1, "apply", hashes[0], *tail], [2, "apply", hashes[1], *tail]]
    assert "hunter2" not in database.psql("TABLE _deploy_history")
    again = deploy(pyinfra, database, "deploy.apply", **data)
    assert (again.code, again.change("Migrate")) == (0, "no change")
    assert database.psql("SELECT count(*) FROM _deploy_history") == "2"
    (source / "2_i.sql").rename(source / "2_i.up.sql")
    write(source, {"2_i.down.sql": "DROP INDEX i"})
    assert deploy(pyinfra, database, "deploy.revert", "to=0", **data).code == 0
    assert database.psql("SELECT version, action FROM _deploy_history ORDER BY id OFFSET 2") == "2|revert\n1|revert"


def test_a_failed_file_leaves_no_row_in_the_trail(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": "CREATE TABLE a ()", "2_b.sql": "SELECT 1/0"})
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source), audit=True).code == 1
    assert database.psql("SELECT version FROM _deploy_history") == "1"


def test_the_ledger_stays_sqlxs(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": "CREATE TABLE a ()"})
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source), audit=True).code == 0
    assert sqlx(database, source, "run").out == ""
    assert len(ledger(database)) == 1


def test_secrets_are_left_out_by_name_at_any_depth() -> None:
    variables = {
        "region": "eu",
        "db_password": "1",
        "API_KEY": "2",
        "token": "3",
        "primary_key_column": "id",
        "nested": {"secret": "4", "size": 5, "list": [{"passwd": "6", "b": 7}]},
        "listed": "8",
    }
    got = history.without_secrets(variables, ["listed"])
    assert got == {"region": "eu", "primary_key_column": "id", "nested": {"size": 5, "list": [{"b": 7}]}}


def test_no_variables_are_an_empty_mapping() -> None:
    assert history.without_secrets(None, None) == {}
