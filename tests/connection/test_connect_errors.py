"""Hosts that can't be reached or logged into: one sentence each, and the host beside them is deployed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from support.operator import Pyinfra, ended, is_deployed, run, said
from support.requirements import missing
from support.servers import PASSWORD, Database, free_port, login, quoted

from deploy.connection.conninfo import endpoint
from deploy.errors import RunRefused
from deploy.settings import Settings

WARNING = "a password is in the inventory, where `debug-inventory` shows it; put it into .pgpass, PGPASSWORD or the service file"


UNREADABLE = (
    "@postgres/one: postgres_conninfo is not a connection string that libpq can read; write it as `host=... dbname=...` "
    "or postgresql://..., and put the password into .pgpass, PGPASSWORD or the service file"
)


def test_each_host_that_can_not_be_reached_fails_alone_with_one_sentence(
    pyinfra: Pyinfra, database: Database, neighbour: Database
) -> None:
    data, port, closed = database.data, database.server.port, free_port()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_port = silent.getsockname()[1]
        cases: dict[str, tuple[dict[str, object], str]] = {
            "wrong-password": (
                {**data, "postgres_conninfo": f"passfile={os.devnull}", "postgres_password": "wrong"},
                f'can\'t connect to 127.0.0.1:{port}: connection to server at "127.0.0.1", port {port} failed: FATAL: password '
                'authentication failed for user "postgres"; check .pgpass, PGPASSWORD or the service file for this user and host',
            ),
            "unknown-role": (
                {**data, "postgres_user": "no'body"},
                f'can\'t connect to 127.0.0.1:{port}: connection to server at "127.0.0.1", port {port} failed: FATAL: password '
                'authentication failed for user "no\'body"; check .pgpass, PGPASSWORD or the service file for this user and host',
            ),
            "unknown-host": (
                {**data, "postgres_host": "db.invalid"},
                f"can't connect to db.invalid:{port}: failed to resolve host 'db.invalid': [Errno -2] Name or service not known; "
                "check the host's name in the inventory or the service file",
            ),
            "refused-port": (
                {**data, "postgres_port": closed},
                f'can\'t connect to 127.0.0.1:{closed}: connection to server at "127.0.0.1", port {closed} failed: '
                "Connection refused; check the port and that the server runs",
            ),
            "no-such-socket": (
                {**data, "postgres_host": "/nowhere"},
                f'can\'t connect to /nowhere:{port}: connection to server on socket "/nowhere/.s.PGSQL.{port}" failed: '
                "No such file or directory; check the folder of the socket and that the server runs",
            ),
            "no-such-database": (
                {**data, "postgres_dbname": "nope"},
                f'can\'t connect to 127.0.0.1:{port}: connection to server at "127.0.0.1", port {port} failed: FATAL: database '
                '"nope" does not exist; check the name, or create it',
            ),
            "no-such-service": (
                {"postgres_service": "nope"},
                "can't connect to service 'nope': definition of service \"nope\" not found; "
                "add the section with a host to pg_service.conf, or set PGSERVICEFILE to the file that has it",
            ),
            "silent-server": (
                {**data, "postgres_port": silent_port, "postgres_conninfo": "connect_timeout=2"},
                f"can't connect to 127.0.0.1:{silent_port}: connection timeout expired; "
                "check the address, the firewall and that the server runs",
            ),
            "wrong-sslmode": (
                {**data, "postgres_sslmode": "always"},
                f'can\'t connect to 127.0.0.1:{port}: invalid sslmode value: "always"; '
                "run psql with the same parameters to try it by hand",
            ),
            "no-tls": (
                {**data, "postgres_sslmode": "require"},
                f'can\'t connect to 127.0.0.1:{port}: connection to server at "127.0.0.1", port {port} failed: '
                "server does not support SSL, but SSL was required; "
                "check host and port, or set ssl = on in the server's postgresql.conf",
            ),
        }
        hosts = {f"@postgres/{name}": given for name, (given, _) in cases.items()}

        result = run(pyinfra, {**hosts, "@postgres/healthy": neighbour.data})

    assert {name: said(result, f"@postgres/{name}") for name in cases} == {name: [want] for name, (_, want) in cases.items()}
    assert result.out.count(WARNING) == 1
    assert result.code == 1
    assert is_deployed(neighbour)


def test_a_missing_password_gives_one_sentence(pyinfra: Pyinfra, database: Database) -> None:
    port = database.server.port

    result = run(pyinfra, {"@postgres/one": database.data}, PGPASSWORD="")

    assert said(result, "@postgres/one") == [
        f'can\'t connect to 127.0.0.1:{port}: connection to server at "127.0.0.1", port {port} failed: fe_sendauth: no password '
        "supplied; put the password into .pgpass, PGPASSWORD or the service file"
    ]
    assert (ended(result), result.code) == ("No hosts remaining!", 1)


@pytest.mark.parametrize("words", [["-vvv", "--debug", "--diff"], ["--json", "-v"], ["-vv", "--dry", "--json"]], ids=" ".join)
def test_a_password_is_never_shown(pyinfra: Pyinfra, database: Database, neighbour: Database, words: list[str]) -> None:
    """Neither one that is right, in the inventory, nor one that is wrong, whatever characters it has."""
    wrong = "wr\"o'ng %s {x} \\ :@/ü"
    escaped = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
    hosts = {
        "@postgres/wrong": {**database.data, "postgres_password": wrong},
        "@postgres/conninfo": {**neighbour.data, "postgres_conninfo": f"password='{escaped}'"},
        "@postgres/key": {**neighbour.data, "postgres_password": PASSWORD},
        "@postgres/refused": {**neighbour.data, "postgres_password": PASSWORD, "postgres_port": free_port()},
    }

    result = run(pyinfra, hosts, *(["-y"] if "--dry" not in words else []), *words, "deploy.apply")

    assert result.code == 1
    for secret in (PASSWORD, wrong):
        for shape in (secret, repr(secret), repr(secret)[1:-1], secret.replace("\\", "\\\\"), secret.replace('"', '\\"')):
            assert shape not in result.out


def test_a_malformed_connection_string_is_refused_and_not_echoed(pyinfra: Pyinfra, neighbour: Database) -> None:
    conninfo = "postgresql://me:s3cr3t@tail@127.0.0.1/app"
    before = neighbour.dump()

    result = run(
        pyinfra,
        {"@postgres/healthy": neighbour.data, "@postgres/one": {"postgres_conninfo": conninfo}},
        "-y",
        "-vvv",
        "deploy.apply",
    )

    assert (ended(result), result.code) == (UNREADABLE, 1)
    assert "s3cr3t" not in result.out and "tail" not in result.out
    assert neighbour.dump() == before


def test_hostile_names_of_roles_and_databases_are_only_names(pyinfra: Pyinfra, database: Database) -> None:
    name = f"x'; DROP TABLE y; --\"{{{{ 1 }}}} $$ \\ ü🦀 {uuid.uuid4().hex[:8]}"
    server, role, owner = database.server, quoted(name), quoted(f"{name} owner")
    hostile = server.database(name)
    try:
        data = {**login(database, name), "postgres_dbname": name}
        hostile_sql = f"CREATE ROLE {owner} ROLE {role}; GRANT CREATE ON SCHEMA public TO {owner}"
        dsn = ["-X", "-At", "-q", "-d", f"dbname='{name.replace(chr(92), chr(92) * 2).replace(chr(39), chr(92) + chr(39))}'"]
        server.client("psql", *dsn, "-c", hostile_sql)

        result = run(pyinfra, {"@postgres/one": {**data, "owner": f"{name} owner"}})

        owners = server.client("psql", *dsn, "-c", "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
        assert result.code == 0, result.out
        assert owners.strip() == f"{name} owner"
        assert f"verified: {name} on PostgreSQL" in result.out
    finally:
        hostile.drop()
        server.client("psql", "-Xqc", f"DROP ROLE {owner}, {role}", "postgres")


def test_a_service_file_that_is_not_there_gives_one_sentence(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    result = run(pyinfra, {"@postgres/one": {"postgres_service": "prod"}}, PGSERVICEFILE=str(tmp_path / "none"))

    assert said(result, "@postgres/one") == [
        f"can't connect to service 'prod': service file \"{tmp_path / 'none'}\" not found; set PGSERVICEFILE to a file that exists"
    ]
    assert (ended(result), result.code) == ("No hosts remaining!", 1)


@pytest.mark.parametrize(
    ("conninfo", "want"),
    [
        (
            "postgres://u@db/app?pgbouncer=true",
            "libpq does not know the parameter 'pgbouncer'; remove it, it is one of another program's",
        ),
        (
            "postgresql://db/app?sslmode=prefer&schema=public",
            "libpq does not know the parameter 'schema'; remove it, it is one of another program's; set the data key `schema`",
        ),
        ("postgres://u:pa/ss?word=x@db/app", None),
        ("host=db password=pa ss=word", None),
    ],
)
def test_a_parameter_of_a_url_that_libpq_does_not_know_is_named_unless_it_may_be_a_part_of_a_password(
    conninfo: str, want: str | None
) -> None:
    with pytest.raises(RunRefused) as caught:
        endpoint("one", Settings(postgres_conninfo=conninfo))
    assert str(caught.value) == (UNREADABLE if want is None else f"@postgres/one: postgres_conninfo: {want}")


@pytest.mark.parametrize("bastion", [{}, {"postgres_ssh": "bastion"}], ids=["direct", "through a bastion"])
def test_a_token_that_is_too_long_for_the_service_file_is_named_as_the_reason(
    pyinfra: Pyinfra, tmp_path: Path, bastion: dict[str, str]
) -> None:
    services = tmp_path / "services.conf"
    services.write_text(f"[prod]\npassword={'p' * 1100}\nhost=127.0.0.1\n")
    result = run(pyinfra, {"@postgres/one": {"postgres_service": "prod", **bastion}}, PGSERVICEFILE=str(services))
    (line,) = said(result, "@postgres/one")
    assert line.startswith("can't connect to service 'prod'")
    assert line.endswith(
        f'line 2 too long in service file "{services}"; libpq reads no line of more than 1,023 bytes there; '
        "put a long password or token into .pgpass or PGPASSWORD"
    )


def test_a_user_of_the_operating_system_without_a_name_is_told_to_set_postgres_user() -> None:
    program = """
import os
from deploy.connection import connect_errors, conninfo, driver
from deploy.connection.ssh import Bastions
from deploy.settings import Settings
os.setuid(54321)
endpoint = conninfo.endpoint("127.0.0.1:1/app", Settings())
try:
    driver.connect(endpoint, endpoint.parameters, Bastions())
except Exception as error:
    print(connect_errors.explain(error, endpoint))
"""
    if os.geteuid() != 0:
        missing("only root can become a user without a name")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == (
        "can't connect to 127.0.0.1:1: local user with ID 54321 does not exist; set postgres_user, because the user of the "
        "operating system has no name"
    ), done.stderr
