"""The end of a run of the verbs that don't verify: how many hosts are as wanted, and which are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import MIGRATION, Pyinfra
from servers import Database, free_port
from versions import one_server

pytestmark = [one_server, pytest.mark.usefixtures("password")]


def test_a_run_of_adopt_purge_or_revert_ends_with_how_many_hosts_are_as_wanted(
    database: Database, neighbour: Database, pyinfra: Pyinfra
) -> None:
    database.psql(MIGRATION.read_text(encoding="utf-8"))
    neighbour.psql(f"{MIGRATION.read_text(encoding='utf-8')} ALTER TABLE integration_health ALTER status TYPE text")
    hosts = {
        "@postgres/good": database.data,
        "@postgres/ill": neighbour.data,
        "@postgres/none": {**database.data, "postgres_port": free_port()},
    }

    def summed_up(*words: str) -> list[str]:
        done = pyinfra(hosts, *words)
        assert done.code == 1
        lines = done.out[done.out.index("--> Disconnecting from hosts...") :].splitlines()[1:]
        return [line.strip()[:60] for line in lines if line.strip()]

    none = "@postgres/none  not reached: can't connect to 127.0.0.1:"
    headline, ill, unreached = summed_up("-y", "deploy.adopt")
    assert headline == "--> 1 host as wanted, 2 not:"
    assert ill.startswith("@postgres/ill   failed: 20260111030835 create integration")
    assert unreached.startswith(none)
    headline, unreached, report_line = summed_up("-y", "deploy.purge", "report=out")
    assert (headline, report_line[:12]) == ("--> 2 hosts as wanted, 1 not:", "--> Report: ")
    assert unreached.startswith(none)
    assert summed_up("--dry", "deploy.revert")[0] == "--> 0 hosts as wanted, 1 not, 2 not finished:"
    database.psql("INSERT INTO integration_health (integration_id, status, last_checked) VALUES ('vrbo', 'healthy', now())")
    headline, good, unreached = summed_up("-y", "deploy.revert")
    assert headline == "--> 1 host as wanted, 2 not:"
    assert good.startswith("@postgres/good  failed: 20260111030835_create_integration")
    assert unreached.startswith(none)


def test_a_report_of_a_revert_is_refused_and_none_is_made(database: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra({"@postgres/a": database.data}, "-y", "deploy.revert", "report=out")
    assert done.code == 1
    assert "deploy.revert: unknown argument 'report'; use one of " in done.out
    assert not (tmp_path / "out").exists()
