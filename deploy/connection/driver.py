"""psycopg's connection with two things more: its waits can be given up, and it goes through a bastion where there is one."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, ClassVar, cast

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deploy.connection.bastion import Bastion
from deploy.connection.timeouts import Check
from deploy.connection.tunnel import LOOPBACK, Tunnel

_IN_TURN = {"prefer": ("require", "does not support SSL", "disable"), "allow": ("disable", "no encryption", "require")}
"""The modes in which libpq may connect a second time, which a tunnel's port doesn't take: first, when not to end there, then."""


class Connection(psycopg.Connection[Any]):
    """A connection whose waits end when `check` gives up, with gevent and without."""

    check: Check | None = None
    bastion: ClassVar[Bastion | None] = None
    _tunnel: Tunnel | None = None

    @classmethod
    def through(cls, bastion: Bastion | None) -> type[Connection]:
        """The class of connections through `bastion`. Their `host`, `port` and `hostaddr` are spelt out, as Endpoint has them."""
        return cls if bastion is None else cast("type[Connection]", type("Connection", (cls,), {"bastion": bastion}))

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        if self.check is not None:
            gen = _checked(gen, self.check)
        return super().wait(gen, *args, **kwargs)

    def close(self) -> None:
        """Doesn't wait. Safe twice."""
        super().close()
        if self._tunnel is not None:
            self._tunnel.close()

    @property
    def reached(self) -> tuple[str, str]:
        """Host and port of the server."""
        return self.info.host, self._tunnel.target[1] if self._tunnel is not None else str(self.info.port)

    def failure(self) -> str | None:
        """Why the way through the bastion has ended, after the connection was lost; None when that wasn't the reason."""
        return self._tunnel.failure() if self._tunnel is not None else None

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Any]:
        """psycopg's attempt to reach one server. Through a bastion, libpq has the real name for TLS and the tunnel's address."""
        if cls.bastion is None:
            return (yield from super()._connect_gen(conninfo))
        given = conninfo_to_dict(conninfo)
        if not given.get("host"):
            raise psycopg.OperationalError(
                "postgres_ssh needs a server's name or address, which this section of the service file does not give"
            )
        mode = given.get("sslmode")
        first, words, second = _IN_TURN.get(str(mode), (mode, None, None))
        try:
            return (yield from cls._tunnel_gen(make_conninfo(conninfo, sslmode=first)))
        except psycopg.OperationalError as error:
            if words is None or words not in str(error):
                raise
        return (yield from cls._tunnel_gen(make_conninfo(conninfo, sslmode=second)))

    @classmethod
    def _tunnel_gen(cls, conninfo: str) -> Generator[Any, Any, Any]:
        """One connection of libpq through a tunnel of its own."""
        assert cls.bastion is not None
        given = conninfo_to_dict(conninfo)
        host, port = given["host"], given["port"] or "5432"
        tunnel = Tunnel(cls.bastion, str(given["hostaddr"]), str(port))
        try:
            here = make_conninfo(conninfo, hostaddr=LOOPBACK, port=tunnel.port, password=_password(conninfo))
            connection = yield from _joined(super()._connect_gen(here), tunnel)
        except (psycopg.Error, OSError) as error:
            said = str(error).replace(f'"{LOOPBACK}", port {tunnel.port} ', f'"{host}", port {port} ')
            failed = tunnel.failure()
            tunnel.close()
            raise psycopg.OperationalError(failed or said, pgconn=getattr(error, "pgconn", None)) from None
        except BaseException:
            tunnel.close()
            raise
        connection._tunnel = tunnel
        return connection

    def _cancel_gen(self) -> Generator[Any, Any, None]:
        """psycopg's request to cancel: libpq sends it to where the connection goes, so the tunnel's port is opened once more."""
        if self._tunnel is None:
            return (yield from super()._cancel_gen())
        try:
            again = self._tunnel.again()
        except OSError as error:
            raise psycopg.OperationalError(str(error)) from None
        with contextlib.closing(again):
            try:
                yield from _joined(super()._cancel_gen(), again)
            except OSError as error:
                raise psycopg.OperationalError(str(error)) from None


def _joined(steps: Generator[Any, Any, Any], tunnel: Tunnel) -> Generator[Any, Any, Any]:
    """The steps of libpq; its socket is known at the first wait."""
    try:
        wanted = next(steps)
        tunnel.join(wanted[0])
        while True:
            wanted = steps.send((yield wanted))
    except StopIteration as stop:
        return stop.value


def _password(conninfo: str) -> str | None:
    """The password that libpq has for the real host and port, from the connection string, the service, PGPASSWORD or .pgpass.

    libpq looks into .pgpass before it goes anywhere (fe-connect.c, pqConnectOptions2), and from here it goes nowhere.
    """
    return pq.PGconn.connect_start(make_conninfo(conninfo, hostaddr="none").encode()).password.decode() or None


def _checked(gen: Generator[Any, Any, Any], check: Check) -> Generator[Any, Any, Any]:
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            check()
            wanted = gen.send(ready)
    except StopIteration as stop:
        return stop.value
