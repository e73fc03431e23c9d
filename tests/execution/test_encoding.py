"""A file that changes the encoding of the session changes nothing of what we write after it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra
from support.servers import Database
from support.sqlx import deploy, ledger

pytestmark = pytest.mark.everything


@pytest.mark.parametrize("header", ["", "-- no-transaction\n"], ids=["transaction", "no transaction"])
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1251"])
def test_the_description_is_written_as_the_file_is_named(
    pyinfra: Pyinfra, database: Database, tmp_path: Path, header: str, encoding: str
) -> None:
    change = f"{header}SET client_encoding = '{encoding}';"
    source = write(
        tmp_path / "migrations",
        {"1_größe_€.up.sql": change, "1_größe_€.down.sql": change, "2_länge.sql": "CREATE TABLE länge ()"},
    )
    database.psql('CREATE SCHEMA "schöma"')
    values = {"migrations": str(source), "schema": "schöma", "audit": True}
    ran = deploy(pyinfra, database, "deploy.apply", **values)
    assert ran.code == 0, ran.out
    assert [line.split("|")[1] for line in ledger(database, '"schöma"._sqlx_migrations')] == ["größe €", "länge"]
    assert database.psql("""SELECT to_regclass('"schöma"."länge"')""") == '"schöma"."länge"'
    (source / "2_länge.sql").rename(source / "0_länge.sql")
    database.psql('DELETE FROM "schöma"._sqlx_migrations WHERE version = 2; DROP TABLE "schöma"."länge"')
    got = deploy(pyinfra, database, "deploy.revert", "allow_data_loss=true", **values)
    assert got.code == 0, got.out
    assert ledger(database, '"schöma"._sqlx_migrations') == []
