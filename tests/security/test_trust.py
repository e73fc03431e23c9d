"""Whose code may run: of a table's owner only if he is trusted, and that of a migration or a trigger as it expects to run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import planted
from support.files import write
from support.operator import Pyinfra, run, said
from support.planted import MALLORY
from support.project import MIGRATION, VERSION
from support.purge_data import EVENTS
from support.servers import SUPERUSER, Database, login
from support.sqlx import HOST, LEDGER, deploy, row
from support.versions import every_version

from deploy.statements import statement

OURS = MIGRATION.read_text(encoding="utf-8")
TRIGGER = "CREATE TRIGGER planted BEFORE INSERT ON _sqlx_migrations FOR EACH ROW EXECUTE FUNCTION mark_change()"


@pytest.fixture
def hostile(database: Database) -> Database:
    """A database with a ledger of a role that is not trusted."""
    planted.admit(database)
    database.psql(planted.MARKS, user=MALLORY)
    database.psql(LEDGER, user=MALLORY)
    return database


@every_version
def test_a_ledger_of_another_role_is_used_as_long_as_it_is_what_sqlx_makes(hostile: Database, pyinfra: Pyinfra) -> None:
    data = login(hostile, f"deployer_{hostile.name}")
    hostile.psql(f"GRANT SELECT, INSERT ON _sqlx_migrations TO {data['postgres_user']}")
    assert run(pyinfra, {HOST: data}).code == 0
    assert run(pyinfra, {HOST: data}, "-y", "deploy.verify").code == 0
    hostile.psql(TRIGGER, user=MALLORY)
    want = (
        f'ledger public._sqlx_migrations belongs to role "{MALLORY}" and has trigger planted, which could run code as '
        f'"{data["postgres_user"]}"; connect as "{MALLORY}", or set `owner` to it'
    )
    ran = run(pyinfra, {HOST: data})
    assert ran.code == 1
    assert want in said(ran, HOST)
    assert '"problem": null' in run(pyinfra, {HOST: {**hostile.data, "owner": MALLORY}}, "fact", "deploy.facts.Status").out
    assert planted.called(hostile) == []


@every_version
def test_what_is_added_to_a_ledger_after_the_look_is_found_before_the_row_is_written(
    hostile: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": f"CREATE TABLE a (); {TRIGGER}"})
    ran = deploy(pyinfra, hostile, "deploy.apply", migrations=str(source))
    assert ran.code == 1
    assert any(f'_sqlx_migrations belongs to role "{MALLORY}" and has trigger planted' in line for line in said(ran, HOST))
    assert hostile.psql("SELECT count(*) FROM _sqlx_migrations; SELECT to_regclass('a') IS NULL") == "0\nt"
    assert planted.called(hostile) == []


@every_version
def test_what_a_file_puts_off_runs_as_the_file_left_things_and_ahead_of_the_ledgers_row(
    database: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    """Under the search_path of the schema, in the role of the file."""
    role = f"app_{database.name}"
    database.psql(f"CREATE ROLE {role}; CREATE SCHEMA app; GRANT USAGE, CREATE ON SCHEMA app TO {role}")
    up = f"""
        CREATE TABLE log AS SELECT current_setting('search_path') AS path, current_user::text AS role, 0::bigint AS applied LIMIT 0;
        CREATE TABLE a (x int);
        CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO log SELECT current_setting('search_path'), current_user, (SELECT count(*) FROM _sqlx_migrations);
            RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON a DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
        GRANT ALL ON a, log, _sqlx_migrations TO {role};
        SET LOCAL ROLE {role};
        INSERT INTO a VALUES (1)"""
    source = write(tmp_path / "migrations", {"1_a.sql": up})
    ran = deploy(pyinfra, database, "deploy.apply", migrations=str(source), schema="app")
    assert ran.code == 0, ran.out
    assert database.psql("SELECT * FROM app.log") == f"app|{role}|0"


@every_version
def test_a_constraint_that_a_file_puts_off_is_reported_under_its_name(database: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    up = """CREATE TABLE a (x int PRIMARY KEY); CREATE TABLE b (x int REFERENCES a DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO b VALUES (1)"""
    source = write(tmp_path / "migrations", {"1_a.sql": up})
    ran = deploy(pyinfra, database, "deploy.apply", migrations=str(source))
    assert ran.code == 1
    assert any(line.startswith('1_a.sql: 23503: ERROR: insert or update on table "b" violates') for line in said(ran, HOST)), (
        ran.out
    )
    assert database.psql("SELECT to_regclass('_sqlx_migrations') IS NULL") == "t"


@every_version
def test_a_trigger_that_a_purge_fires_runs_under_the_search_path_of_the_schema(database: Database, pyinfra: Pyinfra) -> None:
    database.psql(f"""CREATE SCHEMA app; SET search_path = app; {OURS} {EVENTS.format(days=3)};
        CREATE TABLE purged (id uuid); CREATE VIEW seen AS SELECT * FROM purged;
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO purged SELECT OLD.id WHERE NOT EXISTS (SELECT FROM seen WHERE id = OLD.id); RETURN OLD; END $$;
        CREATE TRIGGER note BEFORE DELETE ON integration_events FOR EACH ROW EXECUTE FUNCTION note();
        CREATE CONSTRAINT TRIGGER late AFTER DELETE ON integration_events DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION note()""")
    ran = run(pyinfra, {HOST: {**database.data, "schema": "app"}}, "-y", "deploy.purge", "days=1")
    assert ran.code == 0, ran.out
    assert database.psql("SELECT count(*) FROM app.purged; SELECT count(*) FROM app.integration_events") == "3\n0"


def test_a_purge_of_a_table_with_a_trigger_of_another_role_says_whose_it_is(hostile: Database, pyinfra: Pyinfra) -> None:
    hostile.psql(f"{OURS} {EVENTS.format(days=3)}; ALTER TABLE integration_events OWNER TO {MALLORY}")
    data = login(hostile, f"purger_{hostile.name}")
    hostile.psql(f"GRANT SELECT, UPDATE, DELETE ON integration_events, integration_health TO {data['postgres_user']}")
    ran = run(pyinfra, {HOST: data}, "-y", "deploy.purge", "days=2")
    assert ran.code == 0, ran.out
    planted.plant(hostile, "triggers", "integration_events", column="occurred_at", type="timestamptz", dated="created_at")
    for who in (data, hostile.data):
        ran = run(pyinfra, {HOST: who}, "-y", "deploy.purge", "days=1")
        assert ran.code == 1
        assert any(
            f'integration_events in schema "public" of database "{hostile.name}" belongs to role "{MALLORY}" and has trigger'
            in line
            for line in said(ran, HOST)
        ), ran.out
    assert planted.called(hostile) == []


@every_version
def test_a_revert_does_not_look_into_a_table_of_another_role(hostile: Database, pyinfra: Pyinfra) -> None:
    hostile.psql(f"{OURS} {EVENTS.format(days=3)}; ALTER TABLE _sqlx_migrations OWNER TO {SUPERUSER}; {row(VERSION)}")
    hostile.psql(f"ALTER TABLE integration_events OWNER TO {MALLORY}; ALTER TABLE integration_health OWNER TO {MALLORY}")
    planted.plant(hostile, "index-expression", "integration_events", column="occurred_at", type="timestamptz", dated="created_at")
    ran = run(pyinfra, {HOST: hostile.data}, "-y", "deploy.revert")
    assert ran.code == 1
    name = f'"public".integration_events (belongs to role "{MALLORY}": connect as "{MALLORY}", or set `owner` to it)'
    assert any(f"would drop {name.replace(chr(34) + 'public' + chr(34), 'public')}" in line for line in said(ran, HOST)), ran.out
    assert planted.called(hostile) == []


@every_version
def test_who_owns_the_tables_and_who_may_create_beside_them_is_noted(hostile: Database, pyinfra: Pyinfra) -> None:
    """And is a violation where the data key private_schema says so."""
    other = f"other {hostile.name}"
    hostile.psql(f'DROP TABLE _sqlx_migrations; CREATE ROLE "{other}"; GRANT CREATE ON SCHEMA public TO "{other}"')
    hostile.psql(f"{OURS} ALTER TABLE integration_events OWNER TO {MALLORY}")
    notes = [
        f'integration_events belongs to "{MALLORY}", judged from the catalogs alone: connect as "{MALLORY}" or set `owner`',
        'PUBLIC may create in schema "public"; run REVOKE CREATE ON SCHEMA "public" FROM PUBLIC',
        f'role "{other}" may create in schema "public"; run REVOKE CREATE ON SCHEMA "public" FROM "{other}"',
    ]
    for words in ("deploy.apply", "deploy.verify"):
        ran = run(pyinfra, {HOST: hostile.data}, "-y", words)
        assert ran.code == 0
        assert [line for line in said(ran, HOST) if line in notes] == notes, ran.out
    ran = run(pyinfra, {HOST: {**hostile.data, "private_schema": True}}, "-y", "deploy.verify")
    assert ran.code == 1
    assert [line for line in said(ran, HOST) if line.startswith("violation: ")] == [
        "violation: schema public: expected no CREATE but for its owner, found CREATE for PUBLIC",
        f"violation: schema public: expected no CREATE but for its owner, found CREATE for role {other}",
    ]
    for note in notes[1:]:
        hostile.psql(note.partition("; run ")[2])
    hostile.psql(f"ALTER TABLE integration_events OWNER TO {SUPERUSER}")
    ran = run(pyinfra, {HOST: {**hostile.data, "private_schema": True}}, "-y", "deploy.verify")
    assert (ran.code, [line for line in said(ran, HOST) if "may create" in line or "belongs" in line]) == (0, []), ran.out


@every_version
def test_a_check_of_ones_own_names_its_schema_and_may_read_a_view(database: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    database.psql(f"CREATE SCHEMA app; SET search_path = app; {OURS} {LEDGER} {row(VERSION)}")
    database.psql("CREATE VIEW app.old AS SELECT id FROM app.integration_events")
    found = "SELECT current_setting('search_path') AS object, '' AS expected, count(*) AS actual FROM {{ schema | ident }}.old"
    checks = write(tmp_path / "checks", {"path.sql.j2": found})
    ran = run(pyinfra, {HOST: {**database.data, "schema": "app", "checks": str(checks)}}, "-y", "deploy.verify")
    assert "violation: pg_catalog, pg_temp: expected , found 0" in said(ran, HOST), ran.out


def test_exec_keeps_the_search_path_of_the_role(database: Database, pyinfra: Pyinfra) -> None:
    database.psql(f'ALTER DATABASE "{database.name}" SET search_path = app, public')
    ran = run(pyinfra, {HOST: {**database.data, "schema": "health"}}, "exec", "--", "SHOW search_path")
    assert '"app, public"' in ran.out


@every_version
def test_a_server_without_the_setting_that_refuses_views_is_sent_the_same(database: Database) -> None:
    """Minor releases before August 2024 do not know it."""
    sql = statement("session/pinned.sql.j2")
    assert "restrict_nonsystem_relation_kind" in sql
    for name in ("restrict_nonsystem_relation_kind", "no_such_setting"):
        begin = f"BEGIN; {sql.replace('restrict_nonsystem_relation_kind', name)}"
        assert database.psql(f"{begin} SELECT current_setting('search_path')") == "pg_catalog, pg_temp"
