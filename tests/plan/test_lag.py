"""What a late standby says: how far it is, and the one step that helps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.connection.server import Replay
from deploy.plan.standby import lag_problem
from deploy.problems import Problem
from deploy.source import migrations

LATE = Replay("0/5000000", "0/4000000", 16_777_216, 12.4, paused=False, receiving=True, delay="0")
LAG = "received 0/5000000, replayed 0/4000000, 16,777,216 bytes behind, last replayed transaction 12 s ago"

STEPS = {
    "late": (LATE, LAG, "run the command again later, or raise replay_wait"),
    "paused": (
        replace(LATE, paused=True),
        LAG,
        "replay is paused: run SELECT pg_wal_replay_resume() there, then the command again",
    ),
    "late on purpose": (
        replace(LATE, delay="1h"),
        LAG,
        "recovery_min_apply_delay is 1h: set replay_wait above it, then run the command again",
    ),
    "as late as its primary": (
        replace(LATE, bytes=0),
        LAG.replace("16,777,216", "0"),
        "it has replayed all it received: run deploy.apply on its primary, in the same wave or an earlier one",
    ),
    "cut off": (
        replace(LATE, received=None, bytes=None, seconds=None, receiving=False),
        "received nothing by streaming, replayed 0/4000000, last replayed transaction unknown",
        "no WAL receiver is connected: check primary_conninfo and that its primary runs, then run the command again",
    ),
    "silent": (None, "the server does not tell its lag", "run the command again later, or raise replay_wait"),
}


@pytest.mark.parametrize(("replay", "lag", "step"), STEPS.values(), ids=STEPS)
def test_a_late_standby_says_its_lag_and_what_to_do(replay: Replay | None, lag: str, step: str) -> None:
    lacking = migrations.load(migrations.packaged()).migrations
    head = f"standby: 1 migration(s) not replayed within 1.5 s, the first is {lacking[0].version}"
    assert lag_problem(lacking, replay, 1500) == Problem("standby-lag", f"{head}: {lag}", step)
