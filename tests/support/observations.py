"""A host as it may be observed: as its contract has it, and without a ledger. Tests replace what they are about."""

from __future__ import annotations

from dataclasses import replace

from deploy.connection.server import Server
from deploy.plan.catalogs import Catalog
from deploy.plan.ledger import Row
from deploy.plan.observation import History, Ledger, Observation, Role, Schema
from deploy.plan.proof import Proof
from deploy.source import contracts
from deploy.source.migrations import Migration

(CONTRACT,) = contracts.load(contracts.packaged())

PUBLIC = Schema("public", exists=True, can_use=True, can_create=True)

LEDGER = Ledger(
    schema="public",
    name="_sqlx_migrations",
    owner="deployer",
    owner_is_superuser=False,
    mismatch=None,
    addition=None,
    readable=True,
    has_row_security=False,
    privileges=("SELECT", "INSERT", "UPDATE", "DELETE"),
    target_schema=PUBLIC,
    rows=(),
)

NO_LEDGER = replace(LEDGER, schema=None, name=None, owner=None, readable=False, privileges=())

EMPTY = Observation(
    server_version="18.4",
    server=Server(in_recovery=False, address="10.0.0.1:5432", started="t1"),
    database="health",
    role=Role("deployer", "deployer", can_set_owner=True, is_member=True, can_create_schemas=True),
    schema=PUBLIC,
    ledger=NO_LEDGER,
    history=History(exists=False, writable=False),
    ledger_schemas=(),
    missing_schemas=(),
    invalid_indexes=(),
    lock_holder=None,
    pooled=False,
    catalog=Catalog(CONTRACT.objects, fingerprint=""),
    proof=Proof(CONTRACT),
)


def row(migration: Migration, *, success: bool = True, checksum: str | None = None) -> Row:
    return Row(migration.version, migration.description, success, checksum or migration.checksum.hex())


def with_ledger(*rows: Row, **changes: object) -> Observation:
    """EMPTY with a ledger of these rows; `changes` are fields of the ledger."""
    return replace(EMPTY, ledger=replace(LEDGER, rows=rows, **changes), ledger_schemas=("public",))
