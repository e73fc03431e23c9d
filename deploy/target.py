"""What a host should be: its settings, the source and the checks; and the one message that reads how it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy import checks, ledger, migrations, queries, settings, templates
from deploy.migrations import Source
from deploy.queries import Query
from deploy.script import Part, Script
from deploy.settings import Settings

_GRACE = 10.0
"""Seconds beyond the statement timeout after which a read is given up: a server that answers nothing is not waited for."""


@dataclass(frozen=True)
class Target:
    """Settings, source and checks of one host."""

    settings: Settings
    source: Source
    checks: Path | None
    queries: tuple[Query, ...] = ()

    @property
    def check_names(self) -> tuple[str, ...]:
        """The names of the checks in the order in which they run."""
        files = checks.files(self.checks) if self.checks is not None else []
        return tuple(path.name.removesuffix(".j2").removesuffix(".sql") for path in files)

    @property
    def ledger(self) -> str:
        """The ledger's name as it is looked up and made: in `schema`, else where the role's search_path leads; quoted."""
        return qualified(self.settings.schema, ledger.TABLE)


def qualified(schema: str | None, name: str) -> str:
    prefix = f"{templates.ident(schema)}." if schema is not None else ""
    return prefix + templates.ident(name)


def resolve(host: str, data: Mapping[str, Any], **arguments: Any) -> Target:
    """The target of `host`. Raises Refused when a value is ill-typed or the source or the checks can't be read."""
    values = settings.read(host, data, **arguments)
    folder = checks.packaged() if values.packaged else None
    if values.checks is not None:
        folder = settings.expand(values.checks)
    source = migrations.packaged() if values.migrations is None else migrations.load(settings.expand(values.migrations))
    if folder is not None:
        checks.files(folder)
    named = queries.load(queries.packaged(), values.query_budget_ms) if values.packaged else ()
    return Target(values, source, folder, named)


def session_settings(values: Settings) -> str:
    """The SET LOCAL statements that open every transaction of ours."""
    return templates.own(
        "session/settings.sql.j2",
        schema=values.schema,
        lock_timeout=values.lock_timeout,
        statement_timeout=values.statement_timeout,
    )


def read(target: Target, *, with_checks: bool = True) -> Script:
    """One message, one round trip, one snapshot: server, role, ledger and the violations. Takes no lock above ACCESS SHARE."""
    values = target.settings
    status = templates.own(
        "ledger/status.sql.j2",
        ledger=target.ledger,
        ledger_name=ledger.TABLE,
        schema=values.schema,
        owner=values.owner,
    )
    found: list[Part] = []
    if with_checks and target.checks is not None:
        found += checks.parts(target.checks, schema=values.schema, owner=values.owner, ledger=target.ledger, queries=target.queries)
    timeout = values.statement_timeout / 1000 + _GRACE if values.statement_timeout else None
    return Script(
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;\n",
        session_settings(values),
        status,
        *found,
        "COMMIT;\n",
        timeout=timeout,
    )
