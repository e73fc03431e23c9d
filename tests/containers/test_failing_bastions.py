"""Bastions that let nobody through, or stop to: one sentence each, and the host beside them is deployed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.bastions import DB, PLAIN, Site, docker
from support.containers import DATABASE
from support.files import write
from support.operator import Pyinfra, Result, finish, inventory_file, said, start
from support.servers import free_port
from support.waiting import until

pytestmark = [pytest.mark.everything, pytest.mark.usefixtures("nothing_is_left")]


def one_sentence(done: Result, host: str) -> str:
    (line,) = said(done, f"@postgres/{host}")
    return line


def test_each_reason_is_one_sentence_and_the_healthy_host_is_deployed(site: Site, pyinfra: Pyinfra) -> None:
    port, closed, folder = site.port, free_port(), site.folder
    (folder / "open").write_bytes((folder / "user").read_bytes())
    (folder / "open").chmod(0o644)
    there, right = {"postgres_ssh": f"ops@127.0.0.1:{port}"}, {"postgres_ssh_key": str(folder / "user")}
    by_hand = "log in once by hand with ssh, compare the fingerprint and accept the key"
    key = "check the user, postgres_ssh_key, and that ssh-agent holds a key that has a passphrase"
    no_key = "name a private key of OpenSSH in postgres_ssh_key, and let nobody else read it (chmod 600)"
    cases: dict[str, tuple[dict[str, object], str]] = {
        "unknown-key": ({"postgres_ssh": "unknown"}, f"ssh: Host key verification failed; {by_hand}"),
        "changed-key": (
            {"postgres_ssh": "changed"},
            f"ssh: Host key for [127.0.0.1]:{port} has changed and you have requested strict checking; "
            "find out why; if the new key is right, remove the old one with ssh-keygen -R and log in once by hand",
        ),
        "refused-user": (
            {"postgres_ssh": f"nobody@127.0.0.1:{port}", **right},
            f"ssh: nobody@127.0.0.1: Permission denied (publickey); {key}",
        ),
        "refused-key": (
            {**there, "postgres_ssh_key": str(folder / "stranger")},
            f"ssh: ops@127.0.0.1: Permission denied (publickey); {key}",
        ),
        "missing-key": (
            {**there, "postgres_ssh_key": "/no/such"},
            f"ssh: Warning: Identity file /no/such not accessible: No such file or directory; {no_key}",
        ),
        "open-key": (
            {**there, "postgres_ssh_key": str(folder / "open")},
            f'ssh: Load key "{folder / "open"}": bad permissions; {no_key}',
        ),
        "refused-port": (
            {"postgres_ssh": f"ops@127.0.0.1:{closed}"},
            f"ssh: connect to host 127.0.0.1 port {closed}: Connection refused; "
            "check the bastion's address and port, and that its sshd runs",
        ),
        "unknown-name": (
            {"postgres_ssh": "bastion.invalid"},
            "ssh: Could not resolve hostname bastion.invalid: Name or service not known; check postgres_ssh and ~/.ssh/config",
        ),
        "prohibited": (
            {"postgres_ssh": f"closed@127.0.0.1:{port}", **right},
            "ssh: open failed: administratively prohibited: open failed; "
            "let the bastion's sshd forward to this server (AllowTcpForwarding, PermitOpen)",
        ),
        "no-server": (
            {"postgres_host": "nowhere.internal"},
            "ssh: open failed: connect failed: Name or service not known; "
            "check the server's name and port as the bastion knows them, and that the server runs",
        ),
        "wrong-password": (
            {"postgres_password": "wrong"},
            f'connection to server at "{DB}", port 5432 failed: FATAL: password authentication failed for user "deployer"; '
            "check .pgpass, PGPASSWORD or the service file for this user and host",
        ),
    }
    site.psql("DROP TABLE IF EXISTS integration_health, integration_events, _sqlx_migrations")
    hosts = {f"@postgres/{name}": site.data(**data) for name, (data, _) in cases.items()}

    listed = "@pgdatabases/app/*"
    hosts |= {listed: {"postgres_ssh": "bastion"}, "@postgres/direct": {"postgres_service": "app"}}

    done = pyinfra({**hosts, "@postgres/healthy": site.data()}, "-y", "deploy.apply", environment=site.environment)

    assert one_sentence(done, "direct").startswith("can't connect to service 'app': ")
    assert done.lines(listed)[0].rpartition("; ")[2] == (
        "@pgdatabases asks the server itself and not through postgres_ssh, so name each database behind the bastion as a host"
    )
    where = {
        name: f"{data.get('postgres_host', DB)}:5432 through {data.get('postgres_ssh', 'bastion')}"
        for name, (data, _) in cases.items()
    }
    assert {name: one_sentence(done, name) for name in cases} == {
        name: f"can't connect to {where[name]}: {want}" for name, (_, want) in cases.items()
    }
    assert done.code == 1
    assert site.psql("SELECT to_regclass('integration_events')") == "integration_events"


def test_without_openssh_one_sentence_says_so(site: Site, pyinfra: Pyinfra) -> None:
    environment = {**site.environment, "PATH": str(site.folder / "keys")}

    done = pyinfra({"@postgres/app": site.data()}, "-y", "deploy.apply", environment=environment)

    assert (done.code, one_sentence(done, "app")) == (
        1,
        f"can't connect to {DB}:5432 through bastion: postgres_ssh needs OpenSSH's client, and there is no program `ssh`; "
        "install it (openssh-client), so that `ssh` is on the PATH",
    )


def test_a_silent_bastion_is_not_waited_for_by_one_host_after_the_other(site: Site, pyinfra: Pyinfra) -> None:
    """One host logs in; the others take its answer."""
    name, port = site.bastion()
    docker("pause", name)
    data = site.data(postgres_ssh=f"ops@127.0.0.1:{port}", postgres_conninfo="connect_timeout=2", max_connections_per_server=40)

    done = pyinfra({f"@postgres/app{n:02}": data for n in range(40)}, "-y", "deploy.apply", environment=site.environment)

    assert done.code == 1
    assert {one_sentence(done, f"app{n:02}") for n in range(40)} == {
        f"can't connect to {DB}:5432 through ops@127.0.0.1:{port}: ssh: Connection timed out during banner exchange; "
        "check the bastion's address and port, and that its sshd runs"
    }
    assert len(site.calls()) == 1


def test_a_bastion_that_dies_during_the_run_is_its_hosts_alone(site: Site, tmp_path: Path) -> None:
    """One is killed, one goes silent; both are noticed, and the host behind the third is finished."""
    site.psql("DROP TABLE IF EXISTS integration_health, integration_events, _sqlx_migrations")
    (killed, killed_port), (silent, silent_port) = site.bastion(), site.bastion()
    for name in ("killed", "silent"):
        docker("exec", site.containers[1], "createdb", "-U", "deployer", name)
    write(tmp_path / "migrations", {"1_slow.sql": "CREATE TABLE slow (x int); SELECT pg_sleep(120);"})
    elsewhere = {
        "postgres_host": PLAIN,
        "postgres_sslmode": "prefer",
        "postgres_ssh_key": str(site.folder / "user"),
        "migrations": str(tmp_path / "migrations"),
    }
    hosts = {
        "killed": site.data(**elsewhere, postgres_ssh=f"ops@127.0.0.1:{killed_port}", postgres_dbname="killed"),
        "silent": site.data(**elsewhere, postgres_ssh=f"ops@127.0.0.1:{silent_port}", postgres_dbname="silent"),
        "healthy": site.data(),
    }
    passwords = (site.folder / "pgpass").read_text()
    (tmp_path / "pgpass").write_text(passwords + "".join(passwords.replace(f":{DATABASE}:", f":{name}:") for name in hosts))
    (tmp_path / "pgpass").chmod(0o600)
    inventory = inventory_file(tmp_path, {f"@postgres/{name}": data for name, data in hosts.items()})
    environment = {**site.environment, "PGPASSFILE": str(tmp_path / "pgpass")}

    with start(inventory, "-y", "deploy.apply", environment=environment) as run:
        until(lambda: site.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", server=1) == "2", 60)
        docker("kill", killed)
        docker("pause", silent)
        happened = time.monotonic()
        done = finish(run, timeout=120)
    took = time.monotonic() - happened

    assert (done.code, "Traceback" in done.out) == (1, False), done.out
    assert took < 60
    lost, again = f"connection to {PLAIN}:5432 through ops@127.0.0.1:", "what was committed stays, run the command again"
    assert f"{lost}{killed_port} lost: ssh: Connection to 127.0.0.1 closed by remote host; {again}" in done.out, done.out
    assert f"{lost}{silent_port} lost: ssh: Timeout, server 127.0.0.1 not responding; {again}" in done.out, done.out
    assert site.psql("SELECT to_regclass('integration_events')") == "integration_events"
