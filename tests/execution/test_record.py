"""deploy.adopt: a ledger row for what is there already, only with proof; a checksum that services rely on stays."""

from __future__ import annotations

import re
from pathlib import Path

from support.operator import Pyinfra
from support.project import MIGRATION, ROOT, VERSION
from support.servers import Database
from support.sqlx import HOST, deploy, ledger, locks, sqlx

NAME = f"{VERSION} create integration health tables"
OLD = "ab" * 48


def by_hand(database: Database) -> None:
    database.psql(MIGRATION.read_text(encoding="utf-8"))


def other_checksum(database: Database) -> None:
    assert sqlx(database, ROOT / "migrations", "run").code == 0
    database.psql(f"UPDATE _sqlx_migrations SET checksum = decode('{OLD}', 'hex')")  # noqa: S608


def test_objects_made_by_hand_are_recorded_and_sqlx_has_nothing_to_do(pyinfra: Pyinfra, database: Database) -> None:
    by_hand(database)
    hosts = {HOST: database.data}
    dry = pyinfra(hosts, "--dry", "deploy.adopt", environment=database.server.environment())
    assert dry.code == 0
    assert f"to record without running it: {NAME}; contract holds" in dry.lines(HOST)
    assert database.psql("SELECT to_regclass('_sqlx_migrations')") == ""
    got = deploy(pyinfra, database, "deploy.adopt")
    assert (got.code, got.change("Adopt")) == (0, "success"), got.out
    assert f"adopted {NAME}: contract holds, recorded without running it" in got.lines(HOST)
    assert sqlx(database, ROOT / "migrations", "run").out == ""
    assert sqlx(database, ROOT / "migrations", "info").out == f"{VERSION}/installed create integration health tables\n"
    again = deploy(pyinfra, database, "deploy.adopt")
    assert (again.code, again.change("Adopt")) == (0, "no change")
    assert not [text for text in database.statements() if re.search(r"CREATE (TABLE IF NOT EXISTS integration|INDEX)", text)]
    assert locks(database) == "0"


def test_another_checksum_is_reported_and_left_alone(pyinfra: Pyinfra, database: Database) -> None:
    other_checksum(database)
    before = ledger(database)
    got = deploy(pyinfra, database, "deploy.adopt")
    assert (got.code, got.change("Adopt")) == (0, "no change")
    assert f"{NAME}: recorded by another formatting of this file; contract holds" in got.lines(HOST)
    assert f"the ledger keeps its checksum {OLD}; replace_checksum=true would replace it" in got.lines(HOST)
    assert ledger(database) == before


def test_replace_checksum_says_what_it_will_break_and_shows_the_old_one(pyinfra: Pyinfra, database: Database) -> None:
    other_checksum(database)
    hosts = {HOST: database.data}
    dry = pyinfra(hosts, "--dry", "deploy.adopt", "replace_checksum=true", environment=database.server.environment())
    (line,) = [line for line in dry.lines(HOST) if "will be replaced" in line]
    assert re.fullmatch(
        rf"{NAME}: checksum {OLD} will be replaced by [0-9a-f]{{96}}; every service that embeds the old file will refuse to start",
        line,
    )
    assert OLD in "".join(ledger(database))
    got = deploy(pyinfra, database, "deploy.adopt", "replace_checksum=true")
    assert got.code == 0, got.out
    assert f"replaced the checksum of {NAME}; it was {OLD}" in got.lines(HOST)
    assert sqlx(database, ROOT / "migrations", "run").out == ""


def test_where_nothing_is_there_nothing_is_recorded(pyinfra: Pyinfra, database: Database) -> None:
    got = deploy(pyinfra, database, "deploy.adopt")
    assert got.code == 1
    assert f"{NAME}: none of its tables exist; nothing recorded; run deploy.apply" in got.lines(HOST)
    assert database.psql("SELECT to_regclass('_sqlx_migrations')") == ""


def test_what_differs_from_the_contract_is_refused_with_the_differences(pyinfra: Pyinfra, database: Database) -> None:
    by_hand(database)
    database.psql("ALTER TABLE integration_events ALTER severity DROP NOT NULL; DROP INDEX idx_integration_events_type")
    got = deploy(pyinfra, database, "deploy.adopt")
    assert got.code == 1
    lines = got.lines(HOST)
    assert f"{NAME}: not recorded, because the database differs from the contract; repair it, then run deploy.adopt again" in lines
    assert any(line.startswith("violation: integration_events.severity: expected ") for line in lines)
    assert any(line.startswith("violation: idx_integration_events_type: expected ") for line in lines)
    assert database.psql("SELECT to_regclass('_sqlx_migrations')") == ""


def test_a_source_without_a_contract_can_not_be_adopted(pyinfra: Pyinfra, database: Database) -> None:
    got = deploy(pyinfra, database, "deploy.adopt", migrations=str(ROOT / "migrations"))
    assert got.code == 1
    assert "deploy.adopt proves with contracts, and this source has none; set `contract`" in got.lines(HOST)


def test_checks_of_ones_own_do_not_weaken_the_proof(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    by_hand(database)
    database.psql("DROP INDEX idx_integration_events_type")
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "none.sql").write_text("SELECT '' AS object, '' AS expected, '' AS actual WHERE false")
    got = deploy(pyinfra, database, "deploy.adopt", checks=str(tmp_path / "checks"))
    assert (got.code, any("idx_integration_events_type" in line for line in got.lines(HOST))) == (1, True), got.out
    assert database.psql("SELECT to_regclass('_sqlx_migrations') IS NULL") == "t"
