"""The console's lines as text, and what a run of a verb that does not verify ends with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import fleets
from support.operator import Pyinfra
from support.servers import Database, free_port
from support.sqlx import DEPLOYED

from deploy.findings import HostFindings, Violation
from deploy.report import console

NARROW = (Violation("tables", "a", "table", "view"), Violation("tables", "longer", "x", "missing"))


def test_in_a_pipe_violations_have_no_padding() -> None:
    assert console.violations([fleets.STATUS], None) == [
        "violation: integration_health.status: expected character varying(20) NOT NULL, found text NOT NULL"
    ]


def test_in_a_terminal_that_is_wide_enough_violations_are_columns() -> None:
    assert console.violations(NARROW, 48) == [
        "violation: a:      expected table, found view",
        "violation: longer: expected x,     found missing",
    ]


def test_where_one_does_not_fit_violations_are_plain_lines() -> None:
    assert console.violations(NARROW, 47) == [
        "violation: a: expected table, found view",
        "violation: longer: expected x, found missing",
    ]


def test_the_summary_of_200_hosts_has_a_line_for_each_of_the_3_that_are_broken() -> None:
    got = console.lines(fleets.two_hundred(), None)
    assert [line.text for line in got] == [
        "197 hosts OK, 3 not:",
        "@postgres/db-057.eu  2 violations: integration_health.status: "
        "expected character varying(20) NOT NULL, found text NOT NULL",
        "@postgres/db-088.eu  2 violations: events_of_one: expected p95 at most 100 ms, found p95 198 ms",
        f"@postgres/db-113.eu  not reached: {fleets.REFUSED}",
    ]
    assert [line.broken for line in got] == [False, True, True, True]


def test_in_a_terminal_a_line_of_the_summary_is_one_row() -> None:
    got = console.lines(fleets.two_hundred(), 76)
    assert all(len(line.text) <= 76 for line in got)
    assert got[1].text == "@postgres/db-057.eu  2 violations: integration_health.status: expected char…"


def test_hosts_that_were_not_verified_are_not_counted_as_ok() -> None:
    pending = replace(fleets.host("@postgres/a"), checks=())
    got = console.lines(fleets.fleet(pending, fleets.host("@postgres/b"), dry=True), None)
    assert [line.text for line in got] == ["1 host OK, 1 not verified"]


def test_one_host_needs_no_summary_and_a_fleet_that_is_down_is_not_listed_without_end() -> None:
    assert console.lines(fleets.healthy(), None) == []
    down = console.lines(fleets.fleet(*(fleets.unreached(f"@postgres/{number}") for number in range(200))), None)
    assert down[0].text == "0 hosts OK, 200 not:"
    assert len(down) == 32
    assert down[-1].text == "and 170 more; report=DIR writes a report with all of them"


def test_a_name_can_not_command_the_terminal() -> None:
    for line in console.lines(fleets.hostile(), None):
        assert line.text.isprintable()


def test_of_a_verb_that_does_not_verify_the_hosts_that_are_done_are_ok() -> None:
    done = (HostFindings("@postgres/a", completed=True), HostFindings("@postgres/b", completed=True))
    reverted = fleets.fleet(*done, HostFindings("@postgres/c"), fleets.unreached("@postgres/d"), verb="revert")
    got = console.lines(replace(reverted, verifies=False), None)
    assert [line.text for line in got] == ["2 hosts OK, 1 not, 1 not finished:", f"@postgres/d  not reached: {fleets.REFUSED}"]


@pytest.mark.usefixtures("password")
def test_a_run_of_adopt_purge_or_revert_ends_with_how_many_hosts_are_ok(
    database: Database, neighbour: Database, pyinfra: Pyinfra
) -> None:
    database.psql(DEPLOYED)
    neighbour.psql(f"{DEPLOYED} ALTER TABLE integration_health ALTER status TYPE text")
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
    assert headline == "--> 1 host OK, 2 not:"
    assert ill.startswith("@postgres/ill   failed: 20260111030835 create integration")
    assert unreached.startswith(none)
    headline, unreached, report_line = summed_up("-y", "deploy.purge", "report=out")
    assert (headline, report_line[:12]) == ("--> 2 hosts OK, 1 not:", "--> Report: ")
    assert unreached.startswith(none)
    assert summed_up("--dry", "deploy.revert")[0] == "--> 1 host OK, 1 not, 1 not finished:"
    database.psql("INSERT INTO integration_health (integration_id, status, last_checked) VALUES ('vrbo', 'healthy', now())")
    headline, good, unreached = summed_up("-y", "deploy.revert")
    assert headline == "--> 1 host OK, 2 not:"
    assert good.startswith("@postgres/good  failed: 20260111030835_create_integration")
    assert unreached.startswith(none)
