"""A role that lacks a right is told so in one sentence; what it says to run, run by a superuser, is what was missing.

Each case is a database with a login role of its own, all names hostile. A verb runs again and again; what the sentence of a
refused host says is pasted. The statements, in order, are the test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra, run, said
from support.privileges import ADOPT, APP, APPLY, PURGE, REVERT, SCHEMA, Case
from support.project import VERSION
from support.servers import Database, Server, login, quoted
from support.versions import every_version

STEP = re.compile(r"; run ((?:GRANT|ALTER|CREATE) .+?)(?:, or set `\w+`.*)?$")


@dataclass(frozen=True)
class Made:
    database: Database
    data: dict[str, object]
    wants: list[str]

    def dump(self) -> str:
        """Everything but the rights and row security, which is what a superuser's statements change."""
        arguments = ("--inserts", "--no-privileges", "--no-owner", self.database.name)
        lines = self.database.server.client("pg_dump", *arguments).splitlines()
        return "\n".join(line for line in lines if line and not re.match(r"--|\\(un)?restrict|ALTER TABLE .* ROW LEVEL", line))


Make = Callable[[Mapping[str, Case]], dict[str, Made]]


@pytest.fixture
def make(server: Server, database: Database, tmp_path: Path) -> Make:
    """Databases, roles and sources for cases."""

    def one(number: int, case: Case) -> Made:
        name = f'd"b ü {number} {database.name}'
        made = server.database(name)
        role, other = f"ro'l\"e {number} {database.name}", f'Oth"er {number} {database.name}'
        data = {**login(made, role, options=case.options), "schema": SCHEMA}
        if case.files:
            source = write(tmp_path / str(number) / "migrations", {k: v for k, v in case.files.items() if k != "sqlx.toml"})
            write(source.parent, {k: v for k, v in case.files.items() if k == "sqlx.toml"})
            data["migrations"] = str(source)
        names = {"{role}": quoted(role), "{other}": quoted(other), "{database}": quoted(name)}

        def named(text: str) -> str:
            for placeholder, value in names.items():
                text = text.replace(placeholder, value)
            return text

        if case.files:
            for file in source.iterdir():
                file.write_text(named(file.read_text(encoding="utf-8")), encoding="utf-8")
        made.psql(
            named(
                "CREATE ROLE {other}; REVOKE ALL ON DATABASE {database} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC;"
                f"GRANT CONNECT ON DATABASE {{database}} TO {{role}}; CREATE SCHEMA {APP}; SET search_path = {APP}; {case.setup}"
            )
        )
        data |= {key: other if value == "{other}" else value for key, value in case.data.items()}
        return Made(made, data, [named(statement) for statement in case.wants])

    def all_of(cases: Mapping[str, Case]) -> dict[str, Made]:
        version = int(database.psql("SHOW server_version_num")) // 10000
        return {name: one(number, case) for number, (name, case) in enumerate(cases.items()) if case.since <= version}

    return all_of


def through(pyinfra: Pyinfra, cases: Mapping[str, Made], *words: str) -> None:
    """Run until no host is refused; a refused one says one statement, has changed nothing, and gets what it asked for."""
    before = {name: made.dump() for name, made in cases.items()}
    told: dict[str, list[str]] = {name: [] for name in cases}
    left = dict(cases)
    while left:
        result = run(pyinfra, {f"@postgres/{name}": made.data for name, made in left.items()}, *words)
        for name, made in list(left.items()):
            steps = [match[1] for line in said(result, f"@postgres/{name}") if (match := STEP.search(line))]
            if not steps:
                assert "Error: executed" not in "".join(result.lines(f"@postgres/{name}")), result.out
                del left[name]
                continue
            assert len(steps) == 1, result.out
            assert steps[0] not in told[name], result.out
            told[name] += steps
            assert made.dump() == before[name], name
            made.database.psql(steps[0])
    assert told == {name: made.wants for name, made in cases.items()}, result.out
    assert result.code == 0, result.out


@every_version
def test_what_keeps_a_role_from_deploying_is_said_with_the_statement_that_allows_it(pyinfra: Pyinfra, make: Make) -> None:
    """Before anything runs. A role that owns the schema, and nothing else, needs nothing."""
    cases = make(APPLY)
    through(pyinfra, cases, "-y", "deploy.apply")
    again = run(pyinfra, {f"@postgres/{name}": made.data for name, made in cases.items()})
    assert (again.code, again.change("Migrate"), again.change("Verify")) == (0, "no change", "no change"), again.out


def test_what_keeps_a_role_from_reverting_is_said_with_the_statement_that_allows_it(pyinfra: Pyinfra, make: Make) -> None:
    cases = make(REVERT)
    through(pyinfra, cases, "-y", "deploy.revert")
    for made in cases.values():
        assert made.database.psql(f"TABLE {APP}._sqlx_migrations") == ""


def test_what_keeps_a_role_from_adopting_is_said_with_the_statement_that_allows_it(pyinfra: Pyinfra, make: Make) -> None:
    """It needs no right to create beside a ledger that is there."""
    cases = make(ADOPT)
    through(pyinfra, cases, "-y", "deploy.adopt", "replace_checksum=true")
    for made in cases.values():
        assert made.database.psql(f"TABLE {APP}._sqlx_migrations").startswith(f"{VERSION}|")


def test_what_keeps_a_role_from_purging_is_said_with_the_statement_that_allows_it(pyinfra: Pyinfra, make: Make) -> None:
    """A role that can't act as the owner uses what it was granted itself."""
    cases = make(PURGE)
    through(pyinfra, cases, "-y", "deploy.purge")
    for made in cases.values():
        assert made.database.psql(f"TABLE {APP}.integration_events").count("booking_loss") == 89
