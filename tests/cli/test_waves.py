"""Hosts of wave 0 are migrated and verified before any host of wave 1 is touched; a failure stops the later waves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.operator import Pyinfra, has_tables
from support.servers import Database, Server

Fleet = dict[str, Database]


@pytest.fixture
def fleet(server: Server, password: None) -> Iterator[Fleet]:
    """Four fresh databases, whose password is in the environment."""
    made = {name: server.database() for name in ("db1", "db2", "db3", "db4")}
    yield made
    for database in made.values():
        database.drop()


def hosts(fleet: Fleet, **waves: int) -> dict[str, dict[str, object]]:
    return {f"@postgres/{name}": {**fleet[name].data, "wave": wave} for name, wave in waves.items()}


def written(server: Server, fleet: Fleet) -> list[tuple[str, bool]]:
    """Database and whether the message wrote, in the order in which the server got our messages."""
    names = {database.name: name for name, database in fleet.items()}
    found = []
    for line in server.log.read_text(encoding="utf-8", errors="replace").splitlines():
        application, _, rest = line.partition("|")
        name, _, text = rest.partition("|")
        if application == "integration-health-deploy" and name in names and "statement: " in text:
            found.append((names[name], "READ ONLY" not in text))
    return found


def test_each_wave_is_migrated_and_verified_before_the_next_is_touched(server: Server, fleet: Fleet, pyinfra: Pyinfra) -> None:
    done = pyinfra(hosts(fleet, db1=7, db2=0, db3=2, db4=2), "-y", "deploy.apply")

    assert done.code == 0, done.out
    got = written(server, fleet)
    last_of = {name: max(i for i, (database, _) in enumerate(got) if database == name) for name in fleet}
    first_write = {name: min(i for i, (database, wrote) in enumerate(got) if database == name and wrote) for name in fleet}
    assert last_of["db2"] < min(first_write["db3"], first_write["db4"])
    assert max(last_of["db3"], last_of["db4"]) < first_write["db1"]
    assert not got[last_of["db2"]][1], "the last message of wave 0 is the verification"
    finished = {name: database.psql("SELECT max(installed_on) FROM _sqlx_migrations") for name, database in fleet.items()}
    assert finished["db2"] < min(finished["db3"], finished["db4"]) <= max(finished["db3"], finished["db4"]) < finished["db1"]


def test_the_plan_shows_the_waves_and_touches_nothing(fleet: Fleet, pyinfra: Pyinfra) -> None:
    done = pyinfra(hosts(fleet, db1=0, db2=1), "--dry", "deploy.apply")

    assert done.code == 0, done.out
    rows = [line.strip().split("  ")[0] for line in done.out.splitlines() if "wave" in line.lower() or "Wave" in line]
    assert rows == ["Migrate (wave 0)", "Verify (wave 0)", "Wave 1", "Migrate (wave 1)", "Verify (wave 1)"]
    assert "pending: 20260111030835 create integration health tables" in done.lines("@postgres/db2")
    assert not has_tables(fleet["db1"]) and not has_tables(fleet["db2"])


def test_a_failure_in_a_wave_stops_the_later_waves(fleet: Fleet, pyinfra: Pyinfra) -> None:
    """db1 is deployed but drifted, so it is its verification that fails; db2 shares its wave and is finished."""
    fleet["db1"].psql("CREATE TABLE integration_events (id int)")

    done = pyinfra(hosts(fleet, db1=0, db2=0, db3=1, db4=2), "-y", "deploy.apply")

    assert done.code == 1
    assert has_tables(fleet["db2"])
    assert not has_tables(fleet["db3"]) and not has_tables(fleet["db4"])
    for name in ("db3", "db4"):
        assert "not attempted: wave 0 failed on db1" in done.lines(f"@postgres/{name}"), done.out
    assert done.change("Migrate (wave 1)") in (None, "error")


def test_a_failed_verification_stops_the_later_waves(fleet: Fleet, pyinfra: Pyinfra) -> None:
    assert pyinfra(hosts(fleet, db1=0), "-y", "deploy.apply").code == 0
    fleet["db1"].psql("DROP INDEX idx_integration_events_type")

    done = pyinfra(hosts(fleet, db1=0, db3=1), "-y", "deploy.apply")

    assert done.code == 1
    assert "not attempted: wave 0 failed on db1" in done.lines("@postgres/db3")
    assert not has_tables(fleet["db3"])


@pytest.mark.parametrize("flags", [("-y",), ("-y", "--json"), ("-y", "--parallel", "1")], ids=" ".join)
def test_a_host_that_cannot_be_reached_fails_its_wave(fleet: Fleet, pyinfra: Pyinfra, flags: tuple[str, ...]) -> None:
    inventory = hosts(fleet, db1=0, db2=1, db3=1)
    inventory["@postgres/db1"]["postgres_port"] = 1

    done = pyinfra(inventory, *flags, "deploy.apply")

    assert done.code == 1
    for name in ("db2", "db3"):
        assert "not attempted: wave 0 failed on db1" in done.lines(f"@postgres/{name}"), done.out
        assert not has_tables(fleet[name])


def test_many_failed_hosts_are_counted(fleet: Fleet, pyinfra: Pyinfra) -> None:
    inventory = hosts(fleet, db2=1) | {
        f"@postgres/no{number}": {"postgres_host": "127.0.0.1", "postgres_port": 1} for number in range(5)
    }

    done = pyinfra(inventory, "-y", "deploy.apply")

    assert "not attempted: wave 0 failed on no0, no1, no2 and 2 more" in done.lines("@postgres/db2"), done.out


def test_a_limit_that_leaves_out_wave_0_lets_wave_1_run(fleet: Fleet, pyinfra: Pyinfra) -> None:
    inventory = hosts(fleet, db1=0, db2=1)
    inventory["@postgres/db1"]["postgres_port"] = 1

    done = pyinfra(inventory, "-y", "--limit", "@postgres/db2", "deploy.apply")

    assert done.code == 0, done.out
    assert has_tables(fleet["db2"])
    assert done.change("Migrate") == "success"


def test_one_wave_of_any_number_has_no_gate(fleet: Fleet, pyinfra: Pyinfra) -> None:
    done = pyinfra(hosts(fleet, db1=3, db2=3), "-y", "deploy.apply")

    assert done.code == 0
    assert "wave" not in done.out.lower()


def test_json_names_the_waves(fleet: Fleet, pyinfra: Pyinfra) -> None:
    done = pyinfra(hosts(fleet, db1=0, db2=1), "--dry", "--json", "deploy.apply")

    assert done.code == 0
    document, _ = json.JSONDecoder().raw_decode(done.out[done.out.index("{") :])
    names = [operation["name"] for operation in document["plan"]]
    assert names == ["Migrate (wave 0)", "Verify (wave 0)", "Wave 1", "Migrate (wave 1)", "Verify (wave 1)"]


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("--no-wait", "a host that fails would end with exit code 0"),
        ("--serial", "hosts would run one by one, in no order and without waves"),
    ],
)
@pytest.mark.parametrize("verb", ["apply", "verify"])
def test_flags_that_lose_failures_or_waves_are_refused(fleet: Fleet, pyinfra: Pyinfra, flag: str, reason: str, verb: str) -> None:
    done = pyinfra(hosts(fleet, db1=0, db2=1), "-y", flag, f"deploy.{verb}")

    assert done.code == 1
    assert f"{flag} is not supported: {reason}; leave it out, and use --parallel 1 to go host by host" in done.out
    assert not has_tables(fleet["db1"])


def test_a_revert_stops_at_a_wave_that_failed_and_the_report_tells_it_from_a_host_that_is_not_there(
    fleet: Fleet, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    assert pyinfra(hosts(fleet, db1=0, db2=1), "-y", "deploy.apply").code == 0
    fleet["db1"].psql("INSERT INTO integration_health (integration_id, status, last_checked) VALUES ('vrbo', 'healthy', now())")
    done = pyinfra(hosts(fleet, db1=0, db2=1), "-y", "deploy.revert")
    assert done.code == 1
    assert "not attempted: wave 0 failed on db1" in done.lines("@postgres/db2")
    assert has_tables(fleet["db2"])

    fleet["db1"].psql("UPDATE _sqlx_migrations SET success = false")
    done = pyinfra(hosts(fleet, db1=0, db2=1), "-y", "deploy.apply", "report=out")
    assert done.code == 1
    found = json.loads((tmp_path / "out" / "verify.json").read_text(encoding="utf-8"))["hosts"]
    assert {host["host"]: host["status"] for host in found} == {"@postgres/db1": "failed", "@postgres/db2": "failed"}
    assert [[problem["kind"] for problem in host["problems"]] for host in found][1] == ["not-attempted"]
