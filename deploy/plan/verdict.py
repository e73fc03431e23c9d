"""What verifying a host comes to: ledger, contract and checks together, and what of it was not looked at. Pure."""

from __future__ import annotations

from dataclasses import replace

from deploy.findings import HostFindings, Violation
from deploy.plan import pending
from deploy.plan.observation import Observation
from deploy.plan.target import LEDGER, Target

_SHOWN = 3


def findings(target: Target, observation: Observation, host: str) -> HostFindings:
    """What differs, and why deploy.apply would refuse the host."""
    found = observation.findings(host, target.check_names)
    plan = pending.plan(target, observation, will_run=False)
    violations = (*_unrecorded(target, plan), *found.violations)
    return replace(found, violations=violations, problems=(plan.problem,) if plan.problem is not None else ())


def proves(target: Target, observation: Observation) -> bool:
    """Whether anything but the ledger was compared."""
    return observation.proof.contract is not None or bool(target.checks)


def sentence(target: Target, observation: Observation) -> str:
    """What is said of a host on which nothing differs."""
    if observation.proof.contract is not None:
        return f"verified: {observation.database} on PostgreSQL {observation.server_version} matches the contract"
    reason = f"{observation.proof.reason}, so the schema was not compared"
    if target.checks:
        return f"checked: {len(target.checks)} check(s) found nothing; {reason}"
    return f"not verified: {reason}; write one with deploy.contract and set `contract`"


def _unrecorded(target: Target, plan: pending.Plan) -> tuple[Violation, ...]:
    if not plan.pending:
        return ()
    more = len(plan.pending) - _SHOWN
    names = ", ".join(str(migration) for migration in plan.pending[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return (Violation(LEDGER, target.source.sqlx.ledger_table, f"applied: {names}", "pending", "around"),)
