"""The README says what happens: its transcript is run, and its tables hold every verb and data key."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import keys_table, transcript
from support.operator import PYINFRA
from support.project import ROOT

import deploy
from deploy import settings
from deploy.cli.verbs import Verb

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A folder with the inventories; the embedded server that starts in it is stopped at the end, as its notice says."""
    shutil.copytree(ROOT / "inventories", tmp_path / "inventories")
    yield tmp_path
    pid = (tmp_path / ".local" / "postgres" / "postmaster.pid").read_text().split()[0]
    subprocess.run(["kill", "-INT", pid], check=True)


@pytest.mark.server
def test_the_transcript_is_what_happens(clone: Path) -> None:
    for block in transcript.blocks(README):
        if block.language == "console":
            for command, shown in block.commands:
                transcript.run(command, shown, clone, os.environ)


def test_every_verb_and_connection_key_is_documented() -> None:
    for verb in [name for name, value in vars(deploy).items() if isinstance(value, Verb)]:
        assert f"deploy.{verb}" in README
    for key in settings.CONNECTION_KEYS:
        assert f"`{key}`" in README or f"`_{key.removeprefix('postgres_')}`" in README, key


def test_the_table_of_data_keys_is_made_from_their_declarations() -> None:
    """When it differs: `cd tests && python -m support.keys_table` prints it."""
    assert keys_table.render() in README


def test_group_data_shows_every_key_with_the_default_of_the_package() -> None:
    """Reading the settings with all of group_data is reading them with none of it, for our source and for another."""
    shown = runpy.run_path(str(ROOT / "inventories" / "group_data" / "all.py"))
    data = {key: value for key, value in shown.items() if not key.startswith("_")}
    assert data.keys() - settings.CONNECTION_KEYS.keys() == settings.KEYS.keys() - settings.CONNECTION_KEYS.keys()
    assert settings.read("host", data) == settings.read("host", {})
    assert settings.read("host", {**data, "migrations": "x"}) == settings.read("host", {"migrations": "x"})


def test_the_readme_has_two_commands_and_fits() -> None:
    """Each is one line to paste; .ci/run finds them by their beginning."""
    assert len(re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)) == 2
    assert len(README.splitlines()) < 200


def test_render_without_a_terminal_ends_in_a_sentence_and_with_yes_in_the_committed_files(tmp_path: Path) -> None:
    pyinfra = [PYINFRA, "@local", "deploy.render", f"out={tmp_path}"]
    asked = subprocess.run(pyinfra, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (asked.returncode, "nobody can approve the plan" in asked.stderr, "Traceback" in asked.stderr) == (1, True, False)
    done = subprocess.run([pyinfra[0], "-y", *pyinfra[1:]], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    want = {path.name: path.read_bytes() for path in (ROOT / "migrations").iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.sql")} == want
