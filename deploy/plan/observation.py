"""How a host is, as one value, from the rows of `execution.observe.question`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.connection.message import Answer
from deploy.connection.server import Server
from deploy.errors import SqlError
from deploy.findings import HostFindings, Violation
from deploy.plan.invalid_indexes import InvalidIndex
from deploy.plan.ledger import Row


@dataclass(frozen=True)
class Observation:
    """What the server said of itself, of the acting role (`owner`) and of the ledger; None names what is not there.

    `ledger_mismatch` says why the relation of that name is not SQLx's ledger.
    """

    server_version: str
    server: Server
    database: str
    role: str
    schema: str | None
    schema_exists: bool
    schema_usable: bool
    schema_creatable: bool
    owner: str | None
    owner_assumable: bool
    owner_member: bool
    """Of the owner, if only without the right to act as it (PostgreSQL 16: WITH SET FALSE)."""
    database_creatable: bool | None
    """Whether the acting role may create schemas."""
    ledger_schema: str | None
    ledger_name: str | None
    ledger_owner: str | None
    ledger_owner_is_superuser: bool
    ledger_mismatch: str | None
    ledger_readable: bool
    ledger_has_row_security: bool
    """Whether row security may hide rows of it; then none is read."""
    ledger_privileges: tuple[str, ...]
    ledger_target_schema: str | None
    """The schema that the ledger is in or would be made in."""
    ledger_target_schema_usable: bool
    ledger_target_schema_creatable: bool
    ledgers: tuple[str, ...]
    missing_schemas: tuple[str, ...]
    invalid_indexes: tuple[InvalidIndex, ...]
    history_exists: bool
    history_writable: bool
    holder: Mapping[str, Any] | None
    """Who holds the lock of migrators: pid, application and since; None when nobody does."""
    pooled: bool
    """Whether a pooler is in between: the session is not the one that was logged into."""
    rows: tuple[Row, ...]
    violations: tuple[Violation, ...]
    check_error: SqlError | None = None
    not_run: Mapping[str, str] = field(default_factory=dict)
    """Checks that the role may not run, and why."""

    @property
    def in_recovery(self) -> bool:
        return self.server.in_recovery

    def findings(self, host: str, checks: tuple[str, ...]) -> HostFindings:
        """What those of `checks` that could run found on `host`."""
        return HostFindings(
            host=host,
            database=self.database,
            server_version=self.server_version,
            role="standby" if self.in_recovery else "primary",
            checks=tuple(check for check in checks if check not in self.not_run),
            violations=self.violations,
            not_run=self.not_run,
        )


def observe(
    answer: Answer, check_error: SqlError | None = None, login_pid: int | None = None, not_run: Mapping[str, str] | None = None
) -> Observation:
    """The observation in an answer without error; `login_pid` is the process id that the login was answered with."""
    status = dict(next(row for row in answer.rows if "server_version" in row))
    found = tuple(Violation(**row) for row in answer.rows if "check" in row)
    pid = status.pop("backend_pid")
    values: dict[str, Any] = {
        **status,
        "server": Server.of(answer),
        "rows": tuple(Row(**row) for row in status["rows"] or ()),
        "ledgers": tuple(status["ledgers"]),
        "ledger_privileges": tuple(status["ledger_privileges"]),
        "missing_schemas": tuple(status["missing_schemas"]),
        "invalid_indexes": tuple(InvalidIndex(**one) for one in status["invalid_indexes"]),
        "pooled": login_pid is not None and login_pid != pid,
    }
    return Observation(**values, violations=found, check_error=check_error, not_run=not_run or {})
