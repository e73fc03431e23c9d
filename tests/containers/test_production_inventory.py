"""The committed `inventories/prod.py`, unchanged, against containers: PGSERVICEFILE and PGPASSFILE alone, TLS verify-full.

The password holds every character that some layer quotes, and is looked for in everything that a run leaves behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from support.containers import DATABASE, PASSWORD, USER, Container, Start, write_tls
from support.files import password_file
from support.operator import PYINFRA, Pyinfra, Result
from support.project import ROOT
from support.tls import new_authority

pytestmark = pytest.mark.everything

PROD = str(ROOT / "inventories" / "prod.py")
REGIONS = ("eu-1", "eu-2", "us-1")


@dataclass
class Fleet:
    servers: dict[str, Container]
    folder: Path

    def deployed(self) -> list[bool]:
        return [server.deployed() for server in self.servers.values()]


@pytest.fixture(scope="module")
def fleet(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Three servers with certificates of a private authority for localhost, their service file and their password file."""
    folder = tmp_path_factory.mktemp("tls")
    write_tls(folder, "localhost")
    servers = {region: start(scripts=[folder / "tls.sh"], folders={folder / "server": "/tls"}) for region in REGIONS}

    sections, logins = [], []
    for region, server in servers.items():
        sections.append(
            f"[integration-health-{region}]\nhost=localhost\nport={server.port}\ndbname={DATABASE}\nuser={USER}\n"
            f"sslrootcert={folder / 'root.crt'}\n\n"
        )
        logins.append(f"localhost:{server.port}:{DATABASE}:{USER}")
    (folder / "services.conf").write_text("".join(sections), encoding="utf-8")
    password_file(folder / "pgpass", PASSWORD, *logins)
    return Fleet(servers, folder)


@pytest.fixture
def files(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """The two variables, and no schema on any server."""
    monkeypatch.setenv("PGSERVICEFILE", str(fleet.folder / "services.conf"))
    monkeypatch.setenv("PGPASSFILE", str(fleet.folder / "pgpass"))
    for server in fleet.servers.values():
        server.psql("DROP TABLE IF EXISTS integration_health, integration_events, _sqlx_migrations")
    yield fleet


def red_lines(done: Result) -> list[str]:
    """The one line that each host got."""
    found = [done.lines(f"@postgres/{region}") for region in REGIONS]
    assert [len(lines) for lines in found] == [1, 1, 1], done.out
    return [lines[0].strip() for lines in found]


def test_production_is_deployed_in_its_waves_over_verified_tls(files: Fleet, pyinfra: Pyinfra) -> None:
    done = pyinfra(PROD, "-y", "deploy.apply")

    assert done.code == 0, done.out
    assert files.deployed() == [True, True, True]
    first, *later = [server.psql("SELECT max(installed_on) FROM _sqlx_migrations") for server in files.servers.values()]
    assert first < min(later)
    ssl = pyinfra(PROD, "exec", "--", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert ssl.out.count('[{"ssl": true}]') == 3, ssl.out


def test_a_server_of_another_authority_gets_nothing(files: Fleet, pyinfra: Pyinfra, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    new_authority().cert_pem.write_to_path(str(other))
    services = (files.folder / "services.conf").read_text().replace(str(files.folder / "root.crt"), str(other))
    (tmp_path / "services.conf").write_text(services)

    done = pyinfra(PROD, "-y", "deploy.apply", environment={**os.environ, "PGSERVICEFILE": str(tmp_path / "services.conf")})

    assert done.code == 1
    reason = "SSL error: certificate verify failed; see why: openssl s_client -starttls postgres -connect "
    assert all(reason in line for line in red_lines(done)), done.out
    assert files.deployed() == [False, False, False]


def test_a_certificate_for_another_name_is_refused(files: Fleet, pyinfra: Pyinfra, tmp_path: Path) -> None:
    services = (files.folder / "services.conf").read_text().replace("host=localhost", "host=127.0.0.1")
    passwords = (files.folder / "pgpass").read_text().replace("localhost:", "127.0.0.1:")
    (tmp_path / "services.conf").write_text(services)
    (tmp_path / "pgpass").write_text(passwords)
    (tmp_path / "pgpass").chmod(0o600)
    environment = {**os.environ, "PGSERVICEFILE": str(tmp_path / "services.conf"), "PGPASSFILE": str(tmp_path / "pgpass")}

    done = pyinfra(PROD, "-y", "deploy.apply", environment=environment)

    assert done.code == 1
    assert all('does not match host name "127.0.0.1"' in line for line in red_lines(done)), done.out


def test_a_missing_service_is_one_sentence(pyinfra: Pyinfra, tmp_path: Path) -> None:
    (tmp_path / "services.conf").write_text("[other]\nhost=localhost\n")

    done = pyinfra(PROD, "-y", "deploy.apply", environment={**os.environ, "PGSERVICEFILE": str(tmp_path / "services.conf")})

    assert done.code == 1
    (got,) = done.lines("@postgres/eu-1")
    assert got.strip() == (
        "can't connect to service 'integration-health-eu-1': "
        'definition of service "integration-health-eu-1" not found; '
        "add the section with a host to pg_service.conf, or set PGSERVICEFILE to the file that has it"
    )


def test_nothing_that_a_run_leaves_behind_has_the_password(files: Fleet, tmp_path: Path) -> None:
    """In a service file this time, from where it could come along with the other parameters."""
    services = (files.folder / "services.conf").read_text().replace(f"user={USER}\n", f"user={USER}\npassword={PASSWORD}\n")
    (tmp_path / "services.conf").write_text(services, encoding="utf-8")
    inventory = tmp_path / "inventory.py"
    lines = {"postgres_host": "localhost", "postgres_sslrootcert": str(files.folder / "root.crt")}
    eu = files.servers["eu-1"]
    conninfo = f"postgresql://{USER}:{quote(PASSWORD, safe='')}@localhost:{eu.port}/{DATABASE}?sslmode=prefer"
    hosts = [
        ("@postgres/ours", {"postgres_conninfo": conninfo}),
        ("@postgres/wrong", {**lines, "postgres_port": eu.port, "postgres_user": "nobody", "postgres_password": PASSWORD}),
        ("@postgres/typo", {"postgres_conninfo": conninfo.replace(f"/{DATABASE}?", "/nowhere?")}),
    ]
    inventory.write_text(f"hosts = {hosts!r}\n", encoding="utf-8")
    environment = {**os.environ, "PGSERVICEFILE": str(tmp_path / "services.conf"), "PGPASSFILE": "/dev/null"}
    runs = [
        (PROD, "-y", "-vvv", "--debug", "deploy.apply", "report=report"),
        (PROD, "--dry", "--diff", "-vvv", "deploy.apply"),
        (PROD, "--dry", "--json", "deploy.apply"),
        (PROD, "-y", "--json", "deploy.verify"),
        (PROD, "debug-inventory"),
        (PROD, "fact", "deploy.facts.Status"),
        (PROD, "-vvv", "exec", "--", "SELECT no_such_column"),
        ("@pgservices/integration-health-*", "-y", "-vvv", "--debug", "deploy.apply"),
        ("@pgservices/integration-health-*", "debug-inventory"),
        ("@pgdatabases/integration-health-eu-1/*", "-y", "-vvv", "--debug-all", "deploy.verify"),
        (str(inventory), "-y", "-vvv", "--debug", "deploy.apply", "report=report-of-failures"),
    ]
    texts: dict[str, str] = {}
    for words in runs:
        with watched_processes() as seen:
            done = subprocess.run(
                [PYINFRA, *words],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
        texts[" ".join(words)] = done.stdout + done.stderr
        texts[f"processes of {' '.join(words)}"] = "\n".join(seen)
        assert any("deploy" in line or "debug" in line or "exec" in line for line in seen), seen
    assert texts[f"{PROD} -y -vvv --debug deploy.apply report=report"].count("matches the contract") == 3
    for path in tmp_path.rglob("*"):
        if path.is_file() and path not in (inventory, tmp_path / "services.conf"):
            texts[str(path)] = path.read_text(encoding="utf-8", errors="replace")
    assert (tmp_path / "report").is_dir() and (tmp_path / "report-of-failures").is_dir()
    for region, server in files.servers.items():
        log = server.docker("logs")
        assert "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY" in log
        # what the image itself ran when it made the user is not ours
        texts[f"log of {region}"] = "\n".join(line for line in log.splitlines() if "PASSWORD" not in line.upper().split("USER")[0])
    forms = {PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), json.dumps(PASSWORD)[1:-1], repr(PASSWORD)[1:-1]}
    forms |= {PASSWORD.replace("\\", "\\\\"), json.dumps(PASSWORD, ensure_ascii=False)[1:-1], PASSWORD[:5], PASSWORD[4:]}
    assert any(form in (tmp_path / "services.conf").read_text() for form in forms)
    assert not [(place, form) for place, text in texts.items() for form in forms if form in text]


class watched_processes:
    """The command lines of all processes, looked at every 50 ms."""

    def __enter__(self) -> set[str]:
        self.seen: set[str] = set()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self.seen

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue
            time.sleep(0.05)
