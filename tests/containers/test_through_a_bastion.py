"""Servers that only a bastion reaches."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest
from support.bastions import DB, OTHER, PLAIN, Site
from support.containers import PASSWORD
from support.operator import PYINFRA, Pyinfra, Result, finish, inventory_file, start
from support.waiting import until

from deploy.connection.ssh import LOOPBACK

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


def test_where_tls_is_optional_a_server_without_it_is_reached(site: Site, pyinfra: Pyinfra) -> None:
    """libpq connects twice, through the same port."""
    hosts = {f"@postgres/{mode}": site.data(postgres_host=PLAIN, postgres_sslmode=mode) for mode in ("prefer", "allow")}
    done = pyinfra(hosts, "exec", "--", "SELECT 1 AS one", environment=site.environment)
    assert (done.code, done.out.count('[{"one": 1}]')) == (0, 2), done.out


def test_a_bastion_is_named_as_for_ssh(site: Site, pyinfra: Pyinfra) -> None:
    """Also one that the configuration reaches by a jump, and one whose unknown key the configuration says to trust."""
    direct = {"postgres_ssh": f"ops@127.0.0.1:{site.port}", "postgres_ssh_key": str(site.folder / "user")}
    ways = [{"postgres_ssh": "bastion"}, {"postgres_ssh": "inner"}, {"postgres_ssh": "trusting"}, direct]
    hosts = {f"@postgres/app{n}": site.data(**way) for n, way in enumerate(ways)}

    done = pyinfra(hosts, "exec", "--", "SELECT 1 AS one", environment=site.environment)

    assert (done.code, done.out.count('[{"one": 1}]')) == (0, 4), done.out
    assert not [call for call in site.calls() if PASSWORD in call]


def test_several_servers_are_tried_in_their_order(site: Site, pyinfra: Pyinfra) -> None:
    conninfo = f"host={DB},nowhere.internal,{DB} port=1,5432,5432 target_session_attrs=read-write"
    data = {key: value for key, value in site.data(postgres_conninfo=conninfo).items() if key != "postgres_host"}

    done = pyinfra({"@postgres/app": data}, "exec", "--", "SELECT 1 AS one", environment=site.environment)

    assert (done.code, '[{"one": 1}]' in done.out) == (0, True), done.out
    assert f"reached {DB}:5432 through bastion of {DB}:1,nowhere.internal:5432,{DB}:5432 through bastion" in done.out


def test_many_databases_behind_a_bastion_are_one_login(site: Site, pyinfra: Pyinfra, tmp_path: Path) -> None:
    """sshd says so; 40 databases are deployed, which is more connections than databases, to two servers."""
    databases = [f"tenant_{number:02}" for number in range(20)]
    for server in (0, 1):
        site.psql("".join(f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name};\n" for name in databases), server)
    passwords = (site.folder / "pgpass").read_text()
    (tmp_path / "pgpass").write_text(passwords.replace(":app:", ":*:"))
    (tmp_path / "pgpass").chmod(0o600)
    hosts = {f"@postgres/tls-{name}": site.data(postgres_dbname=name) for name in databases}
    plain = {"postgres_host": PLAIN, "postgres_sslmode": "disable"}
    hosts |= {f"@postgres/plain-{name}": site.data(postgres_dbname=name, **plain) for name in databases}
    before = site.logins()

    done = pyinfra(hosts, "-y", "deploy.apply", environment={**site.environment, "PGPASSFILE": str(tmp_path / "pgpass")})

    assert (done.code, done.out.count("applied 20260111030835")) == (0, 40), done.out
    assert site.logins() - before == 1
    assert len(site.calls()) == 3, "the login, and a forward for each server"


def test_a_command_that_takes_too_long_ends_on_the_server_too(site: Site, pyinfra: Pyinfra) -> None:
    """By the server's own timeout, or by ours: then the request to cancel goes through the bastion as well."""
    hosts = {
        "@postgres/theirs": site.data(statement_timeout="500ms"),
        "@postgres/ours": site.data(statement_timeout="0", _timeout=2),
    }

    done = pyinfra(hosts, "exec", "--", "SELECT pg_sleep(300)", environment=site.environment, timeout=60)

    assert (done.code, "57014" in " ".join(done.lines("@postgres/theirs"))) == (1, True), done.out
    lost = f"no answer from {DB}:5432 through bastion within 2 s; the command was cancelled"
    assert lost in " ".join(done.lines("@postgres/ours"))
    until(lambda: site.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "0", 5)


def test_a_run_leaves_no_ssh_however_it_ends(site: Site, tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM and SIGKILL, each while the server is at work and looks at nothing else."""
    inventory = inventory_file(tmp_path, {"@postgres/app": site.data()})
    command = [PYINFRA, str(inventory), "exec", "--", "SELECT pg_sleep(50)"]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
    runs = [subprocess.Popen(command, env=site.environment, **streams) for _ in signals]  # type: ignore[call-overload]
    try:
        until(lambda: site.psql("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(50)'") == "3", 60)
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


def test_the_port_is_the_loopbacks_and_postgres_asks_for_the_password_there(site: Site, tmp_path: Path) -> None:
    """What the README says of other users of this machine."""
    inventory = inventory_file(tmp_path, {"@postgres/app": site.data()})
    with start(inventory, "exec", "--", "SELECT pg_sleep(5)", environment=site.environment) as run:
        until(lambda: site.psql("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(5)'") == "1")
        (call,) = [call for call in site.calls() if " forward " in call]
        match = re.search(rf"-L {re.escape(LOOPBACK)}:(\d+):{re.escape(DB)}:5432 ", call)
        assert match is not None, call
        stranger = f"host={LOOPBACK} port={match[1]} user=deployer dbname=app password=wrong"
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(stranger)
        assert finish(run).code == 0


def test_a_section_that_is_missing_is_its_hosts_alone(site: Site, pyinfra: Pyinfra) -> None:
    hosts = {"@postgres/nope": {"postgres_service": "nope", "postgres_ssh": "bastion"}, "@postgres/app": site.data()}

    done = pyinfra(hosts, "-y", "exec", "--", "SELECT 1 AS one", environment=site.environment)

    assert (done.code, done.out.count('[{"one": 1}]')) == (1, 1), done.out
    assert one_sentence(done, "@postgres/nope").endswith(
        'definition of service "nope" not found; '
        "add the section with a host to pg_service.conf, or set PGSERVICEFILE to the file that has it"
    )
