"""How a host is, as one value, from the rows of `execution.observe.question`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deploy.connection.message import Answer
from deploy.connection.server import Server
from deploy.errors import SqlError
from deploy.findings import HostFindings, Violation
from deploy.plan.catalogs import Catalog
from deploy.plan.difference import CHECK
from deploy.plan.invalid_indexes import InvalidIndex
from deploy.plan.ledger import Row
from deploy.plan.proof import Proof, prove
from deploy.plan.target import Target
from deploy.statements.columns import Columns, row_as

_STATUS = "status/message.sql.j2"


@dataclass(frozen=True)
class Role:
    """The role that is logged in, and `owner`, the one that acts; None when the role of the data key `owner` does not exist.

    `can_set_owner` is whether it may act as the owner. A member may not everywhere (PostgreSQL 16: WITH SET FALSE).
    """

    name: str
    owner: str | None
    can_set_owner: bool
    is_member: bool
    can_create_schemas: bool | None

    @property
    def acting(self) -> str:
        return self.owner or self.name


@dataclass(frozen=True)
class Schema:
    """A schema and what the acting role may do there; no name: no schema of the search_path exists."""

    name: str | None
    exists: bool
    can_use: bool
    can_create: bool


@dataclass(frozen=True)
class Addition:
    """What a table has that could run code of its owner, who is not trusted."""

    owner: str
    what: str


@dataclass(frozen=True)
class Ledger:
    """SQLx's ledger; without a name it is not there, and `target_schema` is where it would be made.

    `mismatch` says why the relation of that name is not SQLx's ledger. With an `addition`, and with `has_row_security`, when rows
    of it may be hidden from the role, none is read. `privileges` are those of the acting role.
    """

    schema: str | None
    name: str | None
    owner: str | None
    owner_is_superuser: bool
    mismatch: str | None
    addition: Addition | None
    readable: bool
    has_row_security: bool
    privileges: tuple[str, ...]
    target_schema: Schema
    rows: tuple[Row, ...]

    @property
    def exists(self) -> bool:
        return self.name is not None


@dataclass(frozen=True)
class History:
    """The audit trail; not there where none is wanted."""

    exists: bool
    writable: bool
    addition: Addition | None = None


@dataclass(frozen=True)
class Observation:
    """What the server said of itself, of the acting role and of the ledger.

    `ledger_schemas` hold a ledger each; `missing_schemas` are those of sqlx.toml that are not there.
    """

    server_version: str
    server: Server
    database: str
    role: Role
    schema: Schema
    ledger: Ledger
    history: History
    ledger_schemas: tuple[str, ...]
    missing_schemas: tuple[str, ...]
    invalid_indexes: tuple[InvalidIndex, ...]
    lock_holder: Mapping[str, Any] | None
    """Who holds the lock of migrators: pid, application and since; None when nobody does."""
    pooled: bool
    """Whether a pooler is in between: the session is not the one that was logged into."""
    creators: tuple[str, ...] = ()
    """Who may create in the schema: PUBLIC, or roles that neither own it nor are trusted."""
    table_owners: Mapping[str, str] = field(default_factory=dict)
    """The owners of our tables that are not trusted, by table."""
    catalog: Catalog | None = None
    """What is there of what the contracts say; None where there is no contract."""
    proof: Proof = field(default_factory=Proof)
    violations: tuple[Violation, ...] = ()
    """Of the contract, and of the checks."""
    check_error: SqlError | None = None
    not_run: Mapping[str, str] = field(default_factory=dict)
    """Checks that the role may not run, and why."""

    @property
    def major(self) -> int:
        return _major(self.server_version)

    @property
    def in_recovery(self) -> bool:
        return self.server.in_recovery

    def agreed_with(self, earlier: Observation) -> Observation:
        """Without the differences from the contract that `earlier` did not have; all where another contract was compared."""
        if self.proof.contract != earlier.proof.contract:
            return self
        fleeting = set(self.proof.violations).difference(earlier.proof.violations)
        proof = replace(self.proof, violations=tuple(v for v in self.proof.violations if v not in fleeting))
        return replace(self, proof=proof, violations=tuple(v for v in self.violations if v not in fleeting))

    def findings(self, host: str, checks: tuple[str, ...]) -> HostFindings:
        """What those of `checks` that could run found on `host`."""
        return HostFindings(
            host=host,
            database=self.database,
            server_version=self.server_version,
            role="standby" if self.in_recovery else "primary",
            checks=tuple(c for c in checks if c not in self.not_run and (c != CHECK or self.proof.contract is not None)),
            violations=self.violations,
            not_run=self.not_run,
        )


def observe(
    target: Target,
    answer: Answer,
    check_error: SqlError | None = None,
    login_pid: int | None = None,
    not_run: Mapping[str, str] | None = None,
) -> Observation:
    """The observation in an answer without error; `login_pid` is the process id that the login was answered with."""
    status = Columns(next(row for row in answer.rows if "server_version" in row), _STATUS)
    ledger = _ledger(status)
    known = target.contracts[-1] if target.contracts else None
    catalog = next((Catalog.of(row, known) for row in answer.rows if "unmatched" in row), None)
    proof = prove(target.source, target.contracts, ledger.rows, catalog, _major(status["server_version"]))
    found = tuple(row_as(Violation, row, "session/check.sql.j2") for row in answer.rows if "check" in row)
    return Observation(
        server_version=status["server_version"],
        server=Server.of(answer),
        database=status["database"],
        role=Role(
            name=status["role"],
            owner=status["owner"],
            can_set_owner=status["owner_assumable"],
            is_member=status["owner_member"],
            can_create_schemas=status["database_creatable"],
        ),
        schema=Schema(status["schema"], status["schema_exists"], status["schema_usable"], status["schema_creatable"]),
        ledger=ledger,
        history=History(
            status["history_exists"],
            status["history_writable"],
            _addition(status["history_owner"], status["history_additions"]),
        ),
        ledger_schemas=tuple(status["ledgers"]),
        missing_schemas=tuple(status["missing_schemas"]),
        invalid_indexes=tuple(row_as(InvalidIndex, one, "indexes/invalid.sql.j2") for one in status["invalid_indexes"]),
        lock_holder=status["holder"],
        pooled=login_pid is not None and login_pid != status["backend_pid"],
        creators=tuple(status["creators"]),
        table_owners=status["table_owners"],
        catalog=catalog,
        proof=proof,
        violations=(*proof.violations, *found),
        check_error=check_error,
        not_run=not_run or {},
    )


def _addition(owner: str | None, what: str | None) -> Addition | None:
    return Addition(owner, what) if owner is not None and what is not None else None


def _major(server_version: str) -> int:
    """18 of "18.4", "18beta1" and "18.4 (Debian 18.4-1)"."""
    match = re.match(r"\d+", server_version)
    return int(match[0]) if match is not None else 0


def _ledger(status: Columns) -> Ledger:
    return Ledger(
        schema=status["ledger_schema"],
        name=status["ledger_name"],
        owner=status["ledger_owner"],
        owner_is_superuser=status["ledger_owner_is_superuser"],
        mismatch=status["ledger_mismatch"],
        addition=_addition(status["ledger_owner"], status["ledger_additions"]),
        readable=status["ledger_readable"],
        has_row_security=status["ledger_has_row_security"],
        privileges=tuple(status["ledger_privileges"]),
        target_schema=Schema(
            name=status["ledger_target_schema"],
            exists=status["ledger_target_schema"] is not None,
            can_use=status["ledger_target_schema_usable"],
            can_create=status["ledger_target_schema_creatable"],
        ),
        rows=tuple(row_as(Row, row, _STATUS) for row in status["rows"] or ()),
    )
