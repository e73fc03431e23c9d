"""TLS with a private authority: what is wrong is that host's one sentence, and it is said before anything is sent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from support.operator import Pyinfra, is_deployed, run, said
from support.requirements import missing
from support.roundtrips import proxy
from support.servers import SUPERUSER, Database, Server
from support.tls import NAME, Secure, new_authority, write_pem
from support.versions import programs

pytestmark = pytest.mark.everything

ACCESS = f"""
local all all scram-sha-256
host all {SUPERUSER} all scram-sha-256
hostssl all tls_only all scram-sha-256
hostnossl all no_tls all scram-sha-256
"""

ROLES = "CREATE ROLE tls_only LOGIN SUPERUSER PASSWORD 'x'; CREATE ROLE no_tls LOGIN SUPERUSER PASSWORD 'x';"

SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory, secure: Secure) -> Iterator[Secure]:
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    made = Secure.create(tmp_path_factory.mktemp("expired"), secure.authority, ACCESS, not_after=yesterday)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    """A server that can't do TLS: PyPI's is built without."""
    made = Server.create(programs(), log_connections="all")
    yield made
    made.remove()


def test_verify_full_with_a_private_authority_deploys_over_tls(pyinfra: Pyinfra, secure: Secure, healthy: Database) -> None:
    data = secure.data(healthy)

    result = run(pyinfra, {"@postgres/one": data})

    assert (result.code, is_deployed(healthy)) == (0, True), result.out
    asked = run(pyinfra, {"@postgres/one": data}, "exec", "--", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert '[{"ssl": true}]' in asked.out


def wrong_hosts(
    secure: Secure, expired: Secure, plain: Server, database: Database, stranger: Path
) -> Mapping[str, tuple[dict[str, object], str]]:
    """Host data, and the sentence: what libpq says and what to do."""
    at = f'can\'t connect to {NAME}:{{port}}: connection to server at "127.0.0.1", port {{port}} failed: '
    here = at.format(port=database.server.port)
    asked = f"can't connect to {NAME}:{database.server.port}: "
    untrusted = (
        "SSL error: certificate verify failed; see why: openssl s_client -starttls postgres -connect 127.0.0.1:{} -CAfile {}"
    )
    entry = 'FATAL: no pg_hba.conf entry for host "127.0.0.1", user "{}", database "' + database.name + '", {}; '
    return {
        "wrong-name": (
            secure.data(database, host="db2.example.com"),
            here.replace(NAME, "db2.example.com") + f'server certificate for "{NAME}" does not match host name "db2.example.com"; '
            "connect by a name in the certificate (hostaddr takes the address), or issue one for this name",
        ),
        "expired": (
            expired.data(Database(expired.server, "postgres")),
            at.format(port=expired.server.port) + untrusted.format(expired.server.port, expired.root),
        ),
        "unknown-authority": (
            secure.data(database, f"sslrootcert={stranger}"),
            here + untrusted.format(database.server.port, stranger),
        ),
        "system-authorities": (
            secure.data(database, "sslrootcert=system"),
            here + untrusted.format(database.server.port, "").removesuffix(" -CAfile "),
        ),
        "no-authority": (
            secure.data(database, "sslrootcert=/nowhere/root.crt"),
            here + 'root certificate file "/nowhere/root.crt" does not exist; '
            "set sslrootcert to the PEM file of the authority that signed the server's certificate",
        ),
        "plain-server": (
            secure.data(Database(plain, "postgres")),
            at.format(port=plain.port) + "server does not support SSL, but SSL was required; "
            "check host and port, or set ssl = on in the server's postgresql.conf",
        ),
        "plain-client": (
            secure.data(database, "sslmode=disable", user="tls_only"),
            here + entry.format("tls_only", "no encryption") + "set sslmode=verify-full, or admit this user, database and address "
            "without TLS in the server's pg_hba.conf",
        ),
        "not-over-tls": (
            secure.data(database, user="no_tls"),
            here + entry.format("no_tls", "SSL encryption") + "admit this user, database and address in the server's pg_hba.conf",
        ),
        "first-with-then-without": (
            secure.data(database, "sslmode=prefer sslrootcert=''", user="tls_only"),
            here
            + 'FATAL: password authentication failed for user "tls_only", then '
            + here.removeprefix(asked)
            + entry.format("tls_only", "no encryption").replace("; ", "")
            + "; check .pgpass, PGPASSWORD or the service file for this user and host",
        ),
        "two-servers": (
            secure.data(database, f"host=db2.example.com,{NAME} hostaddr=127.0.0.1,127.0.0.1 password=wrong"),
            here.replace(asked, f"can't connect to db2.example.com:{database.server.port},{NAME}:{database.server.port}: ")
            + f'server certificate for "{NAME}" does not match host name '
            '"db2.example.com", then ' + here.removeprefix(asked) + 'FATAL: password authentication failed for user "postgres"; '
            "connect by a name in the certificate (hostaddr takes the address), or issue one for this name",
        ),
        "weak-mode": (
            secure.data(database, "sslmode=require sslrootcert=system"),
            asked + 'weak sslmode "require" may not be used with sslrootcert=system (use "verify-full"); '
            "run psql with the same parameters to try it by hand",
        ),
    }


@pytest.mark.parametrize("words", [["-y", "deploy.apply"], ["fact", "deploy.facts.Status"]], ids=" ".join)
def test_each_host_whose_tls_is_wrong_fails_alone_with_one_sentence(
    pyinfra: Pyinfra,
    secure: Secure,
    expired: Secure,
    plain: Server,
    healthy: Database,
    tmp_path: Path,
    words: list[str],
) -> None:
    stranger = write_pem(tmp_path / "stranger.crt", new_authority().cert_pem)
    cases = wrong_hosts(secure, expired, plain, healthy, stranger)
    hosts = {f"@postgres/{name}": data for name, (data, _) in cases.items()}

    result = run(pyinfra, {**hosts, "@postgres/healthy": secure.data(healthy)}, *words)

    assert {name: said(result, f"@postgres/{name}") for name in cases} == {name: [want] for name, (_, want) in cases.items()}
    assert result.code == 1
    if "fact" in words:
        assert result.out.count('"pending"') == 1
    else:
        assert is_deployed(healthy)


def test_the_command_at_the_end_says_what_is_wrong_with_the_certificate(
    pyinfra: Pyinfra, secure: Secure, expired: Secure, healthy: Database, tmp_path: Path
) -> None:
    if shutil.which("openssl") is None:
        missing("openssl is not installed")
    stranger = write_pem(tmp_path / "it's another.crt", new_authority().cert_pem)
    quoted = str(stranger).replace("'", "\\'")
    hosts = {
        "@postgres/stranger": secure.data(healthy, f"sslrootcert='{quoted}'"),
        "@postgres/expired": expired.data(Database(expired.server, "postgres")),
    }

    result = run(pyinfra, hosts)

    shown = {}
    for host in hosts:
        (line,) = said(result, host)
        command = line.partition("see why: ")[2]
        done = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        shown[host] = set(re.findall(r"Verify return code: \d+ \((.*)\)", done.stdout))
    assert shown == {
        "@postgres/stranger": {"self-signed certificate in certificate chain"},
        "@postgres/expired": {"certificate has expired"},
    }


def test_a_plain_server_is_asked_for_tls_and_for_nothing_else(pyinfra: Pyinfra, secure: Secure, plain: Server) -> None:
    database = Database(plain, "postgres")
    before = len(plain.log.read_text())
    with proxy(plain.port) as between:
        data = {**secure.data(database), "postgres_port": between.port}

        result = run(pyinfra, {"@postgres/one": data})

    assert result.code == 1
    assert {bytes(link.sent) for link in between.links} == {SSL_REQUEST}
    log = plain.log.read_text()[before:]
    assert "connection received" in log
    assert not re.search("authenticat|authorized|FATAL|statement", log), log


def test_a_server_whose_certificate_is_wrong_learns_no_user_and_no_password(
    pyinfra: Pyinfra, secure: Secure, healthy: Database, tmp_path: Path
) -> None:
    """The same server does log a login that was meant for it."""
    stranger = write_pem(tmp_path / "stranger.crt", new_authority().cert_pem)
    wrong = {"name": "host=db2.example.com", "file": f"sslrootcert={os.devnull}", "authority": f"sslrootcert={stranger}"}
    log = secure.server.log
    before = len(log.read_text())

    refused = run(pyinfra, {f"@postgres/{key}": secure.data(healthy, more) for key, more in wrong.items()})

    heard = log.read_text()[before:]
    assert refused.code == 1
    assert 1 <= heard.count("connection received") <= len(wrong)
    assert not re.search("authenticat|authorized|user=|database=", heard), heard
    assert run(pyinfra, {"@postgres/one": secure.data(healthy)}, "exec", "--", "SELECT 1").code == 0
    assert "connection authenticated: identity" in log.read_text()[before:]
