"""Inventory data as a frozen value: names, types and defaults of every key that the package reads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from deploy.connection.conninfo import DATA_KEYS, SECRET_KEYS
from deploy.errors import RunRefused

_UNITS = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def milliseconds(value: object) -> int:
    """`"2s"`, `"1.5min"` or a whole number of milliseconds, as in postgresql.conf, to milliseconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)?", str(value).strip())
    if isinstance(value, bool) or match is None:
        raise ValueError("expected a time such as '2s', '500ms' or 0")
    result = round(float(match[1]) * _UNITS[match[2] or "ms"])
    if result > 2**31 - 1:
        raise ValueError("expected a time of at most 24 days")
    return result


def identifier(value: object) -> str:
    """A name that Postgres takes as it is, on one line: 1 to 63 bytes of UTF-8. Longer names would be cut silently."""
    if not isinstance(value, str):
        raise ValueError("expected text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("expected valid Unicode") from None
    if not 1 <= size <= 63:
        raise ValueError(f"expected a name of 1 to 63 bytes, got {size}")
    if any(character < " " or character == "\x7f" for character in value):
        raise ValueError("expected a name without control characters")
    return value


Duration = Annotated[int, BeforeValidator(milliseconds)]
Identifier = Annotated[str, BeforeValidator(identifier)]
Days = Annotated[int, Field(ge=1, le=1_000_000)]
Port = Annotated[int, Field(strict=False, ge=1, le=65535)]


@dataclass(frozen=True, config=ConfigDict(strict=True))
class Settings:
    """The data of one host. Times are in milliseconds. DESIGN of the keys: README, `inventories/group_data/all.py`."""

    schema: Identifier | None = "public"
    migrations: Annotated[str, Field(min_length=1)] | None = None
    checks: Annotated[str, Field(min_length=1)] | None = None
    owner: Identifier | None = None
    ignore_missing: bool = True
    lock_timeout: Duration = 2_000
    statement_timeout: Duration = 60_000
    lock_wait: Duration = 60_000
    query_budget_ms: Annotated[int, Field(ge=1)] = 100
    probe_rows: Annotated[int, Field(ge=0)] = 0
    retention_days: Days = 90
    health_retention_days: Days | None = None
    batch_rows: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    replay_wait: Duration = 30_000
    wave: Annotated[int, Field(ge=0)] = 0
    max_connections_per_server: Annotated[int, Field(ge=1)] = 8
    audit: bool = False
    variables: dict[str, Any] | None = None
    secret_variables: list[str] | None = None
    repair_invalid_indexes: bool = False
    postgres_conninfo: str | None = None
    postgres_service: str | None = None
    postgres_host: str | None = None
    postgres_port: Port | None = None
    postgres_dbname: str | None = None
    postgres_user: str | None = None
    postgres_password: str | None = None
    postgres_sslmode: str | None = None
    postgres_sslrootcert: str | None = None
    postgres_ssh: str | None = None
    postgres_ssh_key: str | None = None

    @property
    def packaged(self) -> bool:
        """Whether the source is ours, whose contract we hold."""
        return self.migrations is None


_SQLX_DEFAULTS: Mapping[str, Any] = {
    "schema": None,
    "ignore_missing": False,
    "lock_timeout": 0,
    "statement_timeout": 0,
}
"""Defaults for another source: as SQLx does."""


def read(host: str, data: Mapping[str, Any], **arguments: Any) -> Settings:
    """The settings of `host` from its inventory data; arguments that are not None win. Paths are as given.

    Raises RunRefused with one sentence for the first key that is ill-typed or, among `postgres_*`, unknown.
    """
    known = {field.name for field in fields(Settings)}
    for key in DATA_KEYS:
        value = data.get(key)
        if isinstance(value, str) and re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
            raise RunRefused(f"{host}: data key {key!r} holds a control character or invalid Unicode; write it without")
    if data.get("schema") == "$user":
        raise RunRefused(f"{host}: data key 'schema': '$user' is not usable: Postgres reads it as the role's name; name the schema")
    for key in data:
        if key.startswith("postgres_") and key not in DATA_KEYS:
            near = difflib.get_close_matches(key, DATA_KEYS, 1, 0)
            raise RunRefused(f"{host}: unknown data key {key!r}; did you mean {near[0]!r}?")
    values = {key: data[key] for key in known if data.get(key) is not None}
    values.update({key: value for key, value in arguments.items() if value is not None})
    if values.get("migrations") is not None:
        values = {**_SQLX_DEFAULTS, **values}
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        shown = "that value" if key in SECRET_KEYS else repr(first["input"])
        reason = (
            first["msg"]
            .removeprefix("Value error, ")
            .replace("Input should be", "expected")
            .replace("String should have", "expected")
            .partition(", unable")[0]
        )
        raise RunRefused(f"{host}: data key {key!r}: {shown} is not usable: {reason}") from None


def resolve_path(path: str) -> Path:
    """A path of the inventory or the command line: `~` is the home, relative ones start at the working directory."""
    return Path(path).expanduser().resolve()
