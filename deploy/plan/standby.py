"""What a standby does not show yet, and how far behind it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.connection.server import Replay
from deploy.plan.observation import Observation
from deploy.problems import Problem
from deploy.source.migrations import Migration, Source


def unreplayed(source: Source, observation: Observation) -> Sequence[Migration]:
    """What a standby's own ledger does not show as applied; nothing on a primary, and where the ledger can't be read."""
    ledger = observation.ledger
    unknown = ledger.exists and (not ledger.readable or ledger.has_row_security or ledger.mismatch is not None)
    if not observation.in_recovery or unknown:
        return ()
    applied = {row.version for row in ledger.rows if row.success}
    return [migration for migration in source.migrations if migration.version not in applied]


def lag_problem(lacking: Sequence[Migration], replay: Replay | None, waited: int) -> Problem:
    """That of a standby that lacks these migrations after `waited` milliseconds."""
    what = f"standby: {len(lacking)} migration(s) not replayed within {waited / 1000:g} s, the first is {lacking[0].version}"
    return Problem("standby-lag", f"{what}: {_lag(replay)}", _next_step(replay))


def _lag(replay: Replay | None) -> str:
    if replay is None:
        return "the server does not tell its lag"
    received = f"received {replay.received}" if replay.received is not None else "received nothing by streaming"
    replayed = f"replayed {replay.replayed or 'nothing'}"
    bytes = f", {replay.bytes:,} bytes behind" if replay.bytes is not None else ""
    last = f"{replay.seconds:,.0f} s ago" if replay.seconds is not None else "unknown"
    return f"{received}, {replayed}{bytes}, last replayed transaction {last}"


def _next_step(replay: Replay | None) -> str:
    if replay is not None and replay.paused:
        return "replay is paused: run SELECT pg_wal_replay_resume() there, then the command again"
    if replay is not None and not replay.receiving:
        return "no WAL receiver is connected: check primary_conninfo and that its primary runs, then run the command again"
    if replay is not None and replay.delay != "0":
        return f"recovery_min_apply_delay is {replay.delay}: set replay_wait above it, then run the command again"
    if replay is not None and not replay.bytes:
        return "it has replayed all it received: run deploy.apply on its primary, in the same wave or an earlier one"
    return "run the command again later, or raise replay_wait"
