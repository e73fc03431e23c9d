"""The committed migration is what the templates render, on every machine and every time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
from support.project import MIGRATION, ROOT

from deploy.source import migrations


def test_the_committed_files_are_what_the_templates_render() -> None:
    source = migrations.load(migrations.packaged())
    want = {migration.file: migration.sql.encode() for migration in (*source.migrations, *source.down.values())}
    got = {path.name: path.read_bytes() for path in (ROOT / "migrations").iterdir()}
    assert got == want


def test_the_migration_is_plain_ascii_with_lf_and_one_newline_at_its_end() -> None:
    content = MIGRATION.read_bytes()
    assert content.isascii()
    assert b"\r" not in content
    assert content.endswith(b";\n")


def test_every_statement_can_be_run_twice_and_none_names_a_schema() -> None:
    lines = [line for line in MIGRATION.read_text().splitlines() if line.startswith(("CREATE", "ALTER", "DROP"))]
    assert len(lines) == 7
    assert all(" IF NOT EXISTS " in line and "." not in line for line in lines)


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "TZ": "UTC"},
        {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX", "TZ": "America/St_Johns", "PYTHONIOENCODING": "latin-1", "PYTHONHASHSEED": "7", "PYTHONUTF8": "0"},
    ],
    ids=lambda environment: environment["LC_ALL"],
)
def test_rendering_knows_no_locale_and_no_clock(environment: dict[str, str]) -> None:
    code = "from deploy.source.migrations import load, packaged; print(*[m.checksum.hex() for m in load(packaged()).migrations])"
    got = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert got == hashlib.sha384(MIGRATION.read_bytes()).hexdigest()
