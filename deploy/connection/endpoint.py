"""Where a host's connection goes, as a value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from deploy.connection.ssh import Bastion


@dataclass(frozen=True)
class Address:
    """One of the hosts that libpq may connect to, as libpq has it; None where it is not given."""

    host: str | None
    hostaddr: str | None
    port: str

    def __str__(self) -> str:
        return f"{self.name or 'local socket'}:{self.port}"

    @property
    def name(self) -> str | None:
        """For TLS, .pgpass and messages."""
        return self.host or self.hostaddr

    @property
    def parameters(self) -> dict[str, str]:
        given = {"host": self.host, "hostaddr": self.hostaddr, "port": self.port}
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True)
class Endpoint:
    """Where a host's connection goes: libpq parameters, and what libpq makes of them."""

    parameters: Mapping[str, str]
    hosts: tuple[Address, ...]
    """What libpq chooses from, at least one."""
    dbname: str | None = None
    exposed: tuple[str, ...] = ()
    """Parameters with secrets that are in the inventory."""
    secrets: tuple[str, ...] = ()
    """Values of such parameters, of the inventory and of the environment."""
    service: str | None = None
    """The section of the service file that says where the server is."""
    bastion: Bastion | None = None
    """Where the connection goes through; it looks up the names of hosts without an address."""

    @property
    def label(self) -> str:
        """For messages: the service, or host and port; and the bastion."""
        return f"service {self.service!r}{self.via}" if self.service else self.key

    def label_of(self, address: Address) -> str:
        """For messages: one of the hosts."""
        return f"{address}{self.via}"

    @property
    def via(self) -> str:
        return f" through {self.bastion}" if self.bastion else ""

    @property
    def key(self) -> str:
        """What tells a server from others: its hosts, on the other side of its bastion."""
        return ",".join(map(str, self.hosts)) + self.via

    @property
    def alternatives(self) -> tuple[Endpoint, ...]:
        """An endpoint for each of several hosts, whatever its role; empty for a single one."""
        if len(self.hosts) == 1:
            return ()
        whatever_role = {**self.parameters, "target_session_attrs": "any"}
        return tuple(
            replace(self, parameters={**whatever_role, **address.parameters}, hosts=(address,), service=None)
            for address in self.hosts
        )
