"""A service has run its own migrations with the real `sqlx`, or ours in another formatting, before we come to its database."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra, Result
from support.project import MIGRATION, ROOT, VERSION
from support.servers import PASSWORD, Database
from support.sqlx import sqlx_prints

pytestmark = pytest.mark.everything

HOST = "@postgres/shared"
STORY = ROOT / "tests" / "support" / "story_example.sql"
OWN = {
    "20250101000000_create_bookings.sql": "CREATE TABLE bookings (id BIGINT PRIMARY KEY);\n",
    "20260601000000_add_bookings_note.sql": "ALTER TABLE bookings ADD COLUMN note TEXT;\n",
}


def apply(pyinfra: Pyinfra, database: Database, **data: object) -> Result:
    environment = database.server.environment()
    return pyinfra({HOST: {**database.data, **data}}, "-y", "deploy.apply", environment=environment)


def rows(database: Database) -> str:
    return database.psql("SELECT * FROM _sqlx_migrations ORDER BY version")


@dataclass(frozen=True)
class Service:
    """A team whose role owns the database and whose own two migrations its real `sqlx` has run."""

    database: Database
    role: str
    deployer: str
    source: Path

    def deploy(self, pyinfra: Pyinfra, **data: object) -> Result:
        return apply(pyinfra, self.database, postgres_user=self.deployer, **data)


@pytest.fixture
def service(database: Database, tmp_path: Path) -> Iterator[Service]:
    suffix = uuid.uuid4().hex[:8]
    made = Service(database, f"service_{suffix}", f"deployer_{suffix}", write(tmp_path / "service", OWN))
    password = PASSWORD.replace("'", "''")
    for role in (made.role, made.deployer):
        database.psql(f"SET standard_conforming_strings = on; CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    database.psql(f"ALTER DATABASE {database.name} OWNER TO {made.role}")
    sqlx_prints(database, made.source, "run", user=made.role)
    yield made
    database.psql(f"ALTER DATABASE {database.name} OWNER TO postgres; REASSIGN OWNED BY {made.role}, {made.deployer} TO postgres")
    database.psql(f"DROP OWNED BY {made.role}, {made.deployer}; DROP ROLE {made.role}, {made.deployer}")


def assert_the_service_has_nothing_to_do(service: Service) -> None:
    """It starts with all three files, as its own role."""
    shutil.copy(MIGRATION, service.source)
    before = (service.database.dump(), rows(service.database))
    assert sqlx_prints(service.database, service.source, "run", user=service.role) == ""
    assert [
        line.split("/")[1].split()[0]
        for line in sqlx_prints(service.database, service.source, "info", user=service.role).splitlines()
    ] == ["installed"] * 3
    assert (service.database.dump(), rows(service.database)) == before


def test_a_database_of_a_service_with_migrations_and_a_role_of_its_own_is_deployed(service: Service, pyinfra: Pyinfra) -> None:
    service.database.psql(f"GRANT {service.role} TO {service.deployer}")
    first = service.deploy(pyinfra, owner=service.role)
    assert (first.code, first.change("Migrate")) == (0, "success"), first.out
    assert "2 migration(s) in the ledger belong to another source; left alone" in first.lines(HOST)
    assert f'new objects will belong to role "{service.role}"' in first.lines(HOST)
    owners = service.database.psql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert owners == service.role
    second = service.deploy(pyinfra, owner=service.role)
    assert (second.code, second.change("Migrate"), second.change("Verify")) == (0, "no change", "no change"), second.out
    assert_the_service_has_nothing_to_do(service)


def test_a_superuser_deploys_beside_the_service_too(service: Service, pyinfra: Pyinfra) -> None:
    result = apply(pyinfra, service.database)
    assert (result.code, result.change("Migrate")) == (0, "success"), result.out
    assert_the_service_has_nothing_to_do(service)


def test_a_ledger_of_a_role_that_we_cannot_act_as_is_named_with_the_key_and_nothing_changes(
    service: Service, pyinfra: Pyinfra
) -> None:
    before = (service.database.dump(), rows(service.database))
    result = service.deploy(pyinfra)
    assert result.code == 1
    assert (
        f'ledger public._sqlx_migrations belongs to role "{service.role}", and "{service.deployer}" may not read it; '
        f'run GRANT SELECT ON TABLE "public"."_sqlx_migrations" TO "{service.deployer}", or set `owner` to "{service.role}"'
    ) in result.lines(HOST)
    refused = service.deploy(pyinfra, owner=service.role)
    assert refused.code == 1
    assert (
        f'role "{service.deployer}" can\'t act as "{service.role}", the data key `owner`; '
        f'run GRANT "{service.role}" TO "{service.deployer}", or set `owner`'
    ) in refused.lines(HOST)
    assert (service.database.dump(), rows(service.database)) == before


def test_a_deployer_that_may_read_the_ledger_and_not_write_it_is_told_so(service: Service, pyinfra: Pyinfra) -> None:
    service.database.psql(
        f"GRANT SELECT ON _sqlx_migrations TO {service.deployer}; GRANT CREATE ON SCHEMA public TO {service.deployer}"
    )
    result = service.deploy(pyinfra)
    assert result.code == 1
    assert any(
        f'belongs to role "{service.role}", and "{service.deployer}" may not write it' in line for line in result.lines(HOST)
    )


def test_an_owner_that_inherits_nothing_is_acted_as_all_the_same(service: Service, pyinfra: Pyinfra) -> None:
    """A NOINHERIT deployer has none of the owner's rights before SET ROLE, not even to read its ledger."""
    service.database.psql(f"ALTER ROLE {service.deployer} NOINHERIT; GRANT {service.role} TO {service.deployer}")
    for want in ("success", "no change"):
        result = service.deploy(pyinfra, owner=service.role)
        assert (result.code, result.change("Migrate")) == (0, want), result.out
    assert_the_service_has_nothing_to_do(service)


def test_rows_of_others_are_refused_in_sqlx_words_when_they_are_not_to_be_ignored(service: Service, pyinfra: Pyinfra) -> None:
    before = (service.database.dump(), rows(service.database))
    result = apply(pyinfra, service.database, ignore_missing=False)
    assert result.code == 1
    assert any(
        line.startswith("migration 20250101000000 was previously applied but is missing in the resolved migrations of ")
        for line in result.lines(HOST)
    ), result.out
    assert (service.database.dump(), rows(service.database)) == before


def test_another_formatting_of_our_file_that_was_there_first_is_left_alone(
    database: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    """The service has the story's own example under our version: another checksum, the same schema."""
    source = write(tmp_path / "service", {MIGRATION.name: STORY.read_text(encoding="utf-8")})
    sqlx_prints(database, source, "run")
    before = (database.dump(), rows(database))
    result = apply(pyinfra, database)
    assert (result.code, result.change("Migrate"), result.change("Verify")) == (0, "no change", "no change"), result.out
    want = f"{VERSION} create integration health tables: recorded by another formatting of this file; contract holds"
    assert want in result.lines(HOST)
    assert (database.dump(), rows(database)) == before
    assert sqlx_prints(database, source, "run") == ""


def test_another_content_under_our_version_is_refused_and_left_alone(database: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    other = STORY.read_text(encoding="utf-8").replace("VARCHAR(50)", "TEXT")
    sqlx_prints(database, write(tmp_path / "service", {MIGRATION.name: other}), "run")
    before = (database.dump(), rows(database))
    result = apply(pyinfra, database)
    assert result.code == 1
    assert any(
        line.startswith(f"migration {VERSION} was previously applied but has been modified: the ledger has checksum ")
        for line in result.lines(HOST)
    ), result.out
    assert (database.dump(), rows(database)) == before
