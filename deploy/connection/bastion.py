"""A bastion: the SSH server that a host's connection goes through. What OpenSSH's client is told, and what its words mean. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import RunRefused

_WORD = r"(?!-)[^\s@:/\[\]'\"`$\\;&<>|(){}\x00-\x1f\x7f]+"
"""A host or user that OpenSSH takes too (ssh.c, valid_hostname): no option, nothing that the shell of a ProxyCommand would read."""

_DESTINATION = re.compile(
    rf"(?P<user>{_WORD}(?:@{_WORD})?@)?(?:(?P<host>{_WORD})|\[(?P<address>[0-9A-Fa-f:.]+(?:%\w+)?)\])(?::(?P<port>[0-9]{{1,5}}))?"
)

_ALIVE_INTERVAL, _ALIVE_COUNT = 10, 2
"""Seconds of silence until the bastion is asked whether it's there, and questions without an answer: it's given up after 30."""

NEXT_STEPS = (
    (
        "has changed and you have requested strict checking",
        "find out why; if the new key is right, remove the old one with ssh-keygen -R and log in once by hand",
    ),
    ("Host key verification failed", "log in once by hand with ssh, compare the fingerprint and accept the key"),
    ("bad permissions", "chmod 600 the key"),
    ("Load key ", "name a private key of OpenSSH in postgres_ssh_key"),
    (r"Permission denied \(", "check the user, postgres_ssh_key, and that ssh-agent holds a key that has a passphrase"),
    ("administratively prohibited", "let the bastion's sshd forward to this server (AllowTcpForwarding, PermitOpen)"),
    ("open failed: ", "check the server's name and port as the bastion knows them, and that the server runs"),
    ("Could not resolve hostname", "check postgres_ssh and ~/.ssh/config"),
    ("ssh: connect to host", "check the bastion's address and port, and that its sshd runs"),
    ("during banner exchange", "check the bastion and the way to it"),
    ("configuration option", "correct ~/.ssh/config"),
    ("postgres_ssh_key '", "name a file that you can read"),
    ("section of the service file does not give", "add it with a host, or set PGSERVICEFILE to the file that has it"),
    ("OpenSSH's client", "install it (openssh-client), so that `ssh` is on the PATH"),
    ("ssh: ", "try it by hand: ssh with the same destination"),
)
"""A pattern in the words of an error on the way through a bastion, and what to do then; the first that is found counts."""


@dataclass(frozen=True)
class Bastion:
    """`destination` is [USER@]HOST, `port` None where ssh knows it. `timeout` in seconds for the login, None for no limit."""

    destination: str
    port: str | None = None
    key: Path | None = None
    timeout: int | None = None

    def __str__(self) -> str:
        return f"{self.destination}:{self.port}" if self.port else self.destination

    def command(self, host: str, port: str) -> list[str]:
        """What connects standard input and output to `host` and `port`, as the bastion knows them.

        Everything else is the user's own configuration of ssh. Nobody is asked anything, so that the key of an unknown bastion
        is refused unless that configuration says otherwise. A master connection of the user's is used, none is made.
        """
        options = [
            "BatchMode=yes",
            "ControlMaster=no",
            "UpdateHostKeys=no",
            "LogLevel=INFO",
            f"ServerAliveInterval={_ALIVE_INTERVAL}",
            f"ServerAliveCountMax={_ALIVE_COUNT}",
        ]
        if self.timeout is not None:
            options.append(f"ConnectTimeout={self.timeout}")
        words = ["ssh", *(word for option in options for word in ("-o", option))]
        if self.key is not None:
            words += ["-o", "IdentitiesOnly=yes", "-i", str(self.key)]
        if self.port is not None:
            words += ["-p", self.port]
        return [*words, "-W", f"[{host}]:{port}" if ":" in host else f"{host}:{port}", "--", self.destination]


def read(name: str, destination: str | None, key: str | None, timeout: int | None) -> Bastion | None:
    """The bastion of the host `@postgres/NAME` from its data, if it has one. Raises RunRefused."""
    if destination is None:
        return None
    match = _DESTINATION.fullmatch(destination)
    if match is None or int(match["port"] or 22) not in range(1, 65536):
        raise RunRefused(
            f"@postgres/{name}: postgres_ssh {destination!r} is no [USER@]HOST[:PORT]; "
            "name the bastion so, or as ~/.ssh/config does"
        )
    try:
        path = Path(key).expanduser() if key is not None else None
    except RuntimeError:
        raise RunRefused(f"@postgres/{name}: postgres_ssh_key {key!r}: there is no such home; write the whole path") from None
    return Bastion((match["user"] or "") + (match["host"] or match["address"]), match["port"], path, timeout)


def reason(said: str) -> str | None:
    """The line of what ssh wrote that says why it failed; its last one where none is known, None where it wrote nothing."""
    lines = [" ".join(line.split()).removesuffix(".") for line in said.splitlines() if line.strip()]
    if not any("Permission denied (" in line for line in lines[-1:]):  # it got on without that key
        lines = [line for line in lines if not re.search("bad permissions|Load key ", line)] or lines
    known = (line for words, _ in NEXT_STEPS for line in lines if re.search(words, line))
    found = next(known, lines[-1] if lines else None)
    return None if found is None else re.sub(r"^(ssh: |channel \d+: )?", "ssh: ", found)
