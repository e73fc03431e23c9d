"""What a host should be: its settings, the source and the checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy import settings
from deploy.connection.quoting import ident
from deploy.settings import Settings
from deploy.source import checks, migrations, queries
from deploy.source.migrations import Source
from deploy.source.queries import Query
from deploy.statements import statement


@dataclass(frozen=True)
class Target:
    """Settings, source and checks of one host."""

    settings: Settings
    source: Source
    checks: Path | None
    queries: tuple[Query, ...] = ()

    @property
    def holds_contract(self) -> bool:
        """Whether the checks are the contract of the packaged source."""
        return self.settings.packaged and self.checks == checks.packaged()

    @property
    def check_names(self) -> tuple[str, ...]:
        """The names of the checks in the order in which they run."""
        files = checks.files(self.checks) if self.checks is not None else []
        return tuple(checks.name(path) for path in files)

    @property
    def check_variables(self) -> dict[str, Any]:
        """What the template of a check may use."""
        return {
            "schema": self.settings.schema,
            "owner": self.settings.owner,
            "ledger": self.ledger,
            "ledger_schema": self.ledger_schema,
            "ledger_table": self.source.sqlx.ledger_table,
        }

    @property
    def ledger(self) -> str:
        """The ledger's name as it is looked up and made: in `schema`, else where the role's search_path leads; quoted."""
        return qualified(self.ledger_schema, self.source.sqlx.ledger_table)

    @property
    def ledger_schema(self) -> str | None:
        """The schema that sqlx.toml or the data name for the ledger."""
        return self.source.sqlx.ledger_schema or self.settings.schema


def qualified(schema: str | None, name: str) -> str:
    prefix = f"{ident(schema)}." if schema is not None else ""
    return prefix + ident(name)


def resolve(host: str, data: Mapping[str, Any], **arguments: Any) -> Target:
    """The target of `host`. Raises RunRefused when a value is ill-typed or the source or the checks can't be read."""
    values = settings.read(host, data, **arguments)
    folder = checks.packaged() if values.packaged else None
    if values.checks is not None:
        folder = settings.resolve_path(values.checks)
    if values.migrations is None:
        source = migrations.packaged()
    else:
        source = migrations.load(settings.resolve_path(values.migrations), values.variables)
    if folder is not None:
        checks.files(folder)
    named = queries.load(queries.packaged(), values.query_budget_ms) if values.packaged else ()
    return Target(values, source, folder, named)


def session_settings(values: Settings, *, for_session: bool = False) -> str:
    """The SET LOCAL statements that open every transaction of ours.

    With `for_session` those for a file that runs outside a transaction: they last, and nothing is timed out.
    """
    return statement(
        "session/settings.sql.j2",
        scope="SESSION" if for_session else "LOCAL",
        schema=values.schema,
        lock_timeout=0 if for_session else values.lock_timeout,
        statement_timeout=0 if for_session else values.statement_timeout,
    )
