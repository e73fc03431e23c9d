"""Servers that only a bastion reaches."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import pytest
from deploy.bastion import Bastion
from deploy.tunnel import LOOPBACK, Tunnel
from support.bastions import DB, OTHER, PLAIN, Site
from support.containers import PASSWORD
from support.operator import PYINFRA, Pyinfra, Result, inventory_file
from support.waiting import until

pytestmark = [pytest.mark.everything, pytest.mark.usefixtures("nothing_is_left")]


def one_sentence(done: Result, host: str) -> str:
    """What was said of a host that could not be connected to."""
    (line,) = done.lines(host)
    return line.strip()


def test_a_server_that_only_the_bastion_reaches_is_deployed_over_verified_tls(site: Site, pyinfra: Pyinfra) -> None:
    """From a service file and a .pgpass that know nothing of the bastion; a second run changes nothing."""
    hosts = {"@postgres/app": {"postgres_service": "app", "postgres_ssh": "bastion"}}
    site.psql("DROP TABLE IF EXISTS integration_health, integration_events, _sqlx_migrations")
    before = len(site.log(site.containers[0]))

    first = pyinfra(hosts, "-y", "deploy.apply", environment=site.environment)
    second = pyinfra(hosts, "-y", "deploy.apply", environment=site.environment)

    assert (first.code, first.change("Migrate"), first.change("Verify")) == (0, "success", "no change"), first.out
    assert (second.code, second.change("Migrate")) == (0, "no change"), second.out
    assert site.psql("SELECT to_regclass('integration_events')") == "integration_events"
    log = site.log(site.containers[0])[before:].splitlines()
    logins = [line for line in log if "connection authorized" in line and "integration-health-deploy" in line]
    assert len(logins) >= 2
    assert all("SSL enabled" in line for line in logins)


def test_verify_full_holds_end_to_end(site: Site, pyinfra: Pyinfra) -> None:
    """A server without TLS, and one whose certificate is for another name, get nothing: no login, so no password either."""
    hosts = {
        "@postgres/plain": site.data(postgres_host=PLAIN),
        "@postgres/other": site.data(postgres_host=OTHER),
        "@postgres/loopback": site.data(postgres_conninfo=f"hostaddr={LOOPBACK}", postgres_host=DB),
    }
    before = len(site.log(site.containers[1]))

    done = pyinfra(hosts, "-y", "deploy.apply", environment=site.environment)

    assert done.code == 1
    assert one_sentence(done, "@postgres/plain") == (
        f'can\'t connect to {PLAIN}:5432 through bastion: connection to server at "{PLAIN}", port 5432 failed: server does not '
        "support SSL, but SSL was required; check host and port, or set ssl = on in the server's postgresql.conf"
    )
    assert f'server certificate for "{DB}" does not match host name "{OTHER}"' in one_sentence(done, "@postgres/other")
    assert one_sentence(done, "@postgres/loopback") == (
        f"can't connect to {DB}:5432 through bastion: ssh: open failed: connect failed: Connection refused; "
        "check the server's name and port as the bastion knows them, and that the server runs"
    )
    heard = site.log(site.containers[1])[before:]
    assert ("connection received" in heard, "connection authorized" in heard) == (True, False)


def test_where_tls_is_optional_libpq_makes_no_second_connection_of_its_own(site: Site, pyinfra: Pyinfra) -> None:
    """`prefer` and `allow` reach a server without TLS; a login that is refused is said once, and not tried again in clear."""
    wrong = {**site.environment, "PGPASSWORD": "wrong"}
    hosts = {f"@postgres/{mode}": site.data(postgres_host=PLAIN, postgres_sslmode=mode) for mode in ("prefer", "allow")}
    done = pyinfra(hosts, "exec", "--", "SELECT 1 AS one", environment=site.environment)
    assert (done.code, done.out.count('[{"one": 1}]')) == (0, 2), done.out

    refused = pyinfra({"@postgres/wrong": site.data(postgres_sslmode="prefer")}, "exec", "--", "SELECT 1", environment=wrong)
    said = one_sentence(refused, "@postgres/wrong")
    assert (refused.code, said.count("connection to server"), "password authentication failed" in said) == (1, 1, True), said


def test_a_bastion_is_named_as_for_ssh(site: Site, pyinfra: Pyinfra) -> None:
    """Also one that the configuration reaches by a jump, and one whose unknown key the configuration says to trust."""
    direct = {"postgres_ssh": f"ops@127.0.0.1:{site.port}", "postgres_ssh_key": str(site.folder / "user")}
    ways = [{"postgres_ssh": "bastion"}, {"postgres_ssh": "inner"}, {"postgres_ssh": "trusting"}, direct]
    hosts = {f"@postgres/app{n}": site.data(**way) for n, way in enumerate(ways)}

    done = pyinfra(hosts, "exec", "--", "SELECT 1 AS one", environment=site.environment)

    assert (done.code, done.out.count('[{"one": 1}]')) == (0, 4), done.out
    calls = site.calls()
    assert len(calls) == 4
    assert not [call for call in calls if PASSWORD in call]


def test_several_servers_are_tried_in_their_order(site: Site, pyinfra: Pyinfra) -> None:
    """Each in a tunnel of its own, with the port of its own."""
    conninfo = f"host={DB},nowhere.internal,{DB} port=1,5432,5432 target_session_attrs=read-write"
    data = {key: value for key, value in site.data(postgres_conninfo=conninfo).items() if key != "postgres_host"}

    done = pyinfra({"@postgres/app": data}, "exec", "--", "SELECT 1 AS one", environment=site.environment)

    assert (done.code, '[{"one": 1}]' in done.out) == (0, True), done.out
    assert (
        f"reached {DB}:5432 through bastion of {DB}:1 through bastion,nowhere.internal:5432 through bastion,{DB}:5432" in done.out
    )
    assert [call.split()[-3] for call in site.calls()] == [f"{DB}:1", "nowhere.internal:5432", f"{DB}:5432"]


def test_many_hosts_log_in_as_the_bastion_takes_them(site: Site, pyinfra: Pyinfra) -> None:
    """It refuses more than ten logins at once."""
    hosts = {f"@postgres/app{n:02}": site.data(max_connections_per_server=24) for n in range(24)}

    done = pyinfra(hosts, "exec", "--", "SELECT 1 AS one", environment=site.environment)

    assert (done.code, done.out.count('[{"one": 1}]')) == (0, 24), done.out


def test_a_command_that_takes_too_long_ends_on_the_server_too(site: Site, pyinfra: Pyinfra) -> None:
    """By the server's own timeout, or by ours: then the request to cancel takes a second tunnel, through the port of the first."""
    hosts = {
        "@postgres/theirs": site.data(statement_timeout="500ms"),
        "@postgres/ours": site.data(statement_timeout="0", _timeout=2),
    }

    done = pyinfra(hosts, "exec", "--", "SELECT pg_sleep(300)", environment=site.environment, timeout=60)

    assert (done.code, "57014" in " ".join(done.lines("@postgres/theirs"))) == (1, True), done.out
    lost = f"no answer from {DB}:5432 through bastion within 2 s; the command was cancelled"
    assert lost in " ".join(done.lines("@postgres/ours"))
    assert len(site.calls()) == 2 + 1
    until(lambda: site.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "0", 5)


def listening(pid: int) -> list[str]:
    """The TCP sockets of a process that listen, as lines of /proc."""
    inodes = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        if (target := str(path.readlink())).startswith("socket:["):
            inodes.add(target[8:-1])
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[3] == "0A" and line.split()[9] in inodes]


def test_a_run_listens_nowhere_and_leaves_no_ssh_however_it_ends(site: Site, tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM and SIGKILL, each while the server is at work and looks at nothing else."""
    inventory = inventory_file(tmp_path, {"@postgres/app": site.data()})
    command = [PYINFRA, str(inventory), "exec", "--", "SELECT pg_sleep(50)"]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
    runs = [subprocess.Popen(command, env=site.environment, **streams) for _ in signals]  # type: ignore[call-overload]
    try:
        until(lambda: site.psql("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(50)'") == "3", 60)
        assert [listening(run.pid) for run in runs] == [[], [], []]
        assert len(site.processes()) == 3
        for run, number in zip(runs, signals, strict=True):
            run.send_signal(number)
        for run in runs[1:]:
            run.wait(10)
        until(lambda: len(site.processes()) == 1, 5)  # on Ctrl-C, pyinfra waits for the command that runs
        site.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(50)'")
        runs[0].wait(30)
        until(lambda: site.processes() == [], 5)
    finally:
        for run in runs:
            run.kill()
            run.wait()


def test_a_stranger_who_finds_the_port_first_is_hung_up_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection of this process that comes after it gets the tunnel, and the port is closed."""
    monkeypatch.setenv("PATH", site.environment["PATH"])
    tunnel = Tunnel(Bastion("bastion"), DB, "5432")
    with socket.create_connection((LOOPBACK, tunnel.port)) as stranger, socket.create_connection((LOOPBACK, tunnel.port)) as ours:
        late = socket.create_connection((LOOPBACK, tunnel.port))
        tunnel.join(ours.fileno())
        ours.settimeout(20)
        ours.sendall((8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"))  # is there TLS?
        assert ours.recv(1) == b"S"
        assert stranger.recv(1) == b""
        with pytest.raises(ConnectionError):
            late.recv(1)
        late.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK, tunnel.port))
        assert len(site.processes()) == 1
    assert tunnel.failure() is None  # it has ended because its connection has
    tunnel.close()


def test_a_section_that_is_missing_is_its_hosts_alone(site: Site, pyinfra: Pyinfra) -> None:
    hosts = {"@postgres/nope": {"postgres_service": "nope", "postgres_ssh": "bastion"}, "@postgres/app": site.data()}

    done = pyinfra(hosts, "-y", "exec", "--", "SELECT 1 AS one", environment=site.environment)

    assert (done.code, done.out.count('[{"one": 1}]')) == (1, 1), done.out
    assert one_sentence(done, "@postgres/nope").endswith(
        "postgres_ssh needs a server's name or address, which this section of the service file does not give; "
        "add it with a host, or set PGSERVICEFILE to the file that has it"
    )
