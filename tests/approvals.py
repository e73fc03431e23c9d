"""An operator at a terminal, who looks at the plan for a while before approving it."""

from __future__ import annotations

import contextlib
import os
import pprint
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from conftest import Result, without_colours

_QUESTION = b"Press enter to execute..."


def approve(
    folder: Path,
    hosts: Mapping[str, Mapping[str, object]],
    *words: str,
    meanwhile: Callable[[], object],
    environment: Mapping[str, str],
) -> Result:
    """Run pyinfra in a terminal. `meanwhile` happens between the plan and its approval; later questions are answered at once."""
    inventory = folder / "inventory.py"
    inventory.write_text(f"hosts = {pprint.pformat([(name, dict(data)) for name, data in hosts.items()])}\n", encoding="utf-8")
    operator, terminal = pty.openpty()
    command = [str(Path(sys.executable).parent / "pyinfra"), str(inventory), *words]
    with subprocess.Popen(
        command, cwd=folder, env={**environment, "COLUMNS": "500"}, stdin=terminal, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        seen = b""
        answered = 0
        deadline = time.monotonic() + 60
        with contextlib.suppress(OSError):  # the other end is closed when pyinfra ends
            while True:
                assert select.select([operator], [], [], max(deadline - time.monotonic(), 0))[0], seen.decode()
                seen += os.read(operator, 65536)
                if seen.count(_QUESTION) > answered:
                    if not answered:
                        meanwhile()
                    answered += 1
                    os.write(operator, b"\n")
        os.close(operator)
    out = without_colours(re.sub(r"[^\n]*\x1b\[K", "", seen.decode()))  # pyinfra's spinner and what it wipes away
    assert answered and "Traceback" not in out, out
    return Result(process.returncode, out)
