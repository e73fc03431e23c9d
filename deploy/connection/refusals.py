"""Why a server refuses a connection, by SQLSTATE: libpq gives its words alone, and those are in the server's language."""

from __future__ import annotations

import os
import re
import select
import sys
import time

from psycopg import pq

_TOO_MANY_CONNECTIONS = b"53300"

_TIMEOUT = 10.0
"""Seconds for the attempt."""

_TRACES_REFUSALS = 180000
"""The libpq since which a trace has what comes before the login is through."""


def is_full(conninfo: str) -> bool:
    """Whether a server that has just refused a connection has none free. Asked by another attempt, of which libpq keeps a trace.

    True also when this one is let in: then a connection was free for it. False where libpq keeps no such trace.
    """
    if sys.platform != "linux" or pq.version() < _TRACES_REFUSALS:
        return False
    pgconn = pq.PGconn.connect_start(conninfo.encode())
    trace = os.memfd_create("trace")  # it may hold a password, and is gone with this function
    try:
        if pgconn.status == pq.ConnStatus.BAD:
            return False
        pgconn.trace(trace)
        admitted = _poll(pgconn, time.monotonic() + _TIMEOUT)
        pgconn.untrace()
        codes = re.findall(rb'\tErrorResponse\t.*? C "(\w{5})"', os.pread(trace, 1 << 20, 0))
        return admitted or _TOO_MANY_CONNECTIONS in codes
    finally:
        os.close(trace)
        pgconn.finish()


def _poll(pgconn: pq.abc.PGconn, deadline: float) -> bool:
    """Whether the login got through."""
    while (left := deadline - time.monotonic()) > 0:
        status = pgconn.connect_poll()
        if status not in (pq.PollingStatus.READING, pq.PollingStatus.WRITING):
            return status == pq.PollingStatus.OK
        waiting = select.poll()
        waiting.register(pgconn.socket, select.POLLIN if status == pq.PollingStatus.READING else select.POLLOUT)
        waiting.poll(left * 1000)
    return False
