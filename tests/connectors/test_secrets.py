"""A password never leaves the places it was put into, however much pyinfra is asked to print."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from support.operator import Pyinfra, Result
from support.servers import PASSWORD, SUPERUSER, Database, free_port

FORMS = {PASSWORD, repr(PASSWORD)[1:-1], quote(PASSWORD, safe=""), quote(PASSWORD), PASSWORD.replace("\\", "\\\\")}


def assert_no_secret(result: Result) -> None:
    assert [form for form in FORMS if form in result.out] == []
    assert "se%cret" not in result.out and "se%25cret" not in result.out


def ways(database: Database, tmp_path: Path) -> dict[str, tuple[dict[str, object], dict[str, str]]]:
    """The places a password may be in: data of the host and environment."""
    bare = {key: value for key, value in database.server.environment().items() if key != "PGPASSWORD"}
    quoted = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
    port = database.server.port
    service = tmp_path / "services.conf"
    service.write_text(
        f"[prod]\nhost=127.0.0.1\nport={port}\nuser={SUPERUSER}\ndbname={database.name}\npassword={PASSWORD}\n", encoding="utf-8"
    )
    string = f"host=127.0.0.1 port={port} user={SUPERUSER} dbname={database.name} password='{quoted}'"
    return {
        "environment": (database.data, database.server.environment()),
        "service file": ({"postgres_service": "prod"}, {**bare, "PGSERVICEFILE": str(service)}),
        "password in the data": ({**database.data, "postgres_password": PASSWORD}, bare),
        "connection string in the data": ({"postgres_conninfo": string}, bare),
        "URL in the data": ({"postgres_conninfo": database.url}, bare),
    }


def test_no_output_shows_a_password_that_worked(database: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    """Where it stands in the data there is a warning, without it."""
    flags = iter((["-vvv"], ["-vvv", "--debug"], ["--json"], ["-vvv", "--debug"], ["-vvv", "--diff"]))
    for place, (data, environment) in ways(database, tmp_path).items():
        result = pyinfra({"@postgres/x": data}, "-y", *next(flags), "deploy.apply", environment=environment)
        assert result.code == 0, result.out
        assert_no_secret(result)
        assert ("a password is in the inventory, where `debug-inventory` shows it" in result.out) is place.endswith("data"), place


def test_no_output_shows_a_password_that_did_not_help(database: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    """All ways at once fail at one port where nobody listens, and at one database that is not there."""
    hosts: dict[str, dict[str, object]] = {}
    for number, (data, environment) in enumerate(ways(database, tmp_path).values()):
        hosts[f"@postgres/port{number}"] = {**data, "postgres_port": free_port()}
        hosts[f"@postgres/name{number}"] = {**data, "postgres_dbname": "no such database"}
        del environment
    everything = database.server.environment(PGSERVICEFILE=str(tmp_path / "services.conf"))
    for words in (["-y", "-vvv", "--debug"], ["--dry", "--json"]):
        result = pyinfra(hosts, *words, "deploy.apply", environment=everything)
        assert result.code == 1
        assert_no_secret(result)
        assert result.out.count('database "no such database" does not exist') >= 5


OPERATION = """
from pyinfra.api import HiddenValue, StringCommand, operation

@operation()
def secret(end):
    yield StringCommand("CREATE TABLE t AS SELECT", HiddenValue("'top' || 'secret'"), "AS a", end)

secret(name="Good", end=";")
secret(name="Bad", end=", wrong")
"""


def test_a_masked_value_is_sent_as_it_is_and_not_shown_in_an_error_either(
    database: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    """pyinfra's HiddenValue in someone's operation; the offending line of an error would show it."""
    (tmp_path / "someones.py").write_text(OPERATION)
    result = pyinfra({"@postgres/x": database.data}, "-y", "-vvv", "someones.py", environment=database.server.environment())
    assert result.code == 1
    assert re.search(r"CREATE TABLE t AS SELECT \*MASKED\* AS a ;", result.out), result.out
    assert '1:51: 42703: ERROR: column "wrong" does not exist' in result.lines("@postgres/x"), result.out
    assert "'top'" not in result.out
    assert database.psql("SELECT a FROM t") == "topsecret"
