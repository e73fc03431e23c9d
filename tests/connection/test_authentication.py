"""How a server asks who we are: one that asks for less than the inventory wants is refused, before it hears a password."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.operator import Pyinfra, ended, is_deployed, run, said
from support.project import ROOT
from support.requirements import missing
from support.roundtrips import proxy
from support.servers import PASSWORD, SUPERUSER, Database
from support.tls import NAME, Secure

pytestmark = pytest.mark.everything

STRICT = "require_auth=scram-sha-256"
BOUND = "channel_binding=require"

ACCESS = f"""
local all all scram-sha-256
host all {SUPERUSER} all scram-sha-256
host all hashed all md5
host all cleartext all password
host all unasked all trust
"""

WEAK = {"hashed": "md5", "cleartext": "password", "unasked": "trust"}
"""Roles, and the method that the server wants of each."""


ROLES = "".join(
    f"""SET password_encryption = '{"md5" if method == "md5" else "scram-sha-256"}';
    CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{PASSWORD.replace("'", "''")}';"""
    for role, method in WEAK.items()
)


def test_scram_with_channel_binding_deploys(pyinfra: Pyinfra, secure: Secure, healthy: Database) -> None:
    result = run(pyinfra, {"@postgres/one": secure.data(healthy, f"{STRICT} {BOUND}")})

    assert (result.code, is_deployed(healthy)) == (0, True), result.out
    authenticated = re.findall(r'connection authenticated: identity="postgres" method=(\S+)', secure.server.log.read_text())
    assert set(authenticated) == {"scram-sha-256"}


def test_a_server_that_asks_for_less_is_refused_in_libpqs_words(pyinfra: Pyinfra, secure: Secure, healthy: Database) -> None:
    """Each of its roles can log in when the inventory asks for nothing, and the host beside them is deployed."""
    port = healthy.server.port
    here = f'can\'t connect to {NAME}:{port}: connection to server at "127.0.0.1", port {port} failed: '
    method = 'authentication method requirement "scram-sha-256" failed: server '
    cases = {
        ("hashed", STRICT): method + "requested a hashed password",
        ("cleartext", STRICT): method + "requested a cleartext password",
        ("unasked", STRICT): method + "did not complete authentication",
        ("hashed", BOUND): "channel binding required but not supported by server's authentication request",
        ("unasked", BOUND): "channel binding required, but server authenticated client without channel binding",
        (SUPERUSER, f"{BOUND} sslmode=disable"): "channel binding required, but SSL not in use",
    }
    names = [f"@postgres/{number}" for number in range(len(cases))]
    hosts = {name: secure.data(healthy, more, user=user) for name, (user, more) in zip(names, cases, strict=True)}

    result = run(pyinfra, {**hosts, "@postgres/healthy": secure.data(healthy, f"{STRICT} {BOUND}")})

    by_hand = "; run psql with the same parameters to try it by hand"
    assert [said(result, name) for name in names] == [[here + want + by_hand] for want in cases.values()]
    assert (result.code, is_deployed(healthy)) == (1, True)
    careless = {f"@postgres/{user}": secure.data(healthy, user=user) for user in WEAK}
    assert run(pyinfra, careless, "exec", "--", "SELECT 1").code == 0


def test_a_server_that_asks_for_the_password_itself_does_not_get_it(pyinfra: Pyinfra, secure: Secure, healthy: Database) -> None:
    """The proxy reads along, so without TLS; without require_auth the password does come by."""
    sent = {}
    for asked in ("", STRICT):
        with proxy(healthy.server.port) as between:
            data = {**secure.data(healthy, f"sslmode=disable {asked}", user="cleartext"), "postgres_port": between.port}
            code = run(pyinfra, {"@postgres/one": data}, "exec", "--", "SELECT 1").code
        sent[asked] = (code, any(PASSWORD.encode() in link.sent for link in between.links))
    assert sent == {"": (0, True), STRICT: (1, False)}


def test_production_takes_no_less_than_scram_bound_to_verified_tls(
    pyinfra: Pyinfra, secure: Secure, healthy: Database, tmp_path: Path
) -> None:
    """`inventories/prod.py` with services that would let the deploy in more easily, one of them by saying so."""
    common = f"host={NAME}\nhostaddr=127.0.0.1\nport={healthy.server.port}\ndbname={healthy.name}\nsslrootcert={secure.root}\n"
    lax = "sslmode=disable\nrequire_auth=none,password,md5\nchannel_binding=disable\n"
    services = tmp_path / "services.conf"
    services.write_text(
        f"[integration-health-eu-1]\n{common}user=unasked\n{lax}\n"
        f"[integration-health-eu-2]\n{common}user=cleartext\n\n"
        f"[integration-health-us-1]\n{common}user=hashed\n"
    )

    result = run(pyinfra, str(ROOT / "inventories" / "prod.py"), "-y", "deploy.apply", PGSERVICEFILE=str(services))

    reasons = [" ".join(said(result, f"@postgres/{region}")) for region in ("eu-1", "eu-2", "us-1")]
    found = [re.findall('"scram-sha-256" failed: server (.*?);', reason) for reason in reasons]
    assert found == [["did not complete authentication"], ["requested a cleartext password"], ["requested a hashed password"]]
    assert result.code == 1


def test_a_libpq_that_does_not_know_require_auth_is_one_sentence(pyinfra: Pyinfra, secure: Secure, healthy: Database) -> None:
    """A psycopg without its binary uses the system's libpq; Debian's is 15."""
    hosts = {"@postgres/one": secure.data(healthy, STRICT)}
    own = {"PSYCOPG_IMPL": "python"}
    if run(pyinfra, {"@postgres/one": secure.data(healthy)}, "exec", "--", "SELECT 1", **own).code:
        missing("no libpq is installed on this system")

    result = run(pyinfra, hosts, **own)

    assert ended(result) == (
        "@postgres/one: postgres_conninfo: libpq 15 does not know require_auth, which came with 16; "
        "use psycopg[binary], which brings a newer one"
    )
    assert result.code == 1
