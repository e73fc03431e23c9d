"""How a host is, as one value, from the rows of `target.read`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.checks import Violation
from deploy.errors import SqlError
from deploy.findings import HostFindings
from deploy.ledger import Row
from deploy.script import Answer


@dataclass(frozen=True)
class Observation:
    """What the server said of itself, of the acting role (`owner`) and of the ledger; None names what is not there."""

    server_version: str
    in_recovery: bool
    database: str
    role: str
    schema: str | None
    schema_exists: bool
    schema_usable: bool
    schema_creatable: bool
    owner: str | None
    owner_assumable: bool
    ledger_schema: str | None
    ledger_name: str | None
    ledger_owner: str | None
    ledger_readable: bool
    ledger_writable: bool
    ledgers: tuple[str, ...]
    rows: tuple[Row, ...]
    violations: tuple[Violation, ...]
    check_error: SqlError | None = None

    def findings(self, host: str, checks: tuple[str, ...]) -> HostFindings:
        """What `checks` found on `host`."""
        return HostFindings(
            host=host,
            database=self.database,
            server_version=self.server_version,
            role="standby" if self.in_recovery else "primary",
            checks=checks,
            violations=self.violations,
        )


def observe(answer: Answer, check_error: SqlError | None = None) -> Observation:
    """The observation in an answer without error."""
    status = next(row for row in answer.rows if "server_version" in row)
    found = tuple(Violation(**row) for row in answer.rows if "check" in row)
    rows = tuple(Row(**row) for row in status["rows"] or ())
    return Observation(**{**status, "rows": rows, "ledgers": tuple(status["ledgers"])}, violations=found, check_error=check_error)
