"""An operator at a terminal, who looks at the plan for a while before approving it."""

from __future__ import annotations

import itertools
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pexpect

from support.operator import PYINFRA, Hosts, Result, inventory_file, without_colours

PROMPT = "Press enter to execute..."

_WIPED = re.compile(r"[^\n]*\x1b\[K")
_SPINNER = re.compile(r"    [-\\|/] (\d+% \(\d+/\d+\) - )?\{[^}]*\}\r?")
"""What pyinfra shows in a terminal while it waits for hosts."""

_CTRL_C = "\x03"


def approve(folder: Path, hosts: Hosts, *words: str, meanwhile: Callable[[], object], environment: Mapping[str, str]) -> Result:
    """Run pyinfra in a terminal. `meanwhile` happens between the plan and its approval; later questions are answered at once."""

    def keys() -> Iterable[str]:
        meanwhile()
        yield from itertools.repeat("")

    command = [PYINFRA, str(inventory_file(folder, hosts)), *words]
    code, out = in_terminal(command, folder, 500, keys(), environment)
    assert PROMPT in out and "Traceback" not in out, out
    return Result(code, out)


def in_terminal(
    command: list[str], folder: Path, columns: int, keys: Iterable[str] = (), environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit code of `command`, and what it writes to a terminal of that width, without colours.

    `keys` are typed one after the other, each with Enter behind it, when pyinfra has asked and is silent; `^C` is that key.
    """
    environment = {key: value for key, value in (environment or os.environ).items() if key not in ("COLUMNS", "LINES")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, from Python 3.12 on
        child = pexpect.spawn(
            "env",
            ["--default-signal=INT", *command],  # a shell's background jobs ignore Ctrl-C
            cwd=str(folder),
            env=environment,
            dimensions=(24, columns),
            encoding="utf-8",
        )
    out, silent, deadline = "", 0, time.monotonic() + 120
    typed: list[str] = []
    pressed = iter(keys)
    try:
        while time.monotonic() < deadline:
            try:
                out, silent = out + child.read_nonblocking(65536, timeout=0.2), 0
                continue
            except pexpect.TIMEOUT:
                silent += 1
            if out.count(PROMPT) > len(typed):
                key = next(pressed, None)
                if key is None:
                    continue
                typed.append(_CTRL_C if key.startswith("^C") else f"{key}\n")
                child.send(typed[-1])
            elif typed[-1:] == [_CTRL_C] and silent % 25 == 0:  # a signal just before a read is lost
                child.send(_CTRL_C)
        raise AssertionError(f"not at its end in time: {out}")
    except pexpect.EOF:
        child.wait()
    finally:
        child.close(force=True)  # hangs up, also when the test has run out of time
    code = child.exitstatus if child.exitstatus is not None else -child.signalstatus
    return code, _SPINNER.sub("", without_colours(_WIPED.sub("", out)).replace("\r\n", "\n"))
