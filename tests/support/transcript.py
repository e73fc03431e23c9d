"""Pages whose commands are run: a fenced `console` block holds `$ command` lines and what they print, other blocks are files.

`…` stands for lines, or for a part of a line, that a page leaves out; lines shown without it follow each other in the output too.
Spaces, times, ports and the like are compared as if they were the same in every run. pyinfra prints hosts in any order: their
lines, as long as no other one is between them, are compared by the name of the host. Where `Press enter to execute...` is shown,
the command gets a terminal, and what stands behind it is typed before Enter; `^C` is that key.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from support.operator import without_colours
from support.terminal import PROMPT, in_terminal

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
