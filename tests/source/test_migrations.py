"""Which files are migrations, by SQLx's own rules, and what a folder that SQLx only trips over while it runs is refused with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.sqlx import FATAL, IGNORED, NAMES

from deploy.errors import RunRefused
from deploy.source import migrations


@pytest.mark.parametrize(("name", "want"), NAMES.items())
def test_a_file_name_gives_the_version_description_and_kind_that_sqlx_sees(name: str, want: object) -> None:
    assert migrations.parse_name(name) == want


@pytest.mark.parametrize("name", [*IGNORED, ""])
def test_a_file_that_sqlx_ignores_is_ignored(name: str) -> None:
    assert migrations.parse_name(name) is None


@pytest.mark.parametrize("name", FATAL)
def test_a_file_name_that_is_fatal_to_sqlx_is_fatal(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        migrations.parse_name(name)
    (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(RunRefused, match="is not a version: SQLx wants a 64-bit integer"):
        migrations.load(tmp_path)


def test_a_folder_is_listed_flat_in_the_order_of_the_versions(tmp_path: Path) -> None:
    """Directories and other files are ignored, links are followed, down files stand apart."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "5_inside.sql").write_text("SELECT 5;")
    (tmp_path / "elsewhere" / "b.txt").write_text("SELECT 10;")
    (tmp_path / "10_b.sql").symlink_to(tmp_path / "elsewhere" / "b.txt")
    (tmp_path / "9_a.up.sql").write_text("SELECT 9;")
    (tmp_path / "9_a.down.sql").write_text("SELECT -9;")
    (tmp_path / "11_orphan.down.sql").write_text("SELECT -11;")
    (tmp_path / "-1_first.sql.j2").write_text("SELECT {{ 'x' | literal }};\n")
    (tmp_path / "README.md").write_text("no migration")
    source = migrations.load(tmp_path)
    assert [(m.version, m.kind, m.file, m.sql) for m in source.migrations] == [
        (-1, "simple", "-1_first.sql", "SELECT 'x';\n"),
        (9, "up", "9_a.up.sql", "SELECT 9;"),
        (10, "simple", "10_b.sql", "SELECT 10;"),
    ]
    assert sorted(source.down) == [9, 11]


def test_the_checksum_is_the_sha384_of_the_exact_bytes(tmp_path: Path) -> None:
    content = "SELECT 'é'; -- no newline at the end, CRLF kept\r\n".encode()
    (tmp_path / "1_empty.sql").write_bytes(b"")
    (tmp_path / "2_bytes.sql").write_bytes(content)
    empty, other = migrations.load(tmp_path).migrations
    want = "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b"
    assert empty.checksum.hex() == want
    assert other.checksum == hashlib.sha384(content).digest()
    assert other.sql.encode() == content


HEADS = {
    "-- no-transaction\n": False,
    "-- no-transactions": False,
    " -- no-transaction": True,
    "--no-transaction": True,
    "": True,
}


@pytest.mark.parametrize(("head", "want"), HEADS.items())
def test_a_file_is_outside_a_transaction_when_it_starts_with_those_17_bytes(head: str, want: bool, tmp_path: Path) -> None:
    (tmp_path / "1_x.sql").write_text(head + "SELECT 1;")
    assert migrations.load(tmp_path).migrations[0].transactional is want


def test_what_sqlx_would_only_trip_over_while_it_runs_is_refused(tmp_path: Path) -> None:
    cases: dict[str, tuple[dict[str, bytes], str]] = {
        "twice": ({"1_a.sql": b"", "01_b.up.sql": b""}, "1_a.sql: version 1 is also that of 01_b.up.sql; give one of them another"),
        "bom": ({"1_a.sql": b"\xef\xbb\xbfSELECT 1"}, "1_a.sql: starts with a byte order mark, which Postgres refuses"),
        "nul": ({"1_a.sql": b"SELECT 1;\n\0"}, "1_a.sql:2: holds a NUL character, at which libpq would cut the file"),
        "latin": ({"1_a.sql": b"SELECT '\xe9'"}, "1_a.sql: not valid UTF-8 at byte 8; save the file as UTF-8"),
        "empty": ({"README.md": b""}, "empty: holds no migration; SQLx wants files named VERSION_DESCRIPTION.sql"),
        "downs": ({"1_a.down.sql": b""}, "downs: holds no migration"),
    }
    for name, (files, want) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        with pytest.raises(RunRefused) as refused:
            migrations.load(folder)
        assert want in str(refused.value)


def test_a_dangling_link_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunRefused, match="nowhere: no such folder of migrations; set `migrations` to one that exists"):
        migrations.load(tmp_path / "nowhere")
    (tmp_path / "1_x.sql").symlink_to(tmp_path / "gone.sql")
    with pytest.raises(RunRefused, match=r"1_x\.sql: symbolic link to nothing; repair or remove it"):
        migrations.load(tmp_path)
