"""The audit trail `_deploy_history`, for those who set `audit`: what a file was rendered from, by whom. Pure but for who we are."""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections.abc import Collection, Mapping
from importlib import metadata
from typing import Any

from deploy.source.migrations import Migration
from deploy.statements import statement

TABLE = "_deploy_history"

_SECRET = re.compile(r"pass(word|wd|phrase)?|secret|token|credential|private|api_?key|(^|_)key$", re.IGNORECASE)


def without_secrets(variables: Mapping[str, Any] | None, secret: Collection[str] | None) -> dict[str, Any]:
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
    return statement("audit/create.sql.j2", history=history)


def record(history: str, migration: Migration, action: str, variables: Mapping[str, Any], *, owner: str | None) -> str:
    """The row that says that `action` (apply, revert, adopt or replace checksum) was done; `history` is quoted."""
    user, machine, version = _client()
    return statement(
        "audit/record.sql.j2",
        history=history,
        owner=owner,
        version=migration.version,
        action=action,
        template=migration.template_sha256,
        checksum=migration.checksum.hex(),
        variables=json.dumps(variables, sort_keys=True, ensure_ascii=False),
        tool_version=version,
        client_user=user,
        client_host=machine,
    )


def _client() -> tuple[str, str, str]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a user of that number
        user = "unknown"
    try:
        version = metadata.version("integration-health-deploy")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return user, socket.gethostname(), version
