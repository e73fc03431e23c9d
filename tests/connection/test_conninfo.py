"""From a host's name and data to libpq's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.connection import conninfo
from deploy.connection.endpoint import Endpoint
from deploy.errors import RunRefused
from deploy.settings import Settings
from deploy.values import milliseconds


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No service file of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))


def endpoint(name: str = "name", **data: object) -> Endpoint:
    given = {f"postgres_{key}": value for key, value in data.items()}
    return conninfo.endpoint(name, Settings(**given, lock_timeout=milliseconds("2s"), statement_timeout=milliseconds(0)))  # type: ignore[arg-type]


def where(made: Endpoint) -> Mapping[str, str]:
    ours = {"client_encoding", "connect_timeout", "application_name", "sslpassword", *conninfo.KEEPALIVES}
    return {key: value for key, value in made.parameters.items() if key not in ours}


@pytest.mark.parametrize(
    ("name", "want"),
    {
        "db.example": {"host": "db.example"},
        "db.example:5433": {"host": "db.example", "port": "5433"},
        "db.example/app": {"host": "db.example", "dbname": "app"},
        "127.0.0.1:5433/app/2": {"host": "127.0.0.1", "port": "5433", "dbname": "app/2"},
        "[::1]": {"host": "::1"},
        "[fe80::1%eth0]:5433/app": {"host": "fe80::1%eth0", "port": "5433", "dbname": "app"},
    }.items(),
)
def test_a_name_alone_is_host_port_and_database(name: str, want: Mapping[str, str]) -> None:
    assert where(endpoint(name)) == want


@pytest.mark.parametrize("name", ["::1", "db:", "db:port", "db/", ":5432", "[::1", "a:1:2"])
def test_a_name_that_is_no_address_is_refused_with_the_two_ways_out(name: str) -> None:
    with pytest.raises(RunRefused) as refused:
        endpoint(name)
    assert str(refused.value) == (
        f"@postgres/{name}: {name!r} is not HOST[:PORT][/DBNAME]; "
        "name the database so, or give the host postgres_service or postgres_conninfo"
    )


def test_data_goes_on_top_of_the_name() -> None:
    want = {"host": "db", "port": "6000", "dbname": "app", "user": "me", "sslmode": "verify-full", "sslrootcert": "/ca"}
    assert where(endpoint("db:5433/app", port=6000, user="me", sslmode="verify-full", sslrootcert="/ca")) == want


def test_with_a_host_in_the_data_the_name_is_only_a_name() -> None:
    assert where(endpoint("any thing: at all", host="db")) == {"host": "db"}


@pytest.mark.parametrize("given", ["host=db dbname=app user=me", "postgresql://me@db/app", "postgres://me@db/app"])
def test_a_connection_string_or_url_is_read_by_libpq_and_data_goes_on_top(given: str) -> None:
    made = endpoint(conninfo=given, port=6000)
    assert where(made) == {"host": "db", "dbname": "app", "user": "me", "port": "6000"}
    assert made.label == "db:6000"


def test_a_connection_string_without_a_host_does_not_take_the_name() -> None:
    assert where(endpoint("db", conninfo="dbname=app")) == {"dbname": "app"}


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:s3cr3t@[::1/app",
        "postgresql://me:s3cr3t",
        "postgresql://me:x/s3cr3t@127.0.0.1/app",
        "postgresql://me:12/s3cr3t@127.0.0.1/app",
        "postgresql://me:x?s3cr3t@y@127.0.0.1/app",
        "host=127.0.0.1 password=s3cr3t word dbname=app",
        "host=127.0.0.1 password='s3cr3t dbname=app",
    ],
)
def test_a_connection_string_whose_password_breaks_it_is_refused_without_a_word_of_it(text: str) -> None:
    """What libpq can't read; also what it reads as a host, port or database, because a password holds a bare `@` or `/`."""
    with pytest.raises(RunRefused) as refused:
        endpoint(conninfo=text)
    assert str(refused.value) == (
        "@postgres/name: postgres_conninfo is not a connection string that libpq can read; write it as `host=... dbname=...` "
        "or postgresql://..., and put the password into .pgpass, PGPASSWORD or the service file"
    )


def test_a_service_stays_libpqs_and_is_resolved_for_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The label and the server that connections are counted by are those of the section; PGSERVICE stays as it was."""
    services = tmp_path / "services.conf"
    services.write_text("[prod]\nhost=db7\nport=6432\napplication_name=from-the-file\noptions=-c jit=off\nconnect_timeout=3\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGSERVICE", "other")
    made = endpoint("prod-7", service="prod", dbname="app")
    assert where(made) == {"service": "prod", "dbname": "app"}
    assert made.key == "db7:6432"
    assert made.label.startswith("service 'prod'")
    assert "application_name" not in made.parameters
    assert made.parameters["connect_timeout"] == "3"
    assert "options" not in made.parameters, "libpq takes them from the section itself"
    import os

    assert os.environ["PGSERVICE"] == "other"


def test_sessions_are_named_after_us_and_no_setting_goes_along_that_a_pooler_refuses() -> None:
    made = endpoint("db")
    assert made.parameters["client_encoding"] == "utf8"
    assert made.parameters["application_name"] == "integration-health-deploy"
    assert made.parameters["connect_timeout"] == "10"
    assert "options" not in made.parameters


def test_a_connection_without_a_sign_of_life_ends_in_two_minutes_unless_the_user_has_other_keepalives() -> None:
    assert conninfo.KEEPALIVES.items() <= endpoint("db").parameters.items()
    made = endpoint(conninfo="host=db keepalives_idle=600").parameters
    assert (made["keepalives_idle"], made["keepalives_count"]) == ("600", "6")


@pytest.mark.parametrize("way", ["conninfo", "environment"])
def test_the_users_own_application_name_and_options_are_kept(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "environment":
        monkeypatch.setenv("PGAPPNAME", "mine")
        monkeypatch.setenv("PGOPTIONS", "-c work_mem=64MB")
        assert not {"application_name", "options"} & endpoint("db").parameters.keys(), (
            "libpq takes them from the environment itself"
        )
    else:
        made = endpoint(conninfo="host=db application_name=mine options='-c work_mem=64MB'")
        assert (made.parameters["application_name"], made.parameters["options"]) == ("mine", "-c work_mem=64MB")


@pytest.mark.parametrize("key", conninfo.SECRET_PARAMETERS)
def test_a_secret_in_the_inventory_is_named(key: str) -> None:
    assert endpoint(conninfo=f"host=db {key}=x").exposed == (key,)


def test_without_a_pass_phrase_openssl_gets_one_that_opens_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would ask on the terminal; the user's own is kept, in the string or the service file."""
    services = tmp_path / "services.conf"
    services.write_text("[prod]\nhost=db\nsslpassword=secret\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    assert (endpoint("db").parameters["sslpassword"], endpoint("db").exposed) == ("none", ())
    assert endpoint(conninfo="host=db sslpassword=mine").parameters["sslpassword"] == "mine"
    assert "sslpassword" not in endpoint(service="prod").parameters


def test_without_any_host_the_label_says_so() -> None:
    assert endpoint(conninfo="dbname=app").label == "local socket:5432"


def test_several_hosts_are_named_one_by_one_and_reached_one_by_one_whatever_their_role() -> None:
    made = endpoint(conninfo="host=a,b port=1,2 dbname=app target_session_attrs=primary sslmode=require")
    assert made.label == "a:1,b:2"
    assert [(one.label, len(one.hosts), one.alternatives) for one in made.alternatives] == [("a:1", 1, ()), ("b:2", 1, ())]
    first = made.alternatives[0].parameters
    assert {**made.parameters, "host": "a", "port": "1", "target_session_attrs": "any"} == first


def test_a_single_port_is_that_of_all_hosts_and_an_address_goes_with_its_name() -> None:
    made = endpoint(conninfo="postgresql:///app?host=a,b&hostaddr=10.0.0.1,10.0.0.2")
    assert [(one.parameters["host"], one.parameters["hostaddr"], one.parameters["port"]) for one in made.alternatives] == [
        ("a", "10.0.0.1", "5432"),
        ("b", "10.0.0.2", "5432"),
    ]
    assert endpoint(conninfo="hostaddr=10.0.0.1,10.0.0.2 port=6000").label == "10.0.0.1:6000,10.0.0.2:6000"


def test_several_hosts_of_a_service_are_reached_one_by_one_with_the_rest_of_its_section(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "services").write_text("[prod]\nhost=a,b\nport=1,2\ndbname=app\nuser=me\n", encoding="utf-8")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    made = endpoint(service="prod")
    assert made.label == "service 'prod'"
    assert [(one.label, one.parameters["service"]) for one in made.alternatives] == [("a:1", "prod"), ("b:2", "prod")]
