"""A pyinfra run with its time and its peak memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from support.operator import PYINFRA


@dataclass(frozen=True)
class Measured:
    """`seconds` by the clock, `cpu` seconds of the process itself, `megabytes` of memory at its peak (MiB)."""

    code: int
    out: str
    seconds: float
    cpu: float
    megabytes: float


def pyinfra(*words: str, environment: Mapping[str, str], folder: Path) -> Measured:
    """Run the pyinfra command of this environment in `folder`; standard output and error together."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            [PYINFRA, *words], cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return Measured(process.returncode, out.read(), seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
