"""The tools that share the ledger: the real `sqlx` 0.8.6 executable and the real SQLx 0.9 library; and sources to give them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from support.files import write
from support.operator import Pyinfra, Result, finish, inventory_file, start
from support.project import MIGRATION, VERSION
from support.servers import SUPERUSER, Database

HOST = "@postgres/db"

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


def start_sqlx(
    database: Database, source: Path, *words: str, user: str = SUPERUSER, search_path: str | None = None
) -> subprocess.Popen[str]:
    url = database.url_as(user) + (f"?options=-c%20search_path%3D{search_path}" if search_path else "")
    command = [str(Path(sys.executable).parent / "sqlx"), "migrate", *words, "--source", str(source), "-D", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def start_library(database: Database, source: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _LIBRARY, database.url, str(source)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def sqlx(database: Database, source: Path, *words: str, user: str = SUPERUSER, search_path: str | None = None) -> Result:
    """Run `sqlx migrate WORDS` of 0.8.6."""
    return finish(start_sqlx(database, source, *words, user=user, search_path=search_path))


def sqlx_prints(database: Database, source: Path, *words: str, user: str = SUPERUSER) -> str:
    """What `sqlx migrate WORDS` prints, as another user; it must succeed."""
    done = sqlx(database, source, *words, user=user)
    assert done.code == 0, done.out
    return done.out.strip()


def library(database: Database, source: Path) -> Result:
    """Run the migrator of SQLx 0.9 as a service does at its start."""
    return finish(start_library(database, source))


def start_deploy(folder: Path, database: Database, *words: str, **data: object) -> subprocess.Popen[str]:
    """A pyinfra run in the background; `deploy` is one to wait for."""
    folder.mkdir(parents=True, exist_ok=True)
    inventory = inventory_file(folder, {HOST: {**database.data, **data}})
    return start(inventory, "-y", *words, environment=database.server.environment())


def deploy(pyinfra: Pyinfra, database: Database, *words: str, **data: object) -> Result:
    """Run one verb on the database: `deploy(pyinfra, database, "deploy.apply", migrations="...")`."""
    return pyinfra({HOST: {**database.data, **data}}, "-y", *words, environment=database.server.environment())


LEDGER = """
    CREATE TABLE _sqlx_migrations (
        version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
        success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL);
"""
"""As SQLx makes it."""


def row(version: int, *, success: bool = True, checksum: str = "00") -> str:
    """The INSERT of a row into LEDGER."""
    return f"INSERT INTO _sqlx_migrations VALUES ({version}, 'x', now(), {success}, '\\x{checksum}', 0);"  # noqa: S608


_CHECKSUM = hashlib.sha384(MIGRATION.read_bytes()).hexdigest()

DEPLOYED = MIGRATION.read_text(encoding="utf-8") + LEDGER + row(VERSION, checksum=_CHECKSUM) + "\n"
"""What deploy.apply leaves in an empty schema, for psql."""


def ledger(database: Database, table: str = "_sqlx_migrations") -> list[str]:
    """The rows, without times."""
    return database.psql(f"SELECT version, description, success, checksum FROM {table} ORDER BY version").splitlines()  # noqa: S608


def locks(database: Database) -> str:
    """Advisory locks that are held in the database."""
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    return database.psql(f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = {here}")  # noqa: S608


def large_source(folder: Path, count: int) -> Path:
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


NAMES = {
    "+7_x.sql": (7, "x", "simple"),
    "-3_x.sql": (-3, "x", "simple"),
    "0_z.sql": (0, "z", "simple"),
    "007_x.sql": (7, "x", "simple"),
    "9223372036854775807_m.sql": (2**63 - 1, "m", "simple"),
    "-9223372036854775808_m.sql": (-(2**63), "m", "simple"),
    "1_.sql": (1, "", "simple"),
    "1_up.sql": (1, "up", "simple"),
    "1_.up.sql": (1, "", "up"),
    "1_a.Up.sql": (1, "a.Up", "simple"),
    "1_a.up.sql": (1, "a", "up"),
    "1_a.down.sql": (1, "a", "down"),
    "1_a.sql.sql": (1, "a", "simple"),
    "1_a.up.sql.up.sql": (1, "a", "up"),
    "1_a.sql.up.sql": (1, "a.sql", "up"),
    "1_a_.sql": (1, "a ", "simple"),
    "1__init.sql": (1, " init", "simple"),
    "1_000_x.sql": (1, "000 x", "simple"),
    "1_a b-c.d.sql": (1, "a b-c.d", "simple"),
    "1_only.down.sql": (1, "only", "down"),
    "20260111030835_create_integration_health_tables.sql": (20260111030835, "create integration health tables", "simple"),
}
"""File names that SQLx takes for migrations: version, description and kind."""

IGNORED = ["foo.sql", "1.sql", "README.md", "1_foo.SQL", "1_a.up.SQL", "1_foo.sql~", "1_foo.txt"]

FATAL = [
    "_foo.sql",
    "foo_bar.sql",
    "V1__init.sql",
    ".1_foo.sql",
    "._1_foo.sql",
    " 1_x.sql",
    "1 _x.sql",
    "9223372036854775808_m.sql",
    "-9223372036854775809_m.sql",
    "１_x.sql",
    "١_arabic_digit.sql",
    "1e3_x.sql",
    "+_x.sql",
]
