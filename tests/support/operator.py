"""pyinfra's command line as an operator runs it, what is read about a host, and what the databases are like afterwards."""

from __future__ import annotations

import os
import pprint
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.project import VERSION
from support.servers import PASSWORD, Database, without_pg_variables

PYINFRA = str(Path(sys.executable).parent / "pyinfra")

Hosts = Mapping[str, Mapping[str, object]]
"""Names of hosts and their data."""

_OWN = re.compile(r"Connected|Ready: apply|Error: executed \d+ commands?|Success|No changes")
"""pyinfra's own words."""


@dataclass(frozen=True)
class Result:
    """A finished run; `out` is standard output and error together, without colours."""

    code: int
    out: str

    def lines(self, host: str) -> list[str]:
        """The lines that pyinfra printed for a host, without its prefix."""
        prefix = re.compile(rf"^\s*\[{re.escape(host)}\]\s(.*)$")
        return [match[1].rstrip() for line in self.out.splitlines() if (match := prefix.match(line))]

    def change(self, operation: str) -> str | None:
        """success, error or no change, from the results table; None when the operation has no row."""
        for line in self.out.splitlines():
            if re.match(rf"^    {re.escape(operation)}\s", line) and len(cells := line.split()[-4:]) == 4:
                _, success, error, same = cells
                return "success" if success != "-" else "error" if error != "-" else "no change" if same != "-" else None
        return None


Pyinfra = Callable[..., Result]


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


def inventory_file(folder: Path, hosts: Hosts, name: str = "inventory.py") -> Path:
    path = folder / name
    listed = [(host, dict(data)) for host, data in hosts.items()]
    path.write_text(f"hosts = {pprint.pformat(listed)}\n", encoding="utf-8")
    return path


@pytest.fixture
def pyinfra(tmp_path: Path) -> Pyinfra:
    """Run pyinfra in an empty folder: `pyinfra(hosts, "-y", "deploy.apply")`.

    `hosts` is a mapping of host names to data, which becomes an inventory file, or a string that is the inventory itself.
    Standard input is no terminal; it holds `stdin`.
    """

    def run(
        hosts: Hosts | str,
        *words: str,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 120,
    ) -> Result:
        inventory = hosts if isinstance(hosts, str) else str(inventory_file(tmp_path, hosts))
        done = subprocess.run(
            [PYINFRA, inventory, *words],
            cwd=tmp_path,
            env=dict(environment if environment is not None else os.environ),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=timeout,
        )
        out = without_colours(done.stdout)
        assert "Traceback" not in out, out
        assert not (tmp_path / "pyinfra-debug.log").exists(), out
        return Result(done.returncode, out)

    return run


def start(inventory: Path, *words: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """A run in the background, in the folder of its inventory."""
    return subprocess.Popen(
        [PYINFRA, str(inventory), *words],
        cwd=inventory.parent,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def finish(process: subprocess.Popen[str], timeout: float = 60) -> Result:
    out, _ = process.communicate(timeout=timeout)
    return Result(process.returncode, without_colours(out))


def run(pyinfra: Pyinfra, hosts: Hosts | str, *words: str, **environment: str) -> Result:
    """`pyinfra INVENTORY WORDS`, by default `-y deploy.apply`, with the superuser's password in the environment."""
    given = {**without_pg_variables(), "PGPASSWORD": PASSWORD, **environment}
    return pyinfra(hosts, *(words or ("-y", "deploy.apply")), environment=given)


def said(result: Result, host: str) -> list[str]:
    """Every line about a host but pyinfra's own words."""
    return [line.strip() for line in result.lines(host) if not _OWN.fullmatch(line.strip())]


def ended(result: Result) -> str | None:
    """The sentence with which pyinfra ended the whole run."""
    match = re.search(r"^--> pyinfra error: (.*)$", result.out, re.MULTILINE)
    return match[1] if match else None


def is_deployed(database: Database) -> bool:
    """Whether this run or an earlier one finished the database: tables, indexes and the ledger's row."""
    indexes = database.psql("SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'idx\\_integration\\_%'")
    return indexes == "5" and database.psql("SELECT version FROM _sqlx_migrations") == str(VERSION)


def has_tables(database: Database) -> bool:
    """Whether the migration's tables are there."""
    return database.psql("SELECT to_regclass('integration_events') IS NOT NULL") == "t"
