"""When another server answers than the one that was planned for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.connection.server import Server

PRIMARY = Server(in_recovery=False, address="10.0.0.1:5432", started="t1", system="7", timeline="00000001")
STANDBY = Server(in_recovery=True, address="10.0.0.2:5432", started="t2", system="7")

SAME = {
    "itself": PRIMARY,
    "itself at another of its addresses": replace(PRIMARY, address="10.1.0.1:5432"),
    "itself after a restart": replace(PRIMARY, started="t3"),
    "itself where it does not tell its cluster any more": replace(PRIMARY, system=None),
}

OTHER = {
    "its standby": STANDBY,
    "itself as a standby": replace(PRIMARY, in_recovery=True, timeline=None),
    "its standby after a promotion": replace(STANDBY, in_recovery=False, timeline="00000002"),
    "itself after a promotion": replace(PRIMARY, timeline="00000002"),
    "a promoted sibling of the same timeline": replace(PRIMARY, address="10.0.0.3:5432", started="t3"),
    "another cluster at its address": replace(PRIMARY, started="t3", system="8"),
    "an unknown cluster at its address": replace(PRIMARY, started="t3", system=None),
}


@pytest.mark.parametrize("now", SAME.values(), ids=SAME)
def test_the_same_server_may_be_written_to(now: Server) -> None:
    assert PRIMARY.failover_problem(now) is None


@pytest.mark.parametrize("now", OTHER.values(), ids=OTHER)
def test_another_server_may_not(now: Server) -> None:
    assert PRIMARY.failover_problem(now) is not None
    assert now.failover_problem(PRIMARY) is not None


def test_a_cluster_that_nobody_can_tell_is_the_same_as_long_as_it_is_not_restarted() -> None:
    shy = replace(PRIMARY, system=None)
    assert shy.failover_problem(shy) is None
    assert shy.failover_problem(replace(shy, started="t3")) is not None


def test_between_standbys_it_does_not_matter_which_one_is_read() -> None:
    assert STANDBY.failover_problem(replace(STANDBY, address="10.0.0.3:5432", started="t4")) is None


def test_the_sentence_names_both_servers() -> None:
    problem = PRIMARY.failover_problem(replace(STANDBY, in_recovery=False, timeline="0000000A"))
    assert str(problem) == (
        "failover, or another server, since the plan was made: then primary at 10.0.0.1:5432 (timeline 1, system 7), "
        "now primary at 10.0.0.2:5432 (timeline 10, system 7); nothing was written to it, run the command again"
    )
    assert str(Server(in_recovery=True, address=None, started="t")) == "standby at a local socket"


def test_only_a_second_primary_of_the_same_cluster_is_a_rival() -> None:
    promoted = replace(STANDBY, in_recovery=False, timeline="00000002")
    assert PRIMARY.split_brain_problem({"b:1": STANDBY, "c:1": PRIMARY, "d:1": replace(promoted, system="8")}) is None
    assert str(PRIMARY.split_brain_problem({"b:1": STANDBY, "c:1": promoted})) == (
        "two servers of this host's connection string take writes: primary at 10.0.0.1:5432 (timeline 1, system 7) and c:1, "
        "primary at 10.0.0.2:5432 (timeline 2, system 7); nothing was written, stop the one that is no longer the primary, "
        "then run the command again"
    )
