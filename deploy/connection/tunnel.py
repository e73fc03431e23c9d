"""One connection's way through a bastion: a loopback port for it alone, and OpenSSH's client behind that.

TLS has to hold end to end, and libpq doesn't use it on a Unix socket: hence the port. It takes exactly one connection, the one
that this process has begun, and is closed at once. The accepted socket is ssh's standard input and output: no byte passes through
here, and ssh ends when either side of it does. On Linux it also ends with this process, where the server is still busy.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from gevent.lock import Semaphore

from deploy.connection.bastion import Bastion, reason

LOOPBACK = "127.0.0.1"

_ACCEPT_TIMEOUT = 5.0
"""Seconds until a connection that was begun on the loopback is there."""

_FAREWELL = 1.0
"""Seconds for ssh to end after its connection has."""

_WORDS = 16_384
"""Bytes of ssh's words that are read, from the end."""

_LOGINS = 8
"""Logins to one bastion at once: sshd drops some of more than ten (MaxStartups 10:30:100)."""


class _Logins:
    """Those to one bastion: who has a turn, and when it last left one without an answer, in ssh's words."""

    def __init__(self) -> None:
        self.free = Semaphore(_LOGINS)
        self.silent: tuple[float, str] = (0, "")


_bastions: dict[Bastion, _Logins] = {}


@contextlib.contextmanager
def turn(bastion: Bastion | None) -> Iterator[None]:
    """One of the bastion's logins. Raises TimeoutError when it left another without an answer while this one waited."""
    if bastion is None:
        yield
        return
    logins = _bastions.setdefault(bastion, _Logins())
    asked = time.monotonic()
    with logins.free:
        since, words = logins.silent
        if since > asked:
            raise TimeoutError(words)
        yield


class Tunnel:
    """Through `bastion` to `host` and `port`, as the bastion knows them. Listens on `self.port` of LOOPBACK from the start."""

    def __init__(self, bastion: Bastion, host: str, port: str, listen_on: int = 0) -> None:
        """Raises OSError when the port `listen_on` is taken."""
        self._bastion = bastion
        self.target = host, port
        self._listener = socket.create_server((LOOPBACK, listen_on))
        self.port: int = self._listener.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)

    def again(self) -> Tunnel:
        """A second way to the same server, on the same port. Raises OSError."""
        return Tunnel(self._bastion, *self.target, listen_on=self.port)

    def join(self, fd: int) -> None:
        """Start ssh for the connection that the socket `fd` has begun to make, and stop listening. Raises OSError."""
        with self._listener:
            accepted = self._accept(fd)
        with accepted:
            if self._bastion.key is not None:
                _look_at(self._bastion.key)
            try:
                self._process = subprocess.Popen(
                    self._bastion.command(*self.target),
                    stdin=accepted.fileno(),
                    stdout=accepted.fileno(),
                    stderr=self._words,
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C is for us alone, and there is no terminal to ask on
                    preexec_fn=_end_with_parent if _libc else None,
                )
            except FileNotFoundError:
                raise OSError("postgres_ssh needs OpenSSH's client, and there is no program `ssh`") from None

    def _accept(self, fd: int) -> socket.socket:
        """Our own connection. Whoever else has found the port is hung up on."""
        with socket.socket(fileno=os.dup(fd)) as ours:
            name = ours.getsockname()
        deadline = time.monotonic() + _ACCEPT_TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            self._listener.settimeout(left)
            with contextlib.suppress(TimeoutError):
                accepted, peer = self._listener.accept()
                if peer == name:
                    return accepted
                accepted.close()
        raise TimeoutError("other programs of this machine kept the tunnel's loopback port busy")

    def failure(self) -> str | None:
        """After the connection has failed: ssh's reason if it was ssh that did, else None. Waits a moment for it to end."""
        if self._process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_FAREWELL)
        if not self._process.returncode:
            return None
        self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - _WORDS))
        words = reason(self._words.read().decode(errors="replace")) or f"ssh: ended with code {self._process.returncode}"
        if "timed out" in words and "open failed" not in words:
            _bastions.setdefault(self._bastion, _Logins()).silent = time.monotonic(), words
        return words

    def close(self) -> None:
        """End it all. Doesn't wait. Safe twice."""
        self._listener.close()
        self._words.close()
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # with what it has started for a ProxyJump


def _look_at(key: Path) -> None:
    """ssh itself would only say that permission is denied, and that after it has tried others of its keys."""
    try:
        key.open("rb").close()
    except OSError as error:
        raise OSError(f"postgres_ssh_key '{key}': {error.strerror}") from None


def _environment() -> Mapping[str, str]:
    """Ours, without what is for Postgres alone; no window asks for a passphrase."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"SSH_ASKPASS_REQUIRE": "never"}


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """In ssh's process, before it is ssh. What is killed can't say goodbye, and a server at work does not look at its client."""
    assert _libc is not None
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
