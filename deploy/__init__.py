"""Put a Postgres schema on a fleet of databases and prove that it is there.

The functions of this module are the verbs: `pyinfra INVENTORY deploy.apply`. Every verb takes data keys as arguments
(`deploy.apply schema=health`), and `report=DIR`: what was found is written there, also when every host failed.

pyinfra imports this package in every run of its environment, so nothing is imported before a verb is called.
"""

from __future__ import annotations

from typing import Any

from deploy.cli.verbs import verb


@verb(reports="verification")
def apply(suffix: str, **data: Any) -> None:
    """Migrate what is pending on every host, then verify."""
    from deploy import operations
    from deploy.cli.failure import has_not_failed

    operations.migrate(name=f"Migrate{suffix}", **data)
    if has_not_failed():
        operations.verify(name=f"Verify{suffix}", after_migration=True, **data)


@verb(reports="verification", waves=False)
def verify(suffix: str, **data: Any) -> None:
    """Run all checks on every host; nothing is written there."""
    from deploy import operations

    operations.verify(name=f"Verify{suffix}", **data)


@verb(reports="purge", aliases={"days": "retention_days"})
def purge(suffix: str, **data: Any) -> None:
    """Delete events older than `retention_days`, for which `days` is the short word, in batches."""
    from deploy import operations

    operations.purge(name=f"Purge{suffix}", **data)


@verb(reports="completion")
def revert(suffix: str, to: int | None = None, allow_data_loss: bool = False, **data: Any) -> None:
    """Run the down file of the newest applied migration, of all newer than version `to`, or of all: `deploy.revert to=0`."""
    from deploy import operations

    operations.revert(name=f"Revert{suffix}", to=to, allow_data_loss=allow_data_loss, **data)


@verb(reports="completion")
def adopt(suffix: str, replace_checksum: bool = False, to: int | None = None, **data: Any) -> None:
    """Record migrations on hosts where their objects are already there, as the contract proves; nothing is run."""
    from deploy import operations

    operations.adopt(name=f"Adopt{suffix}", replace_checksum=replace_checksum, to=to, **data)


@verb(reports="completion", waves=False)
def contract(suffix: str, out: str | None = None, schemas: str = "", **data: Any) -> None:
    """Write what the hosts hold now as the contract of their version into the folder `out`; `schemas=a,b` beside the host's own."""
    from deploy import operations, settings

    more = [name for name in schemas.split(",") if name]
    folder = settings.resolve_path(out or data.get("contract") or "contract")
    operations.read_contract(name=f"Read{suffix}", schemas=more, **data)
    operations.write_contract(name=f"Write{suffix}", out=folder, schemas=more, **data)


@verb(reports="completion", waves=False, only_postgres=False)
def render(suffix: str, out: str = "migrations", with_secrets: bool = False, **data: Any) -> None:
    """Write the rendered migrations into the folder `out`: `pyinfra @local deploy.render`; secret variables only `with_secrets`."""
    from deploy import operations, settings

    operations.render(name=f"Render{suffix}", out=settings.resolve_path(out), with_secrets=with_secrets, **data)
