"""Bastions: one OpenSSH process for each in a run, with a loopback port for every server behind it.

libpq connects to that port and keeps the server's own name for TLS. It may connect there as often as it likes, also to cancel.
Everything else is the user's own configuration of ssh. Nobody is asked anything, so that the key of an unknown bastion is refused
unless that configuration accepts it. The login is our own, also where the user has a master connection.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gevent.lock import Semaphore

from deploy.errors import RunRefused
from deploy.problems import Problem
from deploy.values import expand_home

LOOPBACK = "127.0.0.1"

_WORD = r"(?!-)[^\s@:/\[\]'\"`$\\;&<>|(){}\x00-\x1f\x7f]+"
"""A host or user that OpenSSH takes too (ssh.c, valid_hostname): no option, nothing that the shell of a ProxyCommand would read."""

_DESTINATION = re.compile(
    rf"(?P<user>{_WORD}(?:@{_WORD})?@)?(?:(?P<host>{_WORD})|\[(?P<address>[0-9A-Fa-f:.]+(?:%\w+)?)\])(?::(?P<port>[0-9]{{1,5}}))?"
)

_OPTIONS = (
    "BatchMode=yes",
    "ControlPersist=no",
    "ClearAllForwardings=yes",
    "UpdateHostKeys=no",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=2",
    "LogLevel=DEBUG1",  # says which port a connection that the bastion refused had come to
)

_NOISE = re.compile(r"debug\d: |Transferred: |Bytes per second: |Authenticated to ")
"""Lines that the log level adds."""

_LOGIN_POLL = 0.02
"""Seconds between two looks whether the login is through."""

_EXIT_GRACE = 0.2
"""Seconds for ssh to end after it has closed a connection."""

_PORT_ATTEMPTS = 3
"""A port that was free may be taken before ssh listens on it."""

_KEY = "Identity file |Load key "

NEXT_STEPS = (
    (
        "has changed and you have requested strict checking",
        "find out why; if the new key is right, remove the old one with ssh-keygen -R and log in once by hand",
    ),
    ("Host key verification failed", "log in once by hand with ssh, compare the fingerprint and accept the key"),
    (_KEY, "name a private key of OpenSSH in postgres_ssh_key, and let nobody else read it (chmod 600)"),
    (r"Permission denied \(", "check the user, postgres_ssh_key, and that ssh-agent holds a key that has a passphrase"),
    ("administratively prohibited", "let the bastion's sshd forward to this server (AllowTcpForwarding, PermitOpen)"),
    ("open failed: ", "check the server's name and port as the bastion knows them, and that the server runs"),
    ("Could not resolve hostname", "check postgres_ssh and ~/.ssh/config"),
    ("ssh: connect to host|during banner exchange", "check the bastion's address and port, and that its sshd runs"),
    ("OpenSSH's client", "install it (openssh-client), so that `ssh` is on the PATH"),
    ("ssh: ", "try it by hand: ssh with the same destination"),
)
"""A pattern in the words of an error of a bastion, and what to do then; the first that is found counts."""


@dataclass(frozen=True)
class Bastion:
    """`destination` is [USER@]HOST, `port` None where ssh knows it. `timeout` in seconds for the login, None for no limit."""

    destination: str
    port: str | None = None
    key: Path | None = None
    timeout: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.destination}:{self.port}" if self.port else self.destination

    def command(self, control: Path) -> list[str]:
        """What logs in, and takes requests for forwards on the socket `control`."""
        options = [*_OPTIONS] if self.timeout is None else [*_OPTIONS, f"ConnectTimeout={self.timeout}"]
        words = ["ssh", "-N", "-M", "-S", _escaped(control), *(word for option in options for word in ("-o", option))]
        if self.key is not None:
            words += ["-o", "IdentitiesOnly=yes", "-i", str(self.key)]
        if self.port is not None:
            words += ["-p", self.port]
        return [*words, "--", self.destination]


def read(name: str, destination: str | None, key: str | None, timeout: int | None) -> Bastion | None:
    """The bastion of the host `@postgres/NAME` from its settings, if it has one. Raises RunRefused."""
    if destination is None:
        return None
    match = _DESTINATION.fullmatch(destination)
    if match is None or int(match["port"] or 22) not in range(1, 65536):
        text = f"@postgres/{name}: postgres_ssh {destination!r} is not [USER@]HOST[:PORT]"
        raise RunRefused(Problem("settings", text, "name the bastion so, or as ~/.ssh/config does"))
    path = expand_home(key) if key is not None else None
    return Bastion((match["user"] or "") + (match["host"] or match["address"]), match["port"], path, timeout)


class Bastions:
    """The bastions of one run, each with one login. Close it at the end of the run."""

    def __init__(self) -> None:
        self._logins: dict[Bastion, Login] = {}
        self._failures: dict[Bastion, tuple[float, str]] = {}
        self._locks: dict[Bastion, Semaphore] = defaultdict(Semaphore)

    def login(self, bastion: Bastion) -> Login:
        """The login, made unless there is one. Raises OSError in ssh's words, also for those who waited for this one meanwhile."""
        asked = time.monotonic()
        with self._locks[bastion]:
            login = self._logins.get(bastion)
            if login is not None and login.is_alive():
                return login
            failed, words = self._failures.get(bastion, (0.0, ""))
            if failed > asked:
                raise OSError(words)
            try:
                self._logins[bastion] = login = Login(bastion)
            except OSError as error:
                self._failures[bastion] = time.monotonic(), str(error)
                raise
            return login

    def close(self) -> None:
        """End them all. Safe twice."""
        for login in self._logins.values():
            login.close()


class Login:
    """One OpenSSH process that is logged into a bastion. It ends with `close`, at the latest when this process exits.

    Linux only: also when this process is killed (PR_SET_PDEATHSIG). Elsewhere it then lives on until the bastion ends it.
    """

    def __init__(self, bastion: Bastion) -> None:
        """Raises OSError in ssh's words."""
        self._ports: dict[tuple[str, str], int] = {}
        self._lock = Semaphore()
        resources = contextlib.ExitStack()
        self.close = weakref.finalize(self, resources.close)
        try:
            self._log = resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            self._control = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="ssh-")), "control")
            self._process = _start(bastion.command(self._control), self._log)
            resources.callback(_end, self._process)
            self._wait_for_login(None if bastion.timeout is None else time.monotonic() + 2 * bastion.timeout)
        except BaseException:
            self.close()
            raise

    def _wait_for_login(self, deadline: float | None) -> None:
        """The control socket is there once ssh is logged in."""
        while not self._control.exists():
            if self._process.poll() is not None:
                raise OSError(reason(self._words()) or self._exit_code())
            if deadline is not None and time.monotonic() > deadline:
                raise OSError("ssh: the login timed out")
            time.sleep(_LOGIN_POLL)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def forward(self, host: str, port: str) -> int:
        """The loopback port that leads to `host` and `port`, as the bastion knows them. Raises OSError."""
        with self._lock:
            for _ in range(_PORT_ATTEMPTS):
                if (host, port) not in self._ports and self._listen(local := _free_port(), host, port):
                    self._ports[host, port] = local
                if (host, port) in self._ports:
                    return self._ports[host, port]
        raise OSError(self.failure() or "ssh: no port of the loopback could be forwarded")

    def _listen(self, local: int, host: str, port: str) -> bool:
        """Have the running ssh listen on `local`. Without a configuration, whose own forwards would be asked for too."""
        forward = f"{LOOPBACK}:{local}:[{host}]:{port}" if ":" in host else f"{LOOPBACK}:{local}:{host}:{port}"
        command = ["ssh", "-F", "none", "-S", _escaped(self._control), "-O", "forward", "-L", forward, "--", "bastion"]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0

    def log_size(self) -> int:
        """Where the log ends now, for `failure`."""
        return os.fstat(self._log.fileno()).st_size

    def failure(self, port: str | None = None, since: int = 0) -> str | None:
        """Why ssh ended a connection: because it has ended itself, or because the bastion refused one to `port`.

        Of the log only what came after `since` counts. None when it wasn't ssh.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_GRACE)
        if self._process.returncode is not None:
            words = re.sub(r"^channel \d+: .*$", "", self._words(), flags=re.MULTILINE)
            return reason(words) or self._exit_code()
        log = self._words(since)
        for opened in re.finditer(rf"Connection to port {port} forwarding .*\n(?:.*\n)*?debug1: channel (\d+): new ", log):
            channel = opened[1]
            its_lines = log[opened.end() :].partition(f"debug1: channel {channel}: new ")[0]  # then the number is another's
            if refused := re.search(rf"^channel {channel}: (open failed: .*)", its_lines, re.MULTILINE):
                return f"ssh: {refused[1].strip()}"
        return None

    def _words(self, since: int = 0) -> str:
        if self._log.closed:
            return ""
        return os.pread(self._log.fileno(), self.log_size() - since, since).decode(errors="replace")

    def _exit_code(self) -> str:
        return f"ssh: ended with code {self._process.returncode}"


def reason(said: str) -> str | None:
    """The line of what ssh wrote that says why it failed; its last one where none is known, None where it wrote nothing."""
    lines = [" ".join(line.split()).removesuffix(".") for line in said.splitlines() if line.strip() and not _NOISE.match(line)]
    if not any("Permission denied (" in line for line in lines[-1:]):  # it got on without that key
        lines = [line for line in lines if not re.search(_KEY, line)] or lines
    known = (line for words, _ in NEXT_STEPS for line in lines if re.search(words, line))
    found = next(known, lines[-1] if lines else None)
    return None if found is None else re.sub(r"^(ssh: |channel \d+: )?", "ssh: ", found)


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _escaped(path: Path) -> str:
    """As a path of ssh's options, where % begins a token."""
    return str(path).replace("%", "%%")


def _environment() -> Mapping[str, str]:
    """Ours, without what is for Postgres alone; no window asks for a passphrase."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"SSH_ASKPASS_REQUIRE": "never"}


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """In ssh's process, before it is ssh: without it the server would go on working for a client that was killed."""
    assert _libc is not None
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _start(command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for us alone, and there is no terminal to ask on
            preexec_fn=_end_with_parent if _libc else None,
        )
    except FileNotFoundError:
        raise OSError("postgres_ssh needs OpenSSH's client, and there is no program `ssh`") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
