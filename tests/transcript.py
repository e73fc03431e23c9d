"""Pages whose commands are run: a fenced `console` block holds `$ command` lines and what they print, other blocks are files.

`…` stands for lines, or for a part of a line, that a page leaves out; lines shown without it follow each other in the output too.
Spaces, times, ports and the like are compared as if they were the same in every run. pyinfra prints hosts in any order: their
lines, as long as no other one is between them, are compared by the name of the host. Where `Press enter to execute...` is shown,
the command gets a terminal, and what stands behind it is typed before Enter; `^C` is that key.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

PROMPT = "Press enter to execute..."

_SPINNER = re.compile(r"    [-\\|/] (\d+% \(\d+/\d+\) - )?\{[^}]*\}\r?")
"""What pyinfra shows in a terminal while it waits for hosts."""

_SAME = (
    (r"\d+(\.\d+)? ms\b", "N ms"),
    (r"\d+(\.\d+)? s\b", "N s"),
    (r"\b\d{4}-\d\d-\d\d(( |T)\d\d:\d\d(:\d\d(\.\d+)?)?)?( UTC|Z|[+-]\d\d(:?\d\d)?)?", "TIME"),
    (r"\bport \d+", "port N"),
    (r"\b(pid|PID) \d+", "pid N"),
    (r"\b\d+\.\d+\.\d+\.\d+(:\d+)?", "ADDRESS"),
    (r"\bPostgreSQL (\d+)\.\d+", r"PostgreSQL \1"),
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `language` is the word behind its fence, `section` the heading that it stands under."""

    language: str
    text: str
    section: str

    @property
    def commands(self) -> list[tuple[str, list[str]]]:
        """Of a `console` block: each command with the lines shown for it. A line that ends in `\\` goes on in the next."""
        found = re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", self.text, re.MULTILINE)
        return [(command, [line for line in map(normal, shown.splitlines()) if line]) for command, shown in found]


def blocks(page: str) -> Iterator[Block]:
    section = ""
    for heading, language, text in re.findall(r"^## ([^\n]*)$|^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if heading:
            section = heading
        else:
            yield Block(language, text, section)


def normal(line: str) -> str:
    """A line without what differs from run to run."""
    line = " ".join(line.split())
    for pattern, same in _SAME:
        line = re.sub(pattern, same, line)
    return line


def run(command: str, shown: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Run a command with bash, where this environment's own programs come first, and look for the lines shown in its output.

    Its exit code has to be 0: a page that expects another one shows it by `; echo "exit $?"`.
    """
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    keys = [line.partition(PROMPT)[2] for line in shown if PROMPT in line]
    words = ["bash", "-c", command]
    if keys:
        code, out = in_terminal(words, folder, 200, keys, {**environment, "PATH": path})
    else:
        done = subprocess.run(
            words,
            cwd=folder,
            env={**environment, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=120,
        )
        code, out = done.returncode, without_colours(done.stdout)
    out = out.replace(str(folder), "/home/operator")
    assert code == 0, f"$ {command}\nexit code {code}\n{out}"
    assert "Traceback" not in out, f"$ {command}\n{out}"
    missing = first_missing(shown, out)
    assert missing is None, f"$ {command}\nthis is shown:\n{missing}\n\nbut not, as it stands there, in what was printed:\n{out}"


def first_missing(shown: list[str], out: str) -> str | None:
    """The first lines shown, up to an omission, that the output does not have in one piece behind the lines before; or None."""
    got = _by_host([line for line in map(normal, out.splitlines()) if line])
    start = 0
    for piece in "\n".join(shown).split("\n…\n") if shown else []:
        want = [_pattern(line) for line in piece.splitlines() if line != "…"]
        for at in range(start, len(got) - len(want) + 1):
            if all(pattern.fullmatch(line) for pattern, line in zip(want, got[at:], strict=False)):
                start = at + len(want)
                break
        else:
            return piece
    return None


def _by_host(lines: list[str]) -> list[str]:
    """The lines, with each run of lines of hosts in the order of their names."""

    def host(line: str) -> str:
        return line.partition("] ")[0] if line.startswith("[") else ""

    return [line for _, run in groupby(lines, lambda line: bool(host(line))) for line in sorted(run, key=host)]


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, line.split("…"))))


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


def in_terminal(
    command: list[str], folder: Path, columns: int, keys: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit code of `command`, and what it writes to a terminal of that width, without colours.

    `keys` are typed one after the other, each with Enter behind it, when pyinfra has asked and is silent; `^C` is that key.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in (environment or os.environ).items() if key not in ("COLUMNS", "LINES")}
    out, silent = b"", 0
    typed: list[bytes] = []
    words = ["env", "--default-signal=INT", "setsid", "--ctty", *command]  # a shell's background jobs ignore Ctrl-C
    with subprocess.Popen(words, cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        try:
            while select.select([master], [], [], 0.2)[0] or process.poll() is None:
                if select.select([master], [], [], 0)[0]:
                    out, silent = out + os.read(master, 65536), 0
                    continue
                silent += 1
                asked = out.count(PROMPT.encode()) > len(typed) and len(typed) < len(keys)
                if asked:
                    typed.append(b"\x03" if keys[len(typed)].startswith("^C") else keys[len(typed)].encode() + b"\n")
                if asked or (typed[-1:] == [b"\x03"] and silent % 25 == 0):  # a signal just before a read is lost
                    os.write(master, typed[-1])
        except OSError:  # Linux's word for the end
            pass
        finally:
            os.close(master)  # hangs up, also when the test has run out of time
    return process.returncode, _SPINNER.sub("", without_colours(out.decode()).replace("\r\n", "\n"))
