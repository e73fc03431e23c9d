"""What a host should be: its settings, the source and the checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from deploy import settings
from deploy.connection.quoting import Sql, ident
from deploy.plan.difference import CHECK
from deploy.settings import Settings
from deploy.source import checks, contracts, migrations, queries
from deploy.source.checks import Check
from deploy.source.contracts import Contract
from deploy.source.migrations import Source
from deploy.source.queries import Query
from deploy.statements import statement

LEDGER = "ledger"
"""The name of its comparison among the checks."""

T = TypeVar("T")

_KEYS = frozenset(field.name for field in fields(Settings))


@dataclass(frozen=True)
class Target:
    """Settings, source, contracts by version, checks and named queries of one host.

    No file is read any more: a plan and its execution see the same.
    """

    settings: Settings
    source: Source
    contracts: tuple[Contract, ...]
    checks: tuple[Check, ...]
    queries: tuple[Query, ...]

    @property
    def check_names(self) -> tuple[str, ...]:
        """What is compared, then the names of the checks in the order in which they run."""
        return (LEDGER, *([CHECK] if self.contracts else []), *(check.name for check in self.checks))

    @property
    def ledger_schema(self) -> str | None:
        """The schema that sqlx.toml or the data name for the ledger."""
        return _ledger_schema(self.settings, self.source)


def _ledger_schema(values: Settings, source: Source) -> str | None:
    return source.sqlx.ledger_schema or values.schema


def qualified(schema: str | None, name: str) -> Sql:
    prefix = f"{ident(schema)}." if schema is not None else ""
    return Sql(prefix + ident(name))


class Targets:
    """The targets of one run. What is the same for many hosts and in both phases of pyinfra is read and rendered once.

    To be kept by the run and by nothing that lives longer: its memory knows nothing of files that change.
    """

    def __init__(self) -> None:
        self._memory: dict[str, Any] = {}

    def resolve(self, host: str, data: Mapping[str, Any], **arguments: Any) -> Target:
        """The target of `host`. Raises RunRefused when a value is ill-typed or the source or the checks can't be read."""
        return self._once(lambda: self._resolve(host, data, arguments), "target", _own(data), arguments)

    def _resolve(self, host: str, data: Mapping[str, Any], arguments: Mapping[str, Any]) -> Target:
        values = settings.read(host, data, **arguments)
        path = migrations.packaged() if values.migrations is None else settings.resolve_path(values.migrations)
        source = self._once(lambda: migrations.load(path, values.variables), "source", path, values.variables)
        folder = _folder(values.contract, contracts.packaged(), values)
        expected = self._once(lambda: contracts.load(folder), "contracts", folder) if folder is not None else ()
        folder_of_checks = _folder(values.checks, checks.packaged(), values)
        found: tuple[Check, ...] = ()
        if folder_of_checks is not None:
            variables = _check_variables(values, source)
            found = self._once(lambda: checks.load(folder_of_checks, **variables), "checks", folder_of_checks, variables)
        named: tuple[Query, ...] = ()
        if values.packaged:
            budget = values.query_budget_ms
            named = self._once(lambda: queries.load(queries.packaged(), budget), "queries", budget)
        return Target(values, source, expected, found, named)

    def _once(self, make: Callable[[], T], *key: object) -> T:
        """What `make` gives, made once for each `key`, which is compared by its repr: data may hold what can't be hashed."""
        text = repr(key)
        if text not in self._memory:
            self._memory[text] = make()
        made: T = self._memory[text]
        return made


def _folder(given: str | None, packaged: Path, values: Settings) -> Path | None:
    """The folder that the data name, else the packaged one, which is for the packaged source only."""
    if given is not None:
        return settings.resolve_path(given)
    return packaged if values.packaged else None


def _own(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What of a host's data a target depends on; other keys belong to other deploys."""
    return sorted((key, value) for key, value in data.items() if key in _KEYS or key.startswith("postgres_"))


def _check_variables(values: Settings, source: Source) -> dict[str, Any]:
    """What the template of a check may use."""
    schema, table = _ledger_schema(values, source), source.sqlx.ledger_table
    return {
        "schema": values.schema,
        "owner": values.owner,
        "private_schema": values.private_schema,
        "ledger": qualified(schema, table),
        "ledger_schema": schema,
        "ledger_table": table,
    }


def transaction_settings(values: Settings) -> str:
    """The statements that open every transaction of ours. From here on names lead to pg_catalog alone."""
    timeouts = {"lock_timeout": values.lock_timeout, "statement_timeout": values.statement_timeout}
    settings = statement("session/settings.sql.j2", scope="LOCAL", **timeouts)
    return statement("transaction/settings.sql.j2", schema=values.schema, settings=settings)


def own_path(values: Settings) -> str:
    """For code that is not ours, in such a transaction: the search_path of the schema, or of the session."""
    return statement("session/own_path.sql.j2", schema=values.schema)


def session_settings(values: Settings) -> str:
    """The settings of a session for a file that runs outside a transaction: nothing is timed out."""
    settings = statement("session/settings.sql.j2", scope="SESSION", lock_timeout=0, statement_timeout=0)
    return statement("no_transaction/session.sql.j2", schema=values.schema, owner=values.owner, settings=settings)
