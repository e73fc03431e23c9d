"""psycopg's connection: its waits end at a deadline, and it goes through a bastion where there is one."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from deploy.connection import conninfo, refusals
from deploy.connection.connect_errors import ServerFull, is_understood, says_full
from deploy.connection.endpoint import Address, Endpoint
from deploy.connection.ssh import LOOPBACK, Bastions, Login

RV = TypeVar("RV")


class NoAnswer(Exception):
    """The server is not waited for any longer; the argument ends the sentence `no answer from SERVER`."""


class Connection(psycopg.Connection[TupleRow]):
    """A connection whose waits raise NoAnswer at the deadline, with gevent and without."""

    _deadline: tuple[float, str] | None = None
    route: Route | None = None

    def set_deadline(self, seconds: float | None) -> None:
        """So many seconds from now; None: wait as long as the connection lives."""
        self._deadline = None if seconds is None else (time.monotonic() + seconds, f"within {seconds:g} s")

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        if self._deadline is not None:
            gen = _until(gen, *self._deadline)
        return super().wait(gen, interval, timeout)

    @property
    def address(self) -> Address:
        """The server that was reached, as the inventory has it."""
        host, port = self.info.host, str(self.info.port)
        return Address(host, None, port) if self.route is None else self.route.address_of(port)

    def ssh_failure(self) -> str | None:
        """Why the bastion ended the connection after it was lost; None when that wasn't the reason."""
        return self.route.login.failure() if self.route is not None else None


class Route:
    """The way of one connection through a bastion: a loopback port for each of the servers that libpq may choose."""

    def __init__(self, login: Login, hosts: Sequence[Address]) -> None:
        """Raises OSError in ssh's words."""
        self.login = login
        self._hosts = hosts
        self._ports = [str(login.forward(one.hostaddr or one.host or "", one.port)) for one in hosts]
        self._log_size = login.log_size()

    @property
    def parameters(self) -> dict[str, str]:
        """libpq's, with the real name for TLS."""
        return {
            "host": ",".join(one.name or "" for one in self._hosts),
            "hostaddr": ",".join(LOOPBACK for _ in self._hosts),
            "port": ",".join(self._ports),
        }

    def address_of(self, port: str) -> Address:
        return self._hosts[self._ports.index(port)]

    def reword(self, text: str) -> str:
        """libpq's words for failed attempts, with the real names, and ssh's words where ssh failed."""
        for port, address in zip(self._ports, self._hosts, strict=True):
            here = f'connection to server at "{LOOPBACK}", port {port} failed: '
            if here not in text:
                continue
            if failure := self.login.failure(port, self._log_size):
                attempt = rf"{re.escape(here)}(?:(?!\n- host: |\nMultiple connection).)*"
                text = re.sub(attempt, failure.replace("\\", r"\\"), text, flags=re.DOTALL)
            else:
                text = text.replace(here, f'connection to server at "{address.name}", port {address.port} failed: ')
        return text


def connect(endpoint: Endpoint, parameters: Mapping[str, str], bastions: Bastions) -> Connection:
    """Open a connection to the endpoint with these parameters. Raises psycopg.Error (also ServerFull), OSError, UnicodeError."""
    if endpoint.bastion is None:
        return _open(make_conninfo("", **parameters))
    if endpoint.hosts[0].name is None:
        raise OSError(
            conninfo.unreadable_service(parameters)
            or "postgres_ssh needs a server's name or address, which this section of the service file does not give"
        )
    route = Route(bastions.login(endpoint.bastion), endpoint.hosts)
    # libpq would look for the password of the loopback's port
    passwords = (conninfo.password({**parameters, **address.parameters}) for address in endpoint.hosts)
    through = {**parameters, **route.parameters, "password": next(filter(None, passwords), None)}
    try:
        connection = _open(make_conninfo("", **through))
    except psycopg.OperationalError as error:
        raise type(error)(route.reword(str(error)), pgconn=error.pgconn) from None
    connection.route = route
    return connection


def _open(dsn: str) -> Connection:
    try:
        return Connection.connect(dsn, autocommit=True)
    except psycopg.OperationalError as error:
        text = str(error)
        if says_full(text) or (not is_understood(text) and refusals.is_full(dsn)):
            raise ServerFull(text, pgconn=error.pgconn) from None
        raise


def _until(gen: PQGen[RV], deadline: float, words: str) -> PQGen[RV]:
    """The steps of `gen`; between two of them psycopg waits for at most its interval."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if time.monotonic() > deadline:
                raise NoAnswer(words)
            wanted = gen.send(ready)
    except StopIteration as stop:
        result: RV = stop.value
        return result
