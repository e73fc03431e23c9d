"""From `postgres_ssh` to what ssh is told, and from its words to a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.connection import conninfo, ssh
from deploy.connection.endpoint import Endpoint
from deploy.connection.ssh import Bastion
from deploy.errors import RunRefused
from deploy.settings import Settings


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not that of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))


def endpoint(**data: object) -> Endpoint:
    return conninfo.endpoint("db", Settings(**{f"postgres_{key}": value for key, value in data.items()}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "want"),
    {
        "bastion": ("bastion", None),
        "bastion.example.com:2222": ("bastion.example.com", "2222"),
        "ops@bastion": ("ops@bastion", None),
        "ops@bastion:22": ("ops@bastion", "22"),
        "ops@corp.example@bastion:22": ("ops@corp.example@bastion", "22"),
        "ops@10.0.0.1": ("ops@10.0.0.1", None),
        "ops@[2001:db8::1]:22": ("ops@2001:db8::1", "22"),
        "[fe80::1%eth0]": ("fe80::1%eth0", None),
        "größe_1.x-y": ("größe_1.x-y", None),
    }.items(),
)
def test_a_bastion_is_a_destination_of_ssh_with_a_port(given: str, want: tuple[str, str | None]) -> None:
    assert ssh.read("db", given, None, None) == Bastion(*want)


HOSTILE = [
    "-oProxyCommand=id",
    "ops@-oProxyCommand=id",
    "-ops@bastion",
    "$(id)",
    "a;id",
    "a`id`",
    "a|id",
    "a&b",
    "a'b",
    'a"b',
    "a\\b",
    "{a}",
]


@pytest.mark.parametrize(
    "given", ["", "@", "ops@", "@bastion", "a b", "a\tb", "a\nb", "a\x7f", "ssh://bastion", "::1", "a:b", *HOSTILE]
)
@pytest.mark.parametrize("port", ["", ":22"])
def test_what_ssh_or_a_shell_could_take_for_more_than_a_name_is_refused(given: str, port: str) -> None:
    with pytest.raises(RunRefused) as refused:
        ssh.read("db", given + port, None, None)
    assert str(refused.value) == (
        f"@postgres/db: postgres_ssh {given + port!r} is not [USER@]HOST[:PORT]; name the bastion so, or as ~/.ssh/config does"
    )


@pytest.mark.parametrize("port", ["0", "65536", "-1", "22x", "٢٢", ""])
def test_a_port_of_a_bastion_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(RunRefused, match="is not "):
        ssh.read("db", f"bastion:{port}", None, None)


def test_a_key_may_be_in_the_home_and_is_then_the_only_one_of_the_agent(tmp_path: Path) -> None:
    made = ssh.read("db", "ops@bastion:22", "~/.ssh/deploy", 7)
    assert made is not None
    words = made.command(tmp_path / "100%")
    assert words[words.index("-S") + 1] == f"{tmp_path}/100%%"
    assert "ConnectTimeout=7" in words
    assert words[-8:] == ["-o", "IdentitiesOnly=yes", "-i", str(tmp_path / ".ssh" / "deploy"), "-p", "22", "--", "ops@bastion"]


def test_the_servers_of_a_service_are_those_of_its_section(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    services = tmp_path / "services.conf"
    services.write_text("[prod]\nhost=db1,db2\nhostaddr=10.0.0.7,\nport=6432\nconnect_timeout=3\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    made = endpoint(service="prod", ssh="ops@bastion:22")
    assert [(one.host, one.hostaddr, one.port) for one in made.hosts] == [("db1", "10.0.0.7", "6432"), ("db2", "", "6432")]
    assert (made.bastion, made.bastion and made.bastion.timeout) == (Bastion("ops@bastion", "22"), 3)
    assert (made.label, made.alternatives[1].label) == (
        "service 'prod' through ops@bastion:22",
        "db2:6432 through ops@bastion:22",
    )


def test_connections_are_counted_by_server_and_the_same_address_behind_two_bastions_is_two() -> None:
    direct, one, other = endpoint(host="10.0.0.7"), endpoint(host="10.0.0.7", ssh="a"), endpoint(host="10.0.0.7", ssh="b")
    assert direct.key == "10.0.0.7:5432"
    assert len({direct.key, one.key, other.key, endpoint(host="10.0.0.7", ssh="a", dbname="x").key}) == 3


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"host": "/run/postgresql"}, "/run/postgresql"),
        ({"host": "@abstract"}, "@abstract"),
        ({"conninfo": "host=db,/tmp"}, "/tmp"),
        ({"conninfo": "dbname=app"}, "the default"),
    ],
)
def test_a_unix_socket_is_on_no_bastion(data: dict[str, object], shown: str) -> None:
    with pytest.raises(RunRefused) as refused:
        endpoint(**data, ssh="bastion")
    assert str(refused.value) == (
        f"@postgres/db: postgres_ssh needs a server's name or address, and this is a Unix socket: {shown}; "
        "give the one that the bastion knows in postgres_host, the connection string or the service file"
    )


@pytest.mark.parametrize(
    ("said", "want"),
    [
        ("", None),
        ("\n \n", None),
        ("Welcome to ssh!\nsomething else.\ndebug1: Exit status -1\nBytes per second: sent 1\n", "ssh: something else"),
        ("channel 0: open failed: connect failed: Refused\nstdio forwarding failed\n", "ssh: open failed: connect failed: Refused"),
        ("ssh: connect to host a port 22: Refused\nConnection closed by UNKNOWN\n", "ssh: connect to host a port 22: Refused"),
        ('Load key "k": bad permissions\na@b: Permission denied (publickey).\n', 'ssh: Load key "k": bad permissions'),
    ],
)
def test_the_reason_is_one_line_of_what_ssh_said(said: str, want: str | None) -> None:
    assert ssh.reason(said) == want


def test_a_key_that_ssh_got_on_without_is_not_the_reason() -> None:
    skipped = 'Load key "/home/ops/.ssh/id_rsa": bad permissions\n'
    assert ssh.reason(skipped + "channel 0: open failed: connect failed: Connection refused\n") == (
        "ssh: open failed: connect failed: Connection refused"
    )
    denied = skipped + "ops@db: Permission denied (publickey).\n"
    assert ssh.reason(denied) == 'ssh: Load key "/home/ops/.ssh/id_rsa": bad permissions'
