"""A certificate as the login: a wrong one is that host's one sentence, and a locked key never asks on the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.operator import PYINFRA, Pyinfra, inventory_file, is_deployed, run, said
from support.servers import SUPERUSER, Database
from support.terminal import in_terminal
from support.tls import NAME, Secure, encrypted, write_pem

pytestmark = pytest.mark.everything

PHRASE = "pass \"phr'ase %s"

ACCESS = f"""
local all all scram-sha-256
host all {SUPERUSER} all scram-sha-256
hostssl all robot all cert
"""


ROLES = "CREATE ROLE robot LOGIN SUPERUSER"


@pytest.fixture(scope="module")
def keys(secure: Secure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Client certificates NAME.crt with NAME.key: good, and one for another role."""
    folder = tmp_path_factory.mktemp("keys")
    for name, role in {"good": "robot", "another": "another"}.items():
        issued = secure.authority.issue_cert(f"{role}@example.com", common_name=role)
        write_pem(folder / f"{name}.crt", *issued.cert_chain_pems)
        write_pem(folder / f"{name}.key", issued.private_key_pem)
    encrypted(folder / "good.key", PHRASE)
    return folder


def test_a_client_certificate_logs_in_and_a_wrong_one_fails_in_libpqs_words(
    pyinfra: Pyinfra, secure: Secure, healthy: Database, keys: Path
) -> None:
    port = healthy.server.port
    here = f'can\'t connect to {NAME}:{port}: connection to server at "127.0.0.1", port {port} failed: '

    def files(crt: str, key: str) -> str:
        return f"sslcert={keys / crt} sslkey={keys / key}"

    cases = {
        "none": ("", "FATAL: connection requires a valid client certificate"),
        "another-role": (files("another.crt", "another.key"), 'FATAL: certificate authentication failed for user "robot"'),
        "other-key": (
            files("good.crt", "another.key"),
            f'could not load private key file "{keys}/another.key": key values mismatch',
        ),
    }
    hosts = {f"@postgres/{name}": secure.data(healthy, more, user="robot") for name, (more, _) in cases.items()}
    right = {"@postgres/right": secure.data(healthy, files("good.crt", "good.key"), user="robot")}

    result = run(pyinfra, {**hosts, **right}, PGPASSWORD="")

    by_hand = "; run psql with the same parameters to try it by hand"
    assert {name: said(result, f"@postgres/{name}") for name in cases} == {
        name: [here + want + by_hand] for name, (_, want) in cases.items()
    }
    assert (result.code, is_deployed(healthy)) == (1, True)


def test_an_encrypted_key_takes_its_pass_phrase_from_the_service_file_and_never_asks_on_the_terminal(
    secure: Secure, healthy: Database, keys: Path, tmp_path: Path
) -> None:
    key = keys / "encrypted-good.key"
    services = tmp_path / "services.conf"
    section = f"[{{}}]\nhost={NAME}\nhostaddr=127.0.0.1\nport={healthy.server.port}\ndbname={healthy.name}\nuser=robot\n"
    section += f"sslmode=verify-full\nsslrootcert={secure.root}\nsslcert={keys / 'good.crt'}\nsslkey={key}\n"
    services.write_text(f"{section.format('locked')}{section.format('open')}sslpassword={PHRASE}\n")
    inventory = inventory_file(tmp_path, {f"@postgres/{name}": {"postgres_service": name} for name in ("locked", "open")})
    environment = healthy.server.environment(PGSERVICEFILE=str(services))

    _, out = in_terminal([PYINFRA, str(inventory), "-y", "-vvv", "deploy.apply"], tmp_path, 500, environment=environment)

    assert "pass phrase:" not in out
    assert (
        "can't connect to service 'locked': connection to server at "
        f'"127.0.0.1", port {healthy.server.port} failed: could not load private key file "{key}": bad decrypt; '
        "put the key's pass phrase into the service file as sslpassword"
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
    assert said(result, "@postgres/wrong")[-1].endswith(
        "bad decrypt; put the key's pass phrase into the service file as sslpassword"
    )
    for shape in (PHRASE, quoted, repr(PHRASE), repr(quoted)[1:-1], "phr'ase", "phr\\'ase"):
        assert shape not in result.out
