"""`@pgservices` and `@pgdatabases`: one inventory line that makes many hosts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import psycopg.sql
import pytest
from support.files import password_file
from support.operator import Pyinfra, ended, has_tables
from support.requirements import missing
from support.servers import PASSWORD, Database, Server


@pytest.fixture
def tenants(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Database]]:
    """Three databases, `t_..._tenant_1` to `3`; the server is the service `app`, and its password is in .pgpass."""
    monkeypatch.setenv("PGSERVICEFILE", str(service_file(tmp_path, server, "app")))
    monkeypatch.setenv("PGPASSFILE", str(password_file(tmp_path / "pgpass", PASSWORD, f"127.0.0.1:{server.port}:*:postgres")))
    made = [server.database(f"tenant_{number}") for number in (1, 2, 3)]
    yield made
    for database in made:
        database.drop()


def service_file(folder: Path, server: Server, *names: str, dbname: str | None = None) -> Path:
    path = folder / "services.conf"
    lines = ["host=127.0.0.1", f"port={server.port}", "user=postgres", *([f"dbname={dbname}"] if dbname else [])]
    path.write_text("# the fleet\n" + "".join("\n".join([f"[{name}]", *lines, ""]) for name in names), encoding="utf-8")
    return path


def test_a_service_pattern_is_a_fleet_with_waves(tenants: list[Database], pyinfra: Pyinfra, tmp_path: Path) -> None:
    server = tenants[0].server
    text = ""
    for name, database in zip(("health-eu", "health-us", "billing"), tenants, strict=True):
        text += service_file(tmp_path, server, name, dbname=database.name).read_text()
    (tmp_path / "services.conf").write_text(text)

    done = pyinfra({"@pgservices/health-*": {"wave": 1}, "@pgservices/health-eu": {"wave": 0}}, "-y", "deploy.apply")

    assert done.code == 0, done.out
    assert [has_tables(database) for database in tenants] == [True, True, False]
    assert done.change("Migrate (wave 0)") == done.change("Migrate (wave 1)") == "success"


def test_a_pattern_without_a_service_is_one_host_that_fails(tenants: list[Database], pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra({"@pgservices/health-*": {}, "@pgdatabases/app/tenant_1": {}}, "-y", "deploy.apply")

    assert done.code == 1
    want = (
        f"no service of {tmp_path / 'services.conf'} matches 'health-*'; "
        "add a section, or set PGSERVICEFILE to the file that has it"
    )
    assert [line.strip() for line in done.lines("@pgservices/health-*")] == [want], done.out
    assert "wave 0" not in done.out and has_tables(tenants[0])


def test_a_fleet_of_services_costs_one_look_at_the_installed_packages(tmp_path: Path) -> None:
    """pyinfra reads the metadata of every installed package for every `@name` of an inventory, not for every host."""
    path = tmp_path / "services.conf"
    path.write_text("".join(f"[health-{number}]\nhost=127.0.0.1\n" for number in range(300)))
    program = """
import pyinfra.api.connectors as connectors
from pyinfra.api.inventory import Inventory
looks, real = [], connectors.entry_points
connectors.entry_points = lambda **arguments: looks.append(1) or real(**arguments)
inventory = Inventory((["@pgservices/health-*"], {}))
print(len(inventory), len(looks))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PGSERVICEFILE": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    hosts, looks = map(int, done.stdout.split())
    assert hosts == 300
    assert looks <= 3


def test_the_databases_of_a_server_are_listed_by_one_query(tenants: list[Database], pyinfra: Pyinfra) -> None:
    server = tenants[0].server
    before = server.log.read_text(errors="replace").count("WHERE datallowconn")

    done = pyinfra("@pgdatabases/app/tenant_*", "-y", "deploy.apply")

    assert done.code == 0, done.out
    assert all(has_tables(database) for database in tenants)
    assert done.lines("@postgres/app/tenant_2")
    assert server.log.read_text(errors="replace").count("WHERE datallowconn") == before + 1


def test_a_server_that_cannot_be_listed_is_one_host_that_fails(tenants: list[Database], pyinfra: Pyinfra, tmp_path: Path) -> None:
    with (tmp_path / "services.conf").open("a") as file:
        file.write("[gone]\nhost=127.0.0.1\nport=1\nuser=postgres\n")

    done = pyinfra({"@pgdatabases/gone/tenant_*": {}, "@pgdatabases/app/tenant_1": {}}, "-y", "deploy.apply")

    assert done.code == 1
    (got,) = done.lines("@pgdatabases/gone/tenant_*")
    assert got.startswith(
        "can't connect to service 'gone': connection to server at \"127.0.0.1\", port 1 failed: Connection refused"
    )
    assert has_tables(tenants[0])


def test_no_database_that_matches_is_one_host_that_fails(tenants: list[Database], pyinfra: Pyinfra) -> None:
    done = pyinfra("@pgdatabases/app/nothing_*", "-y", "deploy.apply")

    assert done.code == 1
    want = "no database of service 'app' matches 'nothing_*'; check the pattern, or create the database"
    assert done.lines("@pgdatabases/app/nothing_*") == [want], done.out


@pytest.mark.parametrize(
    ("inventory", "want"),
    [
        ("@pgservices/", "@pgservices needs a pattern: @pgservices/integration-health-*, or @pgservices/* for every service"),
        ("@pgdatabases/app", "@pgdatabases needs a service and a pattern: @pgdatabases/SERVICE/tenant_*"),
    ],
)
def test_a_name_without_a_pattern_is_refused(pyinfra: Pyinfra, inventory: str, want: str) -> None:
    done = pyinfra(inventory, "-y", "deploy.apply")

    assert done.code == 1
    assert want in done.out


@pytest.mark.parametrize(
    ("inventory", "first", "second"),
    [
        ({"@postgres/a@postgres/b": {}}, "@postgres/a", "@postgres/b"),
        ("@postgres/a@local", "@postgres/a", "@local"),
        ("@pgservices/eu-*@postgres/us", "@pgservices/eu-*", "@postgres/us"),
        ("@pgdatabases/app/tenant_*@ssh/web", "@pgdatabases/app/tenant_*", "@ssh/web"),
    ],
)
def test_names_between_which_a_comma_is_missing_are_refused(
    pyinfra: Pyinfra, inventory: dict[str, dict[str, object]] | str, first: str, second: str
) -> None:
    done = pyinfra(inventory, "-y", "deploy.apply")

    assert (ended(done), done.code) == (f"'{first}{second}' is two names of hosts; put a comma between '{first}' and '{second}'", 1)


@pytest.mark.everything
def test_a_full_server_is_waited_for(tenants: list[Database], pyinfra: Pyinfra) -> None:
    """The role may open one connection, and somebody has it for some seconds."""
    server = tenants[0].server
    server.client(
        "psql", "-Xqc", f"CREATE ROLE crowded LOGIN PASSWORD {psycopg.sql.quote(PASSWORD)} CONNECTION LIMIT 1", "postgres"
    )
    server.client("psql", "-Xqc", "GRANT ALL ON SCHEMA public TO crowded", tenants[0].name)
    data = {"@postgres/app": {"postgres_service": "app", "postgres_dbname": tenants[0].name, "postgres_user": "crowded"}}
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    login = {"host": "127.0.0.1", "port": server.port, "user": "crowded", "dbname": "postgres", "password": PASSWORD}
    try:
        with psycopg.connect(**login) as holder:  # type: ignore[arg-type]
            data["@postgres/app"]["lock_wait"] = "1s"
            done = pyinfra(data, "-y", "deploy.apply", environment=environment)
            assert done.code == 1
            (got,) = done.lines("@postgres/app")
            assert 'too many connections for role "crowded"; waited for one; run the command again later, raise lock_wait' in got

            data["@postgres/app"]["lock_wait"] = "30s"
            threading.Timer(4, holder.close).start()
            done = pyinfra(data, "-y", "deploy.apply", environment=environment)
            assert done.code == 0, done.out
        assert has_tables(tenants[0])
    finally:
        server.client("psql", "-Xqc", "DROP OWNED BY crowded", tenants[0].name)
        server.client("psql", "-Xqc", "DROP ROLE crowded", "postgres")


def test_databases_that_can_not_be_connected_to_are_left_out_with_a_note(
    tenants: list[Database], pyinfra: Pyinfra, tmp_path: Path
) -> None:
    """No CONNECT for the role, or half dropped: DROP DATABASE was interrupted."""
    one, two, three = tenants
    role = f"fleet_{one.name}"
    one.psql(f"CREATE ROLE {role} LOGIN PASSWORD {psycopg.sql.quote(PASSWORD)}; GRANT CREATE ON SCHEMA public TO {role}")
    two.psql(f"REVOKE CONNECT ON DATABASE {two.name} FROM PUBLIC")
    limit = f"UPDATE pg_database SET datconnlimit = %d WHERE datname = '{three.name}'"  # noqa: S608
    one.psql(limit % -2)
    service_file(tmp_path, one.server, "app")
    services = tmp_path / "services.conf"
    services.write_text(services.read_text().replace("user=postgres", f"user={role}"))
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    note = f"left out {two.name} (no CONNECT privilege), {three.name} (half dropped)"
    try:
        done = pyinfra("@pgdatabases/app/tenant_*", "-y", "deploy.apply", environment=environment)
        assert done.code == 0, done.out
        assert done.out.count(note) == 1
        none = pyinfra("@pgdatabases/app/tenant_[23]", "-y", "deploy.apply", environment=environment)
        assert none.code == 1
        want = "no database of service 'app' that matches 'tenant_[23]' can be connected to: "
        assert any(line.startswith(want) for line in none.lines("@pgdatabases/app/tenant_[23]")), none.out
    finally:
        one.psql(limit % -1)
        one.psql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_without_a_home_a_pattern_without_a_service_is_one_host_that_fails() -> None:
    """As in a container whose user has no name: nothing says where the home is."""
    program = """
import os
from deploy.connectors.pgservices import ServicesConnector
os.setuid(54321)
print(list(ServicesConnector.make_names_data("health-*")))
"""
    if os.geteuid() != 0:
        missing("only root can become a user without a name")
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "PGSERVICEFILE")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no service of ~/.pg_service.conf matches 'health-*'; add a section, or set PGSERVICEFILE" in done.stdout
