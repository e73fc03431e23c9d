"""The audit trail `_deploy_history`, for those who set `audit`: what a file was rendered from, by whom. Pure but for who we are."""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections.abc import Collection, Mapping
from functools import cache
from importlib import metadata
from typing import Any

from deploy import templates
from deploy.migrations import Migration

TABLE = "_deploy_history"

_SECRET = re.compile(r"pass(word|wd|phrase)?|secret|token|credential|private|api_?key|(^|_)key$", re.IGNORECASE)


def public(variables: Mapping[str, Any] | None, secret: Collection[str] | None) -> dict[str, Any]:
    """The variables that may be recorded: neither named in `secret_variables` nor named like a secret, at any depth."""

    def keep(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: keep(item) for key, item in value.items() if not hidden(str(key))}
        return [keep(item) for item in value] if isinstance(value, list) else value

    def hidden(name: str) -> bool:
        return name in (secret or ()) or _SECRET.search(name) is not None

    kept: dict[str, Any] = keep(variables or {})
    return kept


def create(history: str) -> str:
    return templates.own("audit/create.sql.j2", history=history)


def record(history: str, migration: Migration, action: str, variables: Mapping[str, Any]) -> str:
    """The row that says that `action` (apply, revert, adopt or replace checksum) was done; `history` is quoted."""
    user, machine, version = _who()
    return templates.own(
        "audit/record.sql.j2",
        history=history,
        version=migration.version,
        action=action,
        template=migration.template,
        checksum=migration.checksum.hex(),
        variables=json.dumps(variables, sort_keys=True, ensure_ascii=False),
        tool_version=version,
        client_user=user,
        client_host=machine,
    )


@cache
def _who() -> tuple[str, str, str]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a user of that number
        user = "unknown"
    try:
        version = metadata.version("integration-health-deploy")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return user, socket.gethostname(), version


def explain(migration: Migration, recorded: str, row: Mapping[str, Any] | None, variables: Mapping[str, Any]) -> str:
    """Why the checksum of a rendered file differs from the `recorded` one, as far as the history's newest row knows."""
    if row is None or row["checksum"] != recorded:
        return (
            "either its template or a variable changed: compare with the file that was applied, "
            "or set audit=true, so that the next change can be told"
        )
    before = row["variables"]
    names = sorted(name for name in {*before, *variables} if before.get(name, _ABSENT) != variables.get(name, _ABSENT))
    reasons = [f"variable {name!r} changed from {_show(before, name)} to {_show(variables, name)}" for name in names]
    if row["template_sha256"] != migration.template:
        reasons.append("its template changed")
    return " and ".join(reasons) or "a secret variable or a file that its template includes changed"


_ABSENT = object()


def _show(variables: Mapping[str, Any], name: str) -> str:
    return json.dumps(variables[name], ensure_ascii=False) if name in variables else "nothing"
