"""The tools that share the ledger: the real `sqlx` 0.8.6 executable and the real SQLx 0.9 library; and sources to give them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import Pyinfra, Result
from servers import Database

HOST = "@postgres/db"

DEBIAN = pytest.mark.parametrize("server", ["debian15"], indirect=True)

_LIBRARY = """
import asyncio, os, sys, rsqlx

async def main():
    pool = await rsqlx.connect(sys.argv[1])
    await pool.migrate(sys.argv[2])

try:
    asyncio.run(main())
except Exception as error:
    print(error, flush=True)
    os._exit(1)
os._exit(0)  # the interpreter's own exit can abort in rsqlx
"""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """A folder with these files, byte for byte."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content.encode())
    return folder


def start_sqlx(database: Database, source: Path, *words: str, search_path: str | None = None) -> subprocess.Popen[str]:
    url = database.url + (f"?options=-c%20search_path%3D{search_path}" if search_path else "")
    command = [str(Path(sys.executable).parent / "sqlx"), "migrate", *words, "--source", str(source), "-D", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def start_library(database: Database, source: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _LIBRARY, database.url, str(source)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], timeout: float = 60) -> Result:
    out, _ = process.communicate(timeout=timeout)
    return Result(process.returncode, re.sub(r"\x1b\[[0-9;]*m", "", out))


def sqlx(database: Database, source: Path, *words: str, search_path: str | None = None) -> Result:
    """Run `sqlx migrate WORDS` of 0.8.6."""
    return finish(start_sqlx(database, source, *words, search_path=search_path))


def library(database: Database, source: Path) -> Result:
    """Run the migrator of SQLx 0.9 as a service does at its start."""
    return finish(start_library(database, source))


def start_deploy(folder: Path, database: Database, *words: str, **data: object) -> subprocess.Popen[str]:
    """A pyinfra run in the background; `deploy` is one to wait for."""
    folder.mkdir(parents=True, exist_ok=True)
    inventory = folder / "inventory.py"
    inventory.write_text(f"hosts = {[(HOST, {**database.data, **data})]!r}\n", encoding="utf-8")
    return start_inventory(inventory, database, *words)


def start_inventory(inventory: Path, database: Database, *words: str) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).parent / "pyinfra"), "-y", str(inventory), *words]
    environment = database.server.environment()
    return subprocess.Popen(
        command,
        cwd=inventory.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def deploy(pyinfra: Pyinfra, database: Database, *words: str, **data: object) -> Result:
    """Run one verb on the database: `deploy(pyinfra, database, "deploy.apply", migrations="...")`."""
    return pyinfra({HOST: {**database.data, **data}}, "-y", *words, environment=database.server.environment())


def ledger(database: Database, table: str = "_sqlx_migrations") -> list[str]:
    """The rows, without times."""
    return database.psql(f"SELECT version, description, success, checksum FROM {table} ORDER BY version").splitlines()  # noqa: S608


def locks(database: Database) -> str:
    """Advisory locks that are held in the database."""
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    return database.psql(f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = {here}")  # noqa: S608


def large_source(folder: Path, count: int = 300) -> Path:
    """A source of real shape: `count` files, half of them reversible, with all that a parser of SQL would stumble over."""
    shapes = (
        "CREATE TABLE t_{n} (id bigint PRIMARY KEY, body text NOT NULL DEFAULT 'a;b', at timestamptz DEFAULT now());\n"
        "-- a comment; with a semicolon, 100 %, {{{{ braces }}}}, {{% tags %}} and {{# remarks #}}\n"
        "/* another; /* nested; */ one */\nCREATE INDEX ON t_{n} (at DESC);\n",
        "CREATE FUNCTION f_{n}(i int) RETURNS text LANGUAGE plpgsql AS $body$\nBEGIN\n"
        "    RETURN format('%s %% %I; ''{{{{', i, 'x y'); -- $$ ;\nEND;\n$body$;\n",
        "CREATE TYPE e_{n} AS ENUM ('a', 'it''s', '{{{{x}}}}', '%s');\nCOMMENT ON TYPE e_{n} IS E'tab\\t;\\'quote';\n",
        "CREATE TABLE g_{n} (v int);\n"
        "CREATE FUNCTION tf_{n}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := 1; RETURN NEW; END $$;\n"
        "CREATE TRIGGER tr_{n} BEFORE INSERT ON g_{n} FOR EACH ROW EXECUTE FUNCTION tf_{n}();\nINSERT INTO g_{n} VALUES (7);\n",
        "DO $do$\nDECLARE r record;\nBEGIN\n    FOR r IN SELECT generate_series(1, 2) AS i LOOP\n"
        "        EXECUTE format('CREATE TABLE d_{n}_%s (a int CHECK (a %% 2 = 0))', r.i);\n    END LOOP;\nEND\n$do$;\n",
        "CREATE VIEW v_{n} AS SELECT 1 AS \"select\", 'ü€😀' AS \"{{{{\", '\\' AS b;\nSELECT 1; SELECT 2 AS two;\n",
    )
    files = {}
    for n in range(1, count + 1):
        suffix = ".up.sql" if n % 2 else ".sql"
        files[f"{20250000000000 + n}_step_{n}{suffix}"] = shapes[n % len(shapes)].format(n=n)
        if n % 2:
            files[f"{20250000000000 + n}_step_{n}.down.sql"] = "SELECT 1;\n"
    return write(folder, files)
