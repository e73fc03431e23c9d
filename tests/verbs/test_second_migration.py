"""The schema evolves: a second packaged migration, with its contract, through every way that a host may come to it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.files import write
from support.operator import PYINFRA, Result, inventory_file, without_colours
from support.project import MIGRATION, ROOT, VERSION
from support.servers import PASSWORD, Database, without_pg_variables
from support.sqlx import DEPLOYED, HOST, library, sqlx

pytestmark = pytest.mark.everything

SECOND = 20270101000000

UP = "ALTER TABLE integration_health ADD COLUMN region VARCHAR(20);\n" \
     "CREATE INDEX idx_integration_health_region ON integration_health (region);\n"  # fmt: skip
DOWN = "ALTER TABLE integration_health DROP COLUMN region;\n"

SECOND_NAME = f"{SECOND} add region"


class Package:
    """A copy of the package with the second migration, used by `pyinfra` in place of the installed one; `service` embeds both."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self.database = folder, database
        shutil.copytree(ROOT / "deploy", folder / "src" / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "sql_templates", folder / "src" / "sql_templates")
        write(
            folder / "src" / "sql_templates" / "migrations",
            {f"{SECOND}_add_region.sql.j2": UP, f"{SECOND}_add_region.down.sql.j2": DOWN},
        )
        contract = folder / "src" / "sql_templates" / "contract"
        column = 'updated_at = "timestamp with time zone DEFAULT now()"\n'
        index = 'idx_integration_health_integration = "btree (integration_id)"\n'
        text = (contract / f"{VERSION}.toml").read_text(encoding="utf-8")
        text = text.replace(column, f'{column}region = "character varying(20)"\n')
        text = text.replace(index, f'{index}idx_integration_health_region = "btree (region)"\n')
        write(contract, {f"{SECOND}.toml": text})
        self.service = write(
            folder / "service", {MIGRATION.name: MIGRATION.read_text(encoding="utf-8"), f"{SECOND}_add_region.sql": UP}
        )

    def run(self, verb: str, *words: str) -> Result:
        environment = {**without_pg_variables(), "PGPASSWORD": PASSWORD, "PYTHONPATH": str(self.folder / "src")}
        path = inventory_file(self.folder, {HOST: self.database.data})
        done = subprocess.run(
            [PYINFRA, "-y", path.name, verb, *words],
            cwd=self.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        return Result(done.returncode, without_colours(done.stdout + done.stderr))

    def lines(self, verb: str, *words: str, code: int = 0) -> list[str]:
        ran = self.run(verb, *words)
        assert ran.code == code, ran.out
        return [line.strip() for line in ran.lines(HOST)]

    def violations(self) -> list[str]:
        ran = self.run("deploy.verify")
        found = [line.strip() for line in ran.lines(HOST) if line.strip().startswith("violation: ")]
        assert ran.code == bool(found), ran.out
        return [line.removeprefix("violation: ") for line in found]

    def versions(self) -> list[str]:
        return self.database.psql("SELECT version FROM _sqlx_migrations ORDER BY version").splitlines()


@pytest.fixture
def package(tmp_path: Path, database: Database) -> Package:
    return Package(tmp_path, database)


def at_target(package: Package) -> None:
    """Verified; and the service, in both versions of SQLx, has nothing to do and no complaint."""
    assert package.violations() == []
    assert package.versions() == [str(VERSION), str(SECOND)]
    assert sqlx(package.database, package.service, "run").out == ""
    assert library(package.database, package.service).code == 0


def test_both_are_applied_and_a_second_run_changes_nothing(package: Package) -> None:
    lines = package.lines("deploy.apply")
    assert any(line.startswith(f"applied {SECOND_NAME}") for line in lines), lines
    at_target(package)
    assert package.run("deploy.apply").change("Migrate") == "no change"


def test_a_host_at_version_1_is_compared_with_contract_1_and_gets_version_2(package: Package) -> None:
    package.database.psql(DEPLOYED)
    pending = f"_sqlx_migrations: expected applied: {SECOND_NAME}, found pending"
    assert package.violations() == [pending]
    package.database.psql("DROP INDEX idx_integration_events_type")
    index = "idx_integration_events_type: expected INDEX ON integration_events USING btree (event_type), found missing"
    assert package.violations() == [pending, index]
    package.database.psql("CREATE INDEX idx_integration_events_type ON integration_events (event_type)")
    package.lines("deploy.apply")
    at_target(package)


def test_another_formatting_of_version_1_does_not_keep_version_2_back(package: Package) -> None:
    package.database.psql(DEPLOYED)
    package.database.psql("UPDATE _sqlx_migrations SET checksum = '\\xabab'")
    lines = package.lines("deploy.apply")
    assert any("recorded by another formatting of this file; contract holds" in line for line in lines), lines
    assert package.versions() == [str(VERSION), str(SECOND)]
    assert package.violations() == []


def test_a_version_1_made_by_hand_is_adopted_and_then_gets_version_2(package: Package) -> None:
    package.database.psql(MIGRATION.read_text(encoding="utf-8"))
    lines = package.lines("deploy.adopt")
    assert [line for line in lines if line.startswith("adopted ")] == [
        f"adopted {VERSION} create integration health tables: contract holds, recorded without running it"
    ]
    assert package.versions() == [str(VERSION)]
    assert package.violations() == [f"_sqlx_migrations: expected applied: {SECOND_NAME}, found pending"]
    package.lines("deploy.apply")
    at_target(package)


def test_a_version_1_made_by_hand_can_be_applied_too(package: Package) -> None:
    package.database.psql(MIGRATION.read_text(encoding="utf-8"))
    package.lines("deploy.apply")
    at_target(package)


def test_a_complete_schema_is_adopted_with_both_versions_in_one_transaction(package: Package) -> None:
    package.database.psql(MIGRATION.read_text(encoding="utf-8") + UP)
    assert len([line for line in package.lines("deploy.adopt") if line.startswith("adopted ")]) == 2
    at_target(package)
    assert package.database.psql("SELECT count(DISTINCT xmin::text) FROM _sqlx_migrations") == "1"
    assert package.run("deploy.adopt").change("Adopt") == "no change"


def test_a_complete_schema_that_was_not_adopted_stops_the_first_migration(package: Package) -> None:
    package.database.psql(MIGRATION.read_text(encoding="utf-8") + UP)
    lines = package.lines("deploy.apply", code=1)
    want = "a table of the migration is there already and differs from the contract: integration_health.region: "
    assert any(line.startswith(want) for line in lines), lines


def test_what_is_neither_version_is_not_adopted(package: Package) -> None:
    package.database.psql(MIGRATION.read_text(encoding="utf-8") + "ALTER TABLE integration_health ADD COLUMN region TEXT")
    lines = package.lines("deploy.adopt", code=1)
    assert (
        f"{SECOND_NAME}: not recorded, because the database differs from the contract; repair it, then run deploy.adopt again"
        in lines
    )


def test_version_2_is_reverted_and_version_1_is_proved_again(package: Package) -> None:
    package.lines("deploy.apply")
    package.lines("deploy.revert", "allow_data_loss=true")
    assert package.versions() == [str(VERSION)]
    assert package.violations() == [f"_sqlx_migrations: expected applied: {SECOND_NAME}, found pending"]
    package.lines("deploy.apply")
    at_target(package)
