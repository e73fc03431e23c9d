"""A problem: one reason not to run, or why a host failed. Decided as a value, rendered where it leaves the process. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_FAILED = "a-host-failed.md"


@dataclass(frozen=True)
class Kind:
    """What problems of a kind have in common, in one sentence; `runbook` is the file and the section in `runbooks/`."""

    meaning: str
    runbook: str


KINDS: Mapping[str, Kind] = {
    "approval": Kind(
        "a plan waits for approval, and nobody is there to give it", "dry-run-and-approval.md#nobody-can-approve-the-plan"
    ),
    "arguments": Kind("a verb or a flag was called as it can't be", f"{_FAILED}#inventory-and-arguments"),
    "busy": Kind("a table stayed locked, or transactions kept colliding, for all of `lock_wait`", f"{_FAILED}#lock"),
    "check-not-run": Kind("a check needs a privilege that the role lacks, so nothing is proved", f"{_FAILED}#permission"),
    "connection": Kind("the server can't be reached, refuses the login, or the connection was lost", f"{_FAILED}#connection"),
    "contract": Kind("the database differs from the contract", "drift-found.md#how"),
    "data-loss": Kind("a down file would remove rows or values", "revert.md#how"),
    "existing-table": Kind("a table of the first migration is there already, and is something else", "drift-found.md#how"),
    "failover": Kind("the server that answers is not the one that the plan was made for", f"{_FAILED}#standby-and-failover"),
    "internal": Kind("a defect of this package", f"{_FAILED}#internal-error"),
    "invalid-index": Kind("a failed `CONCURRENTLY` has left an INVALID index", f"{_FAILED}#ledger"),
    "ledger-changed": Kind("another process changed the ledger after the plan was made", f"{_FAILED}#ledger"),
    "ledger-dirty": Kind("a migration is only partially applied", f"{_FAILED}#ledger"),
    "ledger-mismatch": Kind(
        "the relation of the ledger's name is not SQLx's ledger, or the ledger is in another schema", f"{_FAILED}#ledger"
    ),
    "ledger-missing": Kind("the ledger has a version that the source lacks", f"{_FAILED}#ledger"),
    "ledger-modified": Kind("the file of an applied migration has been modified", f"{_FAILED}#ledger"),
    "lock": Kind("another migrator holds SQLx's lock", f"{_FAILED}#lock"),
    "no-down-file": Kind("a migration to revert has no down file", "revert.md#how"),
    "no-hosts": Kind("every host of the run has failed", f"{_FAILED}#how"),
    "not-attempted": Kind("a host of an earlier wave failed", "canary-and-rollout.md#not-attempted-the-canary-failed"),
    "other-operation": Kind("an operation of another package failed", f"{_FAILED}#how"),
    "pooler": Kind("a `-- no-transaction` file needs a session of its own, and a pooler is in between", f"{_FAILED}#sql"),
    "privilege": Kind("the role lacks a privilege", f"{_FAILED}#permission"),
    "probe": Kind("the probe did not get to its end", "drift-found.md#over-budget-or-an-index-that-no-plan-uses"),
    "purge-running": Kind("another purge is at work on the database", f"{_FAILED}#purge"),
    "report": Kind("the report can't be written", f"{_FAILED}#report"),
    "rows-locked": Kind("other sessions keep rows locked that are past retention", f"{_FAILED}#purge"),
    "rows-lost": Kind("rows went away during a purge that it did not delete", f"{_FAILED}#purge"),
    "schema": Kind("the schema that the host should have does not exist", f"{_FAILED}#permission"),
    "settings": Kind("a data key has an invalid value, or an unknown name", f"{_FAILED}#inventory-and-arguments"),
    "source": Kind("a folder, a migration, a check, a template or `sqlx.toml` can't be read", f"{_FAILED}#source"),
    "split-brain": Kind("two servers of one connection string take writes", f"{_FAILED}#standby-and-failover"),
    "standby-lag": Kind("a standby has not replayed all migrations", f"{_FAILED}#standby-and-failover"),
    "statement": Kind("the server refused a statement", f"{_FAILED}#sql"),
    "transaction-ended": Kind("a file ends the transaction that it runs in", f"{_FAILED}#sql"),
    "unconfirmed": Kind("it is committed, but no synchronous standby has confirmed it", f"{_FAILED}#standby-and-failover"),
    "unprovable": Kind(
        "what is there can't be compared with the contract, so nothing is recorded", "adopt-a-hand-made-schema.md#how"
    ),
    "untrusted": Kind(
        "a table belongs to a role that is not trusted, and has what could run code of it", f"{_FAILED}#tables-of-others"
    ),
    "unsupported": Kind("this does not apply to this host or this source", f"{_FAILED}#inventory-and-arguments"),
}
"""Every kind of problem. The words are stable: JSON, JUnit and tests compare them."""


@dataclass(frozen=True)
class Problem:
    """`kind` is one of KINDS; `text` says what is where; `next` is the next step or command."""

    kind: str
    text: str
    next: str = ""

    @property
    def runbook(self) -> str:
        """File and section in `runbooks/` where it says what to do."""
        return KINDS[self.kind].runbook

    def __str__(self) -> str:
        return "; ".join(part for part in (self.text, self.next) if part)


def first_few(names: Sequence[str], most: int = 3) -> str:
    """The first of these names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def quoted(name: str | None) -> str:
    """A name as a sentence shows it; in SQL it is `deploy.connection.quoting.ident`."""
    return f'"{name or ""}"'
