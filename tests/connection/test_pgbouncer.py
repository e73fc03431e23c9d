"""Behind the real PgBouncer in transaction mode: everything that fits into a transaction works, the rest is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.files import write
from support.operator import Pyinfra, Result
from support.pgbouncer import Pooler, pgbouncer
from support.requirements import missing
from support.servers import PASSWORD, SUPERUSER, Database
from support.sqlx import HOST, deploy, ledger, locks, sqlx

pytestmark = pytest.mark.everything

SHOWN = ("search_path", "lock_timeout", "statement_timeout", "timezone", "datestyle", "work_mem", "role", "extra_float_digits")


@pytest.fixture
def pooler(database: Database) -> Iterator[Pooler]:
    if pgbouncer() is None:
        missing("Debian's pgbouncer is not installed")
    made = Pooler.create(database.server)
    yield made
    made.stop()


def through(pyinfra: Pyinfra, database: Database, pooler: Pooler, *words: str, **data: object) -> Result:
    return deploy(pyinfra, database, *words, postgres_port=pooler.port, **data)


def client(database: Database, pooler: Pooler) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.0.0.1", port=pooler.port, user=SUPERUSER, password=PASSWORD, dbname=database.name, autocommit=True
    )


def settings(connection: psycopg.Connection[tuple[object, ...]]) -> list[object]:
    cursor = connection.execute(
        b"SELECT pg_backend_pid(), " + b", ".join(b"current_setting('%s')" % name.encode() for name in SHOWN)
    )
    return list(cursor.fetchone() or ())


def test_deploy_verify_and_revert_work_and_another_client_of_the_pool_sees_its_settings_unchanged(
    pyinfra: Pyinfra, database: Database, pooler: Pooler, tmp_path: Path
) -> None:
    """The pool has one connection to the server, so the other client gets the very session that we used."""
    leaks = "SET search_path = pg_catalog; SET work_mem = '1MB'; SET statement_timeout = 4711; SET TimeZone = 'Asia/Tokyo';"
    source = write(
        tmp_path / "migrations", {"1_a.up.sql": f"CREATE TABLE public.a (); {leaks}", "1_a.down.sql": f"DROP TABLE a; {leaks}"}
    )
    with client(database, pooler) as other:
        before = settings(other)
        first = through(pyinfra, database, pooler, "deploy.apply")
        assert (first.code, first.change("Migrate")) == (0, "success"), first.out
        assert settings(other) == before
        again = through(pyinfra, database, pooler, "deploy.apply")
        assert (again.code, again.change("Migrate")) == (0, "no change")
        foreign = through(pyinfra, database, pooler, "deploy.apply", migrations=str(source), ignore_missing=True, schema="public")
        assert foreign.code == 0, foreign.out
        assert settings(other) == before
        back = through(pyinfra, database, pooler, "deploy.revert", migrations=str(source), ignore_missing=True, schema="public")
        assert back.code == 0, back.out
        assert settings(other) == before
    assert locks(database) == "0"
    assert len(ledger(database)) == 1


def test_a_failed_file_leaves_nothing_in_the_pools_session(
    pyinfra: Pyinfra, database: Database, pooler: Pooler, tmp_path: Path
) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": "SET work_mem = '1MB'; SELECT pg_advisory_lock(7); SELEC;"})
    (source / "1_a.sql").write_text("SET work_mem = '1MB'; SELECT pg_advisory_lock(7); SELECT 1/0;")
    with client(database, pooler) as other:
        before = settings(other)
        assert through(pyinfra, database, pooler, "deploy.apply", migrations=str(source)).code == 1
        assert settings(other) == before
    assert locks(database) == "0"


def test_a_no_transaction_file_is_refused_before_anything_runs(
    pyinfra: Pyinfra, database: Database, pooler: Pooler, tmp_path: Path
) -> None:
    source = write(
        tmp_path / "migrations",
        {"1_a.sql": "CREATE TABLE a (x int)", "2_i.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON a (x)"},
    )
    got = through(pyinfra, database, pooler, "deploy.apply", migrations=str(source))
    assert got.code == 1
    assert (
        "2_i.sql: a `-- no-transaction` file needs a session of its own, and this connection goes through a pooler; "
        "nothing was run, point the host at the server itself"
    ) in got.lines(HOST)
    assert database.psql("SELECT to_regclass('a'), to_regclass('_sqlx_migrations')") == "|"
    assert deploy(pyinfra, database, "deploy.apply", migrations=str(source)).code == 0, "the server itself takes it"
    assert sqlx(database, source, "run").out == ""


def test_options_that_the_user_set_are_not_lost_without_a_word(pyinfra: Pyinfra, database: Database, pooler: Pooler) -> None:
    environment = database.server.environment(PGOPTIONS="-c work_mem=1MB")
    got = pyinfra({HOST: {**database.data, "postgres_port": pooler.port}}, "-y", "deploy.verify", environment=environment)
    assert got.code == 1
    assert "unsupported startup parameter: options" in got.out
