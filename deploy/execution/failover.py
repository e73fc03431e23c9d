"""What was planned for one server is not done on another, and not on one of two that both take writes."""

from __future__ import annotations

from typing import cast

from pyinfra import host, state

from deploy.connection.server import Server
from deploy.connectors.postgres import PostgresConnector
from deploy.errors import HostFailed


def before_writing(now: Server) -> None:
    """While executing, ahead of the first write: no other host of the connection string takes writes too. Raises HostFailed.

    A connection that is still open to the old primary would not notice that another one was promoted meanwhile.
    """
    if state.is_executing:
        problem = now.split_brain_problem(cast(PostgresConnector, host.connector).database.other_hosts())
        if problem is not None:
            raise HostFailed(problem)
