"""The cron line and the units of the page on retention, run as cron and systemd run them: no shell of one's own, no terminal."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import transcript
from support.requirements import missing
from support.stage import PAGES, Servers, Stage, read

pytestmark = pytest.mark.everything

UNITS = "etc/systemd/system"
PURGE = "integration-health-purge"
HOME = "srv/integration-health"
LEFT = "SELECT count(*) FROM integration_events"


def install(folder: Path) -> None:
    """The page's files under /etc, whose /srv/integration-health is in `folder`."""
    text = read("retention").replace(f"/{HOME}", f"{folder}/{HOME}")
    (folder / HOME).mkdir(parents=True)
    (folder / HOME / "venv").symlink_to(sys.prefix)
    for block in transcript.blocks(text):
        if match := re.match(r"# /(etc/\S+)\n", block.text):
            (folder / match[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / match[1]).write_text(block.text, encoding="utf-8")


@pytest.fixture
def stage(servers: Servers, tmp_path: Path) -> Stage:
    """A database with old events, the page's schedules and its inventory."""
    text = read("retention")
    made = Stage(PAGES["retention"], text, tmp_path, servers)
    install(tmp_path)
    (inventory,) = [block for block in transcript.blocks(text) if block.language == "python"]
    made.write(inventory)
    (tmp_path / "inventories").rename(tmp_path / HOME / "inventories")
    return made


def psql(stage: Stage, sql: str, section: str = "integration-health-eu-1") -> str:
    command = ["psql", "-XAtq", f"service={section}", "-c", sql]
    return subprocess.run(command, env=stage.environment, check=True, capture_output=True, text=True).stdout.strip()


def account(stage: Stage) -> dict[str, str]:
    """What both set for the user `deploy`."""
    return {"HOME": str(stage.folder), "LOGNAME": "deploy", "USER": "deploy", "SHELL": "/bin/sh"}


def run_by_cron(stage: Stage) -> subprocess.CompletedProcess[str]:
    """The one job of the file in /etc/cron.d; what it prints is what cron would mail."""
    lines = (stage.folder / "etc" / "cron.d" / PURGE).read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    settings = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    (job,) = [line for line in lines if not re.match(r"\w+=", line)]
    *time, user, command = job.split(maxsplit=6)
    assert (len(time), user, "%" in command, settings["MAILTO"]) == (5, "deploy", False, "dba@example.com")
    return subprocess.run(
        [settings["SHELL"], "-c", command],
        cwd=stage.folder,
        env={**account(stage), **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        timeout=120,
    )


def unit(folder: Path, name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(folder / UNITS / name, encoding="utf-8")
    return parser


def start(stage: Stage, name: str, *, path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin") -> int:
    """The exit code of a unit's ExecStart, with the environment that systemd gives to a service."""
    service = unit(stage.folder, name)["Service"]
    output = service.get("StandardOutput", "").removeprefix("truncate:") or "/dev/null"
    with Path(output).open("w", encoding="utf-8") as log:
        return subprocess.run(
            shlex.split(service["ExecStart"]),
            cwd=service.get("WorkingDirectory", "/"),
            env={**account(stage), "LANG": "C.UTF-8", "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            timeout=120,
        ).returncode


@pytest.mark.server
def test_the_cron_line_purges_and_sends_mail_only_when_it_fails(stage: Stage) -> None:
    quiet = run_by_cron(stage)
    assert (quiet.returncode, quiet.stdout) == (0, "")
    assert psql(stage, LEFT) == "89"
    assert "deleted 211 rows of integration_events" in (stage.folder / HOME / "purge.log").read_text(encoding="utf-8")
    assert (stage.folder / HOME / "purge" / "purge.json").is_file()
    psql(stage, "ALTER ROLE deployer NOLOGIN", "admin-eu-1")
    mail = run_by_cron(stage)
    assert 'role "deployer" is not permitted to log in' in mail.stdout
    assert "Traceback" not in mail.stdout


@pytest.mark.server
def test_the_service_purges_and_the_unit_for_failures_mails_its_log(stage: Stage) -> None:
    assert start(stage, f"{PURGE}.service") == 0
    assert psql(stage, LEFT) == "89"
    log = stage.folder / HOME / "purge.log"
    assert "deleted 211 rows of integration_events" in log.read_text(encoding="utf-8")
    psql(stage, "ALTER ROLE deployer NOLOGIN", "admin-eu-1")
    assert start(stage, f"{PURGE}.service") == 1
    mail = stage.folder / "bin" / "mail"
    mail.parent.mkdir()
    mail.write_text(f'#!/bin/sh\n{{ echo "$@"; cat; }} >{stage.folder}/sent\n', encoding="utf-8")
    mail.chmod(0o755)
    on_failure = unit(stage.folder, f"{PURGE}.service")["Unit"]["OnFailure"]
    assert start(stage, on_failure, path=f"{mail.parent}:/usr/bin:/bin") == 0
    sent = (stage.folder / "sent").read_text(encoding="utf-8")
    assert sent.startswith("-s integration health: purge failed dba@example.com\n")
    assert 'role "deployer" is not permitted to log in' in sent


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    install(tmp_path)
    if shutil.which("systemd-analyze") is None:
        missing("Debian's systemd is not installed")
    files = sorted(str(path) for path in (tmp_path / UNITS).iterdir())
    assert len(files) == 3
    verified = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    calendar = unit(tmp_path, f"{PURGE}.timer")["Timer"]["OnCalendar"]
    assert subprocess.run(["systemd-analyze", "calendar", calendar], capture_output=True).returncode == 0
