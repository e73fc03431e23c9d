"""Every data key of an inventory, declared once: type, default, one sentence. All lists of keys come from here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from deploy.errors import RunRefused
from deploy.problems import Problem
from deploy.secrets import with_environment
from deploy.spelling import is_misspelt
from deploy.values import (
    Days,
    Duration,
    Folder,
    Identifier,
    Milliseconds,
    Parameter,
    Port,
    expand_home,
    not_blank,
    own_path,
    schema_name,
)

_SAME: Any = object()


@plain_dataclass(frozen=True)
class Key:
    """What is declared of a data key beside its name, type and default.

    `another` is the default for a source other than the packaged one, as SQLx has it. `default` says in words what no value means.
    """

    sentence: str
    another: Any = _SAME
    default: str = "none"
    argument: bool = True
    """Whether a verb takes it as an argument."""
    secret: bool = False
    libpq: str | None = None
    """The parameter of libpq that it is."""


@dataclass(frozen=True, config=ConfigDict(strict=True))
class Settings:
    """The data of one host. Times are in milliseconds."""

    schema: Annotated[
        Annotated[Identifier, AfterValidator(schema_name)] | None,
        Key("where the tables and the ledger are; the `search_path` of each transaction", None, "the role's `search_path`"),
    ] = "public"
    owner: Annotated[Identifier | None, Key("role that new objects and a new ledger belong to", default="the connecting role")] = (
        None
    )
    migrations: Annotated[Folder | None, Key("folder of another source", default="the packaged ones")] = None
    contract: Annotated[Folder | None, Key("folder of contracts", default="the packaged ones; another source: none")] = None
    checks: Annotated[Folder | None, Key("folder of checks", default="the packaged ones; another source: none")] = None
    ignore_missing: Annotated[bool, Key("ledger rows that the source doesn't have belong to others", False)] = True
    lock_timeout: Annotated[Duration, Key("how long a statement waits for a lock", 0)] = Milliseconds(2_000)
    statement_timeout: Annotated[Duration, Key("how long a statement may run", 0)] = Milliseconds(60_000)
    lock_wait: Annotated[Duration, Key("how long to wait for another migrator, or to retry a busy table")] = Milliseconds(60_000)
    replay_wait: Annotated[Duration, Key("how long to wait until a standby has replayed the migration")] = Milliseconds(30_000)
    query_budget_ms: Annotated[int, Field(ge=1), Key("budget of a named query, in milliseconds")] = 100
    probe_rows: Annotated[int, Field(ge=0), Key("rows of the probes (0: no probe)")] = 0
    retention_days: Annotated[Days, Key("days that `deploy.purge` keeps events")] = 90
    health_retention_days: Annotated[
        Days | None, Key("days that it keeps older status rows; the newest of each integration stays", default="for ever")
    ] = None
    batch_rows: Annotated[int, Field(ge=1, le=100_000), Key("rows that it deletes in one transaction")] = 10_000
    wave: Annotated[int, Field(ge=0), Key("see above", argument=False)] = 0
    max_connections_per_server: Annotated[
        int, Field(ge=1), Key("connections that one run opens to one server at once", argument=False)
    ] = 8
    repair_invalid_indexes: Annotated[
        bool, Key("drop and rebuild an INVALID index that a failed `-- no-transaction` file has left")
    ] = False
    private_schema: Annotated[
        bool, Key("whether it is a violation that PUBLIC or another role than the owner may create in the schema")
    ] = False
    audit: Annotated[bool, Key("record in `_deploy_history`, beside the ledger, who applied what from where")] = False
    variables: Annotated[dict[str, Any] | None, Key("what `*.sql.j2` of another source may use", secret=True)] = None
    secret_variables: Annotated[
        list[str] | dict[str, str] | None,
        Key("names of those whose values are never shown or recorded; or each with its environment variable", secret=True),
    ] = None
    other_keys: Annotated[
        list[str] | None, Key("data keys of other deploys that look like a misspelt one of these", argument=False)
    ] = None
    postgres_conninfo: Annotated[
        Annotated[Parameter, AfterValidator(not_blank)] | None, Key("a libpq connection string or URL", secret=True)
    ] = None
    postgres_service: Annotated[Parameter | None, Key("a section of `pg_service.conf`", libpq="service")] = None
    postgres_host: Annotated[Parameter | None, Key("libpq's `host`", libpq="host")] = None
    postgres_port: Annotated[Port | None, Key("libpq's `port`", libpq="port")] = None
    postgres_dbname: Annotated[Parameter | None, Key("libpq's `dbname`", libpq="dbname")] = None
    postgres_user: Annotated[Parameter | None, Key("libpq's `user`", libpq="user")] = None
    postgres_password: Annotated[
        Parameter | None,
        Key("libpq's `password`; better in `.pgpass`, `PGPASSWORD` or the service file", secret=True, libpq="password"),
    ] = None
    postgres_sslmode: Annotated[Parameter | None, Key("libpq's `sslmode`", libpq="sslmode")] = None
    postgres_sslrootcert: Annotated[Parameter | None, Key("libpq's `sslrootcert`", libpq="sslrootcert")] = None
    postgres_ssh: Annotated[Parameter | None, Key("`[USER@]HOST[:PORT]` of a bastion, or a name of `~/.ssh/config`")] = None
    postgres_ssh_key: Annotated[Annotated[Parameter, AfterValidator(own_path)] | None, Key("path of the private key for it")] = None

    @property
    def packaged(self) -> bool:
        """Whether the source is ours, whose contract we hold."""
        return self.migrations is None

    @property
    def libpq_parameters(self) -> dict[str, str]:
        """Those that are data keys of their own and given."""
        values = {key.libpq: getattr(self, name) for name, key in KEYS.items() if key.libpq is not None}
        return {parameter: str(value) for parameter, value in values.items() if value is not None}


def _declared() -> dict[str, Key]:
    hints = get_type_hints(Settings, include_extras=True)
    return {field.name: next(one for one in hints[field.name].__metadata__ if isinstance(one, Key)) for field in fields(Settings)}


KEYS: Mapping[str, Key] = _declared()
"""Every data key, in the order in which people read them."""

CONNECTION_KEYS: Mapping[str, str] = {name: key.sentence for name, key in KEYS.items() if name.startswith("postgres_")}
"""Those that say where a host is and how to log in there."""

ARGUMENTS: tuple[str, ...] = tuple(name for name, key in KEYS.items() if key.argument and name not in CONNECTION_KEYS)
"""Those that every verb takes."""

DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(Settings)}
ANOTHER_SOURCE: Mapping[str, Any] = {name: key.another for name, key in KEYS.items() if key.another is not _SAME}
"""The defaults that are others for another source: as SQLx does."""


def read(host: str, data: Mapping[str, Any], **arguments: Any) -> Settings:
    """The settings of `host` from its inventory data; arguments that are not None win. Paths are as given.

    Raises RunRefused with one sentence for the first key that is ill-typed, unknown among `postgres_*`, or a misspelt one of ours.
    """
    _refuse_misspelt(host, data)
    given = {**data, **{key: value for key, value in arguments.items() if value is not None}}
    values = {key: given[key] for key in KEYS if given.get(key) is not None}
    if "migrations" in values:
        values = {**ANOTHER_SOURCE, **values}
    try:
        own = Settings(**values)
        return replace(own, variables=with_environment(own.variables, own.secret_variables)) if own.secret_variables else own
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise RunRefused(Problem("settings", f"{host}: {_invalid(error, f'data key {key!r}', secret=KEYS[key].secret)}")) from None
    except ValueError as error:
        raise RunRefused(Problem("settings", f"{host}: {error}")) from None


def _refuse_misspelt(host: str, data: Mapping[str, Any]) -> None:
    """Keys of other deploys are none of our business, but one that is nearly ours is ours, misspelt."""
    others = data.get("other_keys") or ()
    for key in data:
        if key in KEYS or (isinstance(others, list) and key in others):
            continue
        if key.startswith("postgres_"):
            near, way_out = difflib.get_close_matches(key, CONNECTION_KEYS, 1, 0)[0], ""
        else:
            near = next((ours for ours in KEYS if is_misspelt(key, ours, _allowed_edits(ours))), "")
            way_out = " If it is another deploy's, list it in 'other_keys'"
        if near:
            raise RunRefused(Problem("settings", f"{host}: unknown data key {key!r}", f"did you mean {near!r}?{way_out}"))


def _allowed_edits(ours: str) -> int:
    """In a long key two: it is less likely to be a word of its own. `postgresql_port` is."""
    return 2 if len(ours) > 8 and ours not in CONNECTION_KEYS else 1


def check_argument(word: str, key: str, value: Any) -> None:
    """Raise ValueError with a sentence unless `value`, which the command line calls `word`, is one for this data key."""
    try:
        Settings(**{key: value})
    except ValidationError as error:
        raise ValueError(_invalid(error, f"argument {word!r}", secret=KEYS[key].secret)) from None


_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a dictionary",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_type": "an integer",
    "list_type": "a list of strings",
    "string_type": "a string",
    "string_unicode": "valid Unicode",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "string_too_short": "at least {min_length} character",
}
"""pydantic's types of errors, in the words of an operator."""


def _invalid(error: ValidationError, what: str, *, secret: bool) -> str:
    first = error.errors(include_url=False)[0]
    value = "invalid value" if secret else f"invalid value {first['input']!r}"
    return f"{value} for {what}: {expected(first)}"


def expected(error: ErrorDetails) -> str:
    """What a value should have been."""
    known = _EXPECTED.get(error["type"])
    if known is None:
        return error["msg"].removeprefix("Value error, ")
    return f"expected {known.format(**error.get('ctx', {}))}"


def resolve_path(path: str) -> Path:
    """A path of the inventory or the command line: `~` is the home, relative ones start at the working directory.

    Raises RunRefused.
    """
    try:
        return expand_home(path).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL
        raise RunRefused(Problem("settings", f"invalid path {path!r}: {' '.join(str(error).split())}")) from None
