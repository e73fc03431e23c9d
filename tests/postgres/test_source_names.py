"""Names of files in a source: the table of what SQLx does, checked against the real sqlx 0.8.6 and against us."""

from __future__ import annotations

from pathlib import Path

import pytest
from neighbours import ONE_SERVER, sqlx, write
from servers import Database

from deploy import migrations
from deploy.errors import Refused

pytestmark = ONE_SERVER

IGNORED = ["foo.sql", "1.sql", "README.md", "1_foo.SQL", "1_a.up.SQL", "1_foo.sql~"]
FATAL = [
    "_foo.sql",
    "foo_bar.sql",
    "V1__init.sql",
    ".1_foo.sql",
    "._1_foo.sql",
    " 1_x.sql",
    "1 _x.sql",
    "9223372036854775808_m.sql",
    "１_x.sql",
]
FINE = {
    "+7_x.sql": (7, "x"),
    "-3_x.sql": (-3, "x"),
    "0_z.sql": (0, "z"),
    "007_x.sql": (7, "x"),
    "9223372036854775807_m.sql": (9223372036854775807, "m"),
    "1_.sql": (1, ""),
    "1_up.sql": (1, "up"),
    "1_.up.sql": (1, ""),
    "1_a.Up.sql": (1, "a.Up"),
    "1_a.sql.sql": (1, "a"),
    "1_a_.sql": (1, "a "),
    "1__init.sql": (1, " init"),
    "1_000_x.sql": (1, "000 x"),
    "1_a b-c.d.sql": (1, "a b-c.d"),
}


@pytest.mark.parametrize("name", IGNORED)
def test_a_file_that_sqlx_ignores_is_ignored(name: str, tmp_path: Path, database: Database) -> None:
    source = write(tmp_path / "s", {name: "SELECT 1", "5_five.sql": "SELECT 1"})
    assert sqlx(database, source, "info").out == "5/pending five\n"
    assert [migration.version for migration in migrations.load(source).migrations] == [5]


@pytest.mark.parametrize("name", FATAL)
def test_a_file_that_sqlx_refuses_is_refused_with_its_name(name: str, tmp_path: Path, database: Database) -> None:
    source = write(tmp_path / "s", {name: "SELECT 1", "5_five.sql": "SELECT 1"})
    assert sqlx(database, source, "info").code == 1
    with pytest.raises(Refused) as caught:
        migrations.load(source)
    assert str(caught.value).startswith(f"{source / name}: {name.partition('_')[0]!r} is no version: ")


@pytest.mark.parametrize("name", FINE)
def test_version_and_description_are_those_of_sqlx(name: str, tmp_path: Path, database: Database) -> None:
    source = write(tmp_path / "s", {name: "SELECT 1"})
    version, description = FINE[name]
    assert sqlx(database, source, "info").out == f"{version}/pending {description}\n"
    (got,) = migrations.load(source).migrations
    assert (got.version, got.description) == (version, description)


def test_a_down_file_without_its_up_file_is_known_and_not_listed(tmp_path: Path, database: Database) -> None:
    source = write(tmp_path / "s", {"1_only.down.sql": "SELECT 1", "5_five.sql": "SELECT 1"})
    assert sqlx(database, source, "info").out == "5/pending five\n"
    got = migrations.load(source)
    assert [migration.version for migration in got.migrations] == [5]
    assert list(got.down) == [1]
